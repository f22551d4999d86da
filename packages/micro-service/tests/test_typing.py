"""What users write is checked by mypy --strict: the four shapes of a proxy, both forms of call."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = """
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import micro
import micro.sync
import micro.testing

@dataclass
class Question:
    text: str

@dataclass
class Answer:
    text: str

class EmailTaken(micro.errors.Conflict):
    email: str
    suggestion: str | None = None

service = micro.Service("greeter", registry="memory", options={"stop.drain": 3})

@service.handler
class Say:
    def __init__(self, word: str = "Hello") -> None:
        self.word = word

    @micro.endpoint("Find", idempotent=True, metadata={"a": "b"})
    async def hello(self, request: Question) -> Answer:
        return Answer(self.word)

    async def count(self, to: int) -> AsyncIterator[int]:
        yield to

    async def total(self, numbers: AsyncIterator[int]) -> int:
        return 0

    async def chat(self, messages: AsyncIterator[str]) -> AsyncIterator[Answer]:
        yield Answer("")

class Contract(Protocol):
    async def hello(self, request: Question) -> Answer: ...
    def count(self, to: int) -> AsyncIterator[int]: ...

@service.subscriber("topic", queue="q")
async def on_event(event: Answer) -> None: ...

@service.lifespan
async def life() -> AsyncIterator[None]:
    service.handler(Say("Hi"), name="Hi")
    yield

@service.lifespan
@asynccontextmanager
async def other() -> AsyncIterator[None]:
    yield

@service.before_start
def sync_hook() -> None: ...

@service.after_stop
async def async_hook() -> None: ...

async def numbers() -> AsyncIterator[int]:
    yield 1

async def words() -> AsyncIterator[str]:
    yield "a"

class Blocking(Protocol):
    def hello(self, request: Question) -> Answer: ...
    def count(self, to: int) -> Iterator[int]: ...

def use_blocking() -> None:
    with micro.sync.Client("shop", backend="trio", registry="memory") as client:
        reveal_type(client.call("greeter", "Say.Find", Question("a"), Answer, timeout=2, errors=(EmailTaken,)))
        reveal_type(client.call_response("greeter", "Say.Find", Question("a"), Answer).value)
        say = client.proxy(Blocking, "greeter", name="Say", errors=(EmailTaken,))
        reveal_type(say.hello(Question("a")))
        for number in say.count(3):
            reveal_type(number)
        with client.stream("greeter", "Say.Chat", Answer, timeout=5) as stream:
            stream.send("a")
            reveal_type(stream.recv())
            for answer in stream:
                reveal_type(answer)
        client.publish("topic", Answer("a"), timeout=1)

async def use() -> None:
    async with micro.Client(registry="memory") as client:
        reveal_type(await client.call("greeter", "Say.Find", Question("a"), Answer, timeout=2, idempotent=True))
        reveal_type(await client.call("greeter", "Say.Find", Question("a"), Answer | None))
        reveal_type(await client.call("greeter", "Say.Find", Question("a"), where={"zone": "a"}, key="k"))
        reveal_type((await client.call_response("greeter", "Say.Find", Question("a"), Answer)).value)
        say = client.proxy(Say, "greeter", timeout=2, metadata={"a": "b"}, version="1", where={"zone": "a"}, key="k")
        reveal_type(say)
        reveal_type(await say.hello(Question("a")))
        reveal_type(await say.total(numbers()))
        async for number in say.count(3):
            reveal_type(number)
        async for answer in say.chat(words()):
            reveal_type(answer)
        async with micro.streaming(say.count(3)) as replies:
            async for number in replies:
                reveal_type(number)
        reveal_type(await client.proxy(Contract, "greeter").hello(Question("a")))
        async with client.stream("greeter", "Say.Chat", Answer, timeout=5) as stream:
            await stream.send("a")
            reveal_type(await stream.recv())
            async for value in stream:
                reveal_type(value)
        await client.publish("topic", Answer("a"), timeout=1, content_type="application/json", metadata={}, key=b"k")
    async with service:
        reveal_type(await service.client.call("greeter", "Say.Find", Question("a"), Answer))
        try:
            await client.proxy(Say, "greeter", errors=(EmailTaken,)).hello(Question("a"))
        except EmailTaken as error:
            reveal_type(error.email)
            raise EmailTaken("taken", email=error.email, id="front") from EmailTaken(email="")
        await client.call("greeter", "Say.Find", Question("a"), Answer, errors=[EmailTaken])
    async with micro.testing.run(service, fakes={"mail": Say()}, clock=True) as app:
        reveal_type(app.client)
        reveal_type(app.published("topic", Answer))
        await app.clock.advance(3)
        await app.delivered()
"""

REVEALED = [
    "Answer", "Answer", "Answer", "int", "Answer", "Answer",
    "Answer", "Any", "Any", "Answer", "Say", "Answer", "int", "int", "Answer", "int", "Answer", "Answer", "Answer",
    "Answer", "str", "Client", "Answer]",
]  # fmt: skip

WRONG = """
import micro.sync
from greeter import Answer, EmailTaken, Question, Say, numbers, words

async def use(client: micro.Client) -> None:
    say = client.proxy(Say, "greeter")
    await say.hello("a")
    say.count("3")
    await say.total(words())
    say.chat(numbers())
    await client.call("greeter", "Say.Find", Question("a"), Answer, timeout="2")
    await client.call("greeter", "Say.Find", Question("a"), Answer, tiemout=2)
    (await client.call("greeter", "Say.Find", Question("a"), Answer)).nope
    say.nope()
    EmailTaken("taken")
    EmailTaken("taken", email=1)
    EmailTaken("taken", emial="a@b")
    client.proxy(Say, "greeter", errors=(ValueError,))
    micro.sync.Client().call("greeter", "Say.Find", Question("a"), Answer, tiemout=2)
    micro.sync.Client().call("greeter", "Say.Find", Question("a"), Answer).nope
"""


def mypy(folder: Path, name: str) -> list[str]:
    run = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", name]
    return subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False).stdout.splitlines()


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_a_program_is_typed_and_a_wrong_argument_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "greeter.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(textwrap.dedent(WRONG))
    lines = [line for line in mypy(tmp_path, "wrong.py") if "greeter.py" not in line]
    numbers = {int(line.split(":")[1]) for line in lines if ": error: " in line}
    assert numbers == set(range(7, 21)), "\n".join(lines)

    lines = mypy(tmp_path, "greeter.py")
    revealed = [line.rpartition('"')[0].rpartition('"')[2].rpartition(".")[2] for line in lines if "Revealed" in line]
    assert [line for line in lines if ": error: " in line] == []
    assert revealed == REVEALED
