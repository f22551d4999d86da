"""`micro.sync.Client`: blocking, from any thread, across forks, and no call left behind by Ctrl-C."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.from_thread
import micro
import micro.sync
import pytest
from micro.errors import ConfigurationError, Outcome
from micro_core.loader import load

Kinds = dict[str, Any]
BACKENDS = ("asyncio", "uvloop", "trio")


class EmailTaken(micro.errors.Conflict):
    email: str


class Say:
    def __init__(self) -> None:
        self.waiting = 0
        self.left = threading.Event()
        self.blocking: micro.sync.Client | None = None

    async def hello(self, name: str) -> str:
        return f"Hello {name}"

    async def twice(self, number: int = 2) -> int:
        return 2 * number

    async def taken(self, email: str) -> str:
        raise EmailTaken("taken", email=email)

    async def wait(self, request: str) -> str:
        self.waiting += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.left.set()
        raise AssertionError

    async def count(self, to: int) -> AsyncIterator[int]:
        try:
            for number in range(to):
                yield number
        finally:
            self.left.set()

    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def chat(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        async for word in words:
            yield word.upper()

    async def seen(self) -> list[Any]:
        context = micro.context()
        return [context.remaining, context.metadata.get("who"), context.caller]

    def through(self, request: str) -> list[Any]:
        assert self.blocking is not None
        seen: list[Any] = self.blocking.call("greeter", "Say.Seen", None, timeout=60)
        return seen

    async def block(self, request: str) -> str:
        assert self.blocking is not None
        return self.blocking.call("greeter", "Say.Hello", "Ada", str)


class Blocking(Protocol):
    """The contract as callers that block write it."""

    def hello(self, name: str) -> str: ...
    def twice(self, number: int = 2) -> int: ...
    def taken(self, email: str) -> str: ...
    def count(self, to: int) -> Iterator[int]: ...
    def total(self, numbers: AsyncIterator[int]) -> int: ...


@pytest.fixture
def chosen(memory: Kinds) -> Kinds:
    """Between event loops of their own, calls go by sockets."""
    return {**memory, "transport": "http"}


@pytest.fixture(params=["asyncio", "trio"])
def say(request: pytest.FixtureRequest, chosen: Kinds) -> Iterator[Say]:
    handler, service = Say(), micro.Service("greeter", **chosen)
    service.handler(handler)
    with (
        anyio.from_thread.start_blocking_portal(request.param) as portal,
        portal.wrap_async_context_manager(service),
    ):
        yield handler


@pytest.fixture(params=BACKENDS)
def client(request: pytest.FixtureRequest, say: Say, chosen: Kinds) -> Iterator[micro.sync.Client]:
    with micro.sync.Client("shop", backend=request.param, **chosen) as client:
        say.blocking = client
        yield client


def test_calls_are_answered(client: micro.sync.Client) -> None:
    assert client.call("greeter", "Say.Hello", "Ada", str, timeout=2) == "Hello Ada"
    response = client.call_response("greeter", "Say.Hello", "Ada", str)
    assert response.value == "Hello Ada"
    assert [attempt.outcome for attempt in response.attempts] == [Outcome.OK]
    assert [record.name for record in client.list_services()] == ["greeter"]
    assert client.call("greeter", "Say.Seen", None)[2] == "shop"
    with pytest.raises(micro.errors.NotFound):
        client.call("greeter", "Say.Nothing", None)
    with pytest.raises(EmailTaken):
        client.call("greeter", "Say.Taken", "a@b", errors=(EmailTaken,))
    with pytest.raises(micro.errors.Timeout):
        client.call("greeter", "Say.Wait", "", timeout=0.05)


@pytest.mark.parametrize("contract", [Blocking, Say])
def test_a_proxy_blocks_too(client: micro.sync.Client, contract: Any) -> None:
    say = client.proxy(contract, "greeter", name="Say", errors=(EmailTaken,))
    assert say.hello("Ada") == say.hello(name="Ada") == "Hello Ada"
    assert list(say.count(3)) == [0, 1, 2]
    with pytest.raises(EmailTaken) as caught:
        say.taken("a@b")
    assert caught.value.email == "a@b"
    with pytest.raises(TypeError, match="takes"):
        say.hello()
    assert say.twice() == 4
    with pytest.raises(micro.errors.ServiceNotFound):
        client.proxy(contract, "greeter", name="Say", version="none", timeout=0.1).hello("Ada")
    with pytest.raises(TypeError, match="unknown option 'retries'"):
        client.proxy(contract, "greeter", retries=1)
    with pytest.raises(ConfigurationError, match="takes a stream"):
        say.total([1])
    with pytest.raises(AttributeError):
        say.nothing()


def test_a_stream_left_early_ends_at_the_server(client: micro.sync.Client, say: Say) -> None:
    proxy = client.proxy(Blocking, "greeter", name="Say")
    with proxy.count(1_000_000) as numbers:  # type: ignore[attr-defined]
        assert next(numbers) == 0
    assert say.left.wait(5)
    assert list(numbers) == []
    say.left.clear()
    numbers = proxy.count(1_000_000)
    assert next(numbers) == 0
    del numbers
    gc.collect()
    assert say.left.wait(5)


def test_the_low_level_stream(client: micro.sync.Client) -> None:
    with client.stream("greeter", "Say.Chat", str, timeout=5) as stream:
        stream.send("a")
        assert stream.recv() == "A"
        stream.send("b")
        stream.end()
        assert list(stream) == ["B"]
        assert stream.header["content-type"] == "application/json"
        assert stream.peer.address
    with pytest.raises(RuntimeError, match="opened by"):
        client.stream("greeter", "Say.Chat", str).recv()


def test_threads_share_it(client: micro.sync.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: client.call("greeter", "Say.Hello", str(n), str), range(100)))
    assert replies == [f"Hello {n}" for n in range(100)]
    assert [thread.name for thread in threading.enumerate()].count("micro-client") == 1


def test_inside_a_handler_deadline_and_metadata_go_along(client: micro.sync.Client) -> None:
    remaining, who, _ = client.call("greeter", "Say.Through", "", timeout=3, metadata={"Who": "Ada"})
    assert 1 < remaining < 3
    assert who == "Ada"


def test_it_refuses_to_block_the_loop_that_serves(client: micro.sync.Client) -> None:
    with pytest.raises(micro.errors.InternalServerError, match="RuntimeError"):
        client.call("greeter", "Say.Block", "")


def test_events_are_published_and_delivered_by_the_end(say: Say, chosen: Kinds) -> None:
    got: list[int] = []
    service = micro.Service("listener", **chosen)

    @service.subscriber("numbers")
    async def on_number(number: int) -> None:
        await anyio.sleep(0.05)
        got.append(number)

    with anyio.from_thread.start_blocking_portal() as portal, portal.wrap_async_context_manager(service):
        with micro.sync.Client(**chosen) as client:
            for number in range(3):
                client.publish("numbers", number)
        assert got == [0, 1, 2]


def test_closing_ends_calls_of_other_threads(say: Say, chosen: Kinds) -> None:
    client = micro.sync.Client(**chosen)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: client.call("greeter", "Say.Wait", "", timeout=60))
        until(lambda: say.waiting)
        client.close()
        with pytest.raises(RuntimeError, match="has been closed"):
            waiting.result(5)
    assert say.left.wait(5)
    client.close()
    with pytest.raises(RuntimeError, match="has been closed"):
        client.call("greeter", "Say.Hello", "Ada")


def test_a_client_that_is_dropped_leaves_no_thread(say: Say, chosen: Kinds) -> None:
    client = micro.sync.Client(**chosen)
    client.call("greeter", "Say.Hello", "Ada")
    assert "micro-client" in [thread.name for thread in threading.enumerate()]
    del client
    gc.collect()
    until(lambda: "micro-client" not in [thread.name for thread in threading.enumerate()])


def test_what_cannot_be_had_is_said_at_the_first_use(chosen: Kinds) -> None:
    client = micro.sync.Client(**{**chosen, "registry": "nowhere"})
    for _ in range(2):
        with pytest.raises(micro.errors.UnknownPlugin):
            client.list_services()
    with pytest.raises(ConfigurationError, match="unknown"):
        micro.sync.Client(backend="twisted", **chosen).list_services()


def test_an_interrupt_cancels_the_call_here_and_there(client: micro.sync.Client, say: Say) -> None:
    def interrupt() -> None:
        until(lambda: say.waiting)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        client.call("greeter", "Say.Wait", "", timeout=60)
    thread.join()
    assert say.left.wait(5)
    assert client.call("greeter", "Say.Hello", "Ada", str) == "Hello Ada"


def test_an_interrupt_while_it_starts_leaves_no_thread(chosen: Kinds) -> None:
    cls = load("registry", "memory").cls

    class Hung(cls):  # type: ignore[misc, valid-type]
        async def __aenter__(self) -> Any:
            entering.set()
            await anyio.sleep_forever()

    def interrupt() -> None:
        assert entering.wait(5)
        os.kill(os.getpid(), signal.SIGINT)

    entering = threading.Event()
    thread = threading.Thread(target=interrupt)
    thread.start()
    options = {**chosen["options"], "register.wait": 0.3}
    client = micro.sync.Client(**{**chosen, "registry": Hung(cls.Options()), "options": options})
    with pytest.raises(KeyboardInterrupt):
        client.list_services()
    thread.join()
    until(lambda: "micro-client" not in [thread.name for thread in threading.enumerate()])


def until(holds: Any) -> None:
    limit = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.005)


PROGRAM_BEGINS = """
import os, sys, threading
import micro, micro.sync

