import logging
from dataclasses import dataclass
from typing import ClassVar

import anyio
import pytest
from micro_core import (
    Attempt,
    Call,
    EndOfStream,
    Event,
    Message,
    Node,
    Outcome,
    Peer,
    Reply,
    Reset,
    Stream,
)
from micro_core.errors import NotFound
from micro_core.loader import load_extensions


@dataclass
class Greeter:
    name: str = "greeter"
    version: str = "1"


@pytest.fixture
def host():
    return Greeter()


@pytest.fixture
def hooks():
    return load_extensions().hook


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "micro.accesslog")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "micro.accesslog"]


class Values(Stream):
    """A stream that was received in full."""

    def __init__(self, values, error=None):
        self.values = list(values)
        self.error = error or EndOfStream()
        self.was_reset = False

    header: ClassVar[dict[str, str]] = {}
    peer = Peer("127.0.0.1:1")

    async def send(self, value):
        if not self.values:
            raise self.error

    async def recv(self):
        if not self.values:
            raise self.error
        return self.values.pop(0)

    async def end(self):
        pass

    def reset(self, reason=Reset.CANCELLED):
        self.was_reset = True


@dataclass
class Delivered(Event):
    topic: str
    message: Message
    attempt: int

    async def ack(self):
        pass

    async def nack(self, delay=0.0):
        pass


def only(answers):
    [answer] = answers
    return answer


async def answer(call):
    call.attempts.append(Attempt(Node("users-1", "127.0.0.1:1"), Outcome.OK, 0.1))
    return Reply("value")


async def fail(call):
    raise NotFound("no such user")


@pytest.mark.anyio
async def test_a_call_is_one_line_at_the_client(hooks, host, lines):
    middleware = only(hooks.micro_client_middleware(service=host))
    reply = await middleware(Call("users", "Users.Find"), answer)
    assert reply.value == "value"
    [line] = lines()
    assert line.startswith("called users Users.Find: ok in ")
    assert line.endswith(" ms, 1 attempt, users-1")


@pytest.mark.anyio
async def test_a_call_is_one_line_at_the_server(hooks, host, lines, caplog):
    middleware = only(hooks.micro_server_middleware(service=host))
    call = Call("greeter", "Say.Hello", caller="web")
    call.peer = Peer("127.0.0.1:9")
    with pytest.raises(NotFound):
        await middleware(call, fail)
    [line] = lines()
    assert line.startswith("served Say.Hello of greeter: 404 Not Found in ")
    assert line.endswith("from web at 127.0.0.1:9")
    record = caplog.records[-1]
    assert (record.side, record.service, record.endpoint, record.failed) == ("served", "greeter", "Say.Hello", True)


@pytest.mark.anyio
async def test_a_cancelled_call_is_logged_and_stays_cancelled(hooks, host, lines):
    middleware = only(hooks.micro_client_middleware(service=host))

    async def hang(call):
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await middleware(Call("users", "Users.Find"), hang)
    assert scope.cancelled_caught
    assert ": cancelled in " in lines()[0]
    assert lines()[0].endswith("0 attempts")


async def opened(hooks, host, stream):
    async def open_stream(call):
        return Reply(stream=stream)

    call = Call("users", "Users.Watch", streaming=True)
    reply = await only(hooks.micro_client_middleware(service=host))(call, open_stream)
    return reply.stream


@pytest.mark.anyio
async def test_a_stream_is_logged_once_when_it_ended(hooks, host, lines):
    stream = await opened(hooks, host, Values([1, 2]))
    assert [await stream.recv(), await stream.recv()] == [1, 2]
    assert lines() == []
    for _ in range(2):
        with pytest.raises(EndOfStream):
            await stream.recv()
    stream.reset()
    assert len(lines()) == 1
    assert "called users Users.Watch: ok" in lines()[0]


@pytest.mark.anyio
@pytest.mark.parametrize("use", ["recv", "send"])
async def test_a_stream_that_failed_is_logged_with_its_error(hooks, host, lines, use):
    stream = await opened(hooks, host, Values([], NotFound("gone")))
    with pytest.raises(NotFound):
        await (stream.recv() if use == "recv" else stream.send(1))
    assert ": 404 Not Found in " in lines()[0]


@pytest.mark.anyio
async def test_a_stream_that_was_left_is_cancelled(hooks, host, lines):
    inner = Values([1])
    stream = await opened(hooks, host, inner)
    stream.reset()
    assert inner.was_reset
    assert ": cancelled in " in lines()[0]


@pytest.mark.anyio
async def test_an_event_is_one_line(hooks, host, lines):
    middleware = only(hooks.micro_subscriber_middleware(service=host))
    event = Delivered("users.created", Message({}), 2)

    async def handle(event):
        if event.attempt > 2:
            raise LookupError

    await middleware(event, handle)
    event.attempt = 3
    with pytest.raises(LookupError):
        await middleware(event, handle)
    assert lines()[0].startswith("event users.created for greeter: ok in ")
    assert lines()[0].endswith("attempt 2")
    assert ": LookupError in " in lines()[1]


@pytest.mark.anyio
async def test_the_totals_are_those_of_one_service(hooks, host, lines):
    other = Greeter()
    async with only(hooks.micro_lifespan(service=host)):
        for service in (host, host, other):
            await only(hooks.micro_client_middleware(service=service))(Call("users", "Users.Find"), answer)
        with pytest.raises(NotFound):
            await only(hooks.micro_server_middleware(service=host))(Call("greeter", "Say.Hello"), fail)
    assert lines()[-1] == "greeter in all: served 1 (1 failed), called 2 (0 failed), event 0 (0 failed)"
    assert logging.getLogger("micro.accesslog").handlers == []


@pytest.mark.anyio
async def test_a_service_that_served_and_called_nothing_has_no_totals(hooks, host, lines):
    async with only(hooks.micro_lifespan(service=host)):
        pass
    assert lines() == []


@pytest.mark.anyio
async def test_nothing_is_logged_below_info(hooks, host, caplog):
    caplog.set_level(logging.WARNING, "micro.accesslog")
    await only(hooks.micro_client_middleware(service=host))(Call("users", "Users.Find"), answer)
    assert caplog.records == []


def test_it_can_be_switched_off():
    assert load_extensions(["accesslog"]).hook.micro_client_middleware(service=Greeter()) == []