SERVING = '''
import anyio, micro, sys
service = micro.Service("greeter")

@service.handler
class Say:
    async def hello(self, name: str) -> str:
        return "Hello " + name

    async def count(self, to: int):
        for number in range(to):
            yield number
    count.__annotations__["return"] = __import__("collections").abc.AsyncIterator[int]

async def main():
    async with service:
        print(service.address, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
'''

import subprocess
server = subprocess.Popen([sys.executable, "-c", SERVING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
address = server.stdout.readline().strip()
client = micro.sync.Client(backend=sys.argv[1])

def call(name):
    return client.call("greeter", "Say.Hello", name, str, address=address, timeout=5)

def exit_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

PROGRAM_ENDS = """
server.stdin.close()
server.wait()
"""

ONE_CHILD = """
print(call("parent"), flush=True)
with client.stream("greeter", "Say.Count", int, address=address) as numbers:
    numbers.send(3)
    print(numbers.recv(), flush=True)
    child = os.fork()
    if not child:
        print(call("child"), flush=True)
        try:
            numbers.recv()
        except RuntimeError as error:
            print(error, flush=True)
        again = os.fork()
        if not again:
            print(call("grandchild"), flush=True)
            sys.exit(3)
        sys.exit(exit_of(again) + 1)
    print("child ended with", exit_of(child), flush=True)
    print(list(numbers), call("parent again"), flush=True)
"""

PREFORKED = """
from concurrent.futures import ThreadPoolExecutor

def worker():
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(call, map(str, range(40))))
    assert answers == [f"Hello {at}" for at in range(40)], answers
    assert [thread.name for thread in threading.enumerate()].count("micro-client") == 1
    sys.exit(7)

if sys.argv[2] == "used":
    call("the master, before")
workers = []
for _ in range(3):
    child = os.fork()
    if not child:
        worker()
    workers.append(child)
print([exit_of(worker) for worker in workers], call("master"), flush=True)
"""


def ran(tmp_path: Path, program: str, *arguments: str) -> list[str]:
    """What the program printed, between its server's beginning and end."""
    environment = {**os.environ, "MICRO_REGISTRY": "memory", "MICRO_BROKER": "memory"}
    whole = PROGRAM_BEGINS + program + PROGRAM_ENDS
    run = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", whole, *arguments]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("master", ["used", "unused"])
def test_workers_that_a_master_forks_each_have_their_own(tmp_path: Path, backend: str, master: str) -> None:
    assert ran(tmp_path, PREFORKED, backend, master) == ["[7, 7, 7] Hello master"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fork_starts_afresh(tmp_path: Path, backend: str) -> None:
    assert ran(tmp_path, ONE_CHILD, backend) == [
        "Hello parent",
        "0",
        "Hello child",
        "a stream does not survive a fork; open it in this process",
        "Hello grandchild",
        "child ended with 4",
        "[1, 2] Hello parent again",
    ]
