"""What is particular to the memory transport; the conformance suite holds it to the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import ContextVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from micro_core import (
    ConfigurationError,
    EndOfStream,
    Exchange,
    Head,
    Message,
    Peer,
    Reset,
    StreamCall,
    TransportError,
    UnaryCall,
)
from micro_transport_memory import MemoryTransport

pytestmark = pytest.mark.anyio


class Echo(UnaryCall):
    """Answers the body, once `gate` is open."""

    def __init__(self, gate: anyio.Event | None = None) -> None:
        self.gate = gate
        self.reason: Reset | None = None
        self.scope = anyio.CancelScope()

    async def run(self, body: bytes) -> Message | None:
        with self.scope:
            if self.gate is not None:
                await self.gate.wait()
            return Message({"seen": seen.get()}, body)
        return None

    def cancel(self, reason: Reset) -> None:
        self.reason = self.reason or reason
        self.scope.cancel()


class Reader(StreamCall):
    """Reads one message, says `bad` in its trailer and leaves."""

    def __init__(self) -> None:
        self.reason: Reset | None = None

    async def run(self, exchange: Exchange) -> None:
        await exchange.recv()
        exchange.reply["greeting"] = "hello"
        await exchange.send(b"one")
        await exchange.end({"micro-error": "bad"})

    def cancel(self, reason: Reset) -> None:
        self.reason = reason


class Idle(Reader):
    async def run(self, exchange: Exchange) -> None:
        while self.reason is None:
            await checkpoint()


seen: ContextVar[str] = ContextVar("seen", default="nothing")


@pytest.fixture
async def transport() -> AsyncIterator[MemoryTransport]:
    async with MemoryTransport(MemoryTransport.Options(address="test", buffer=2, message_limit=1000)) as transport:
        yield transport


def soon(seconds: float = 2.0) -> float:
    return anyio.current_time() + seconds


async def test_a_call_crosses_transports_of_one_store_only(transport: MemoryTransport) -> None:
    listener = await transport.listen("greeter:0", lambda head, peer: Echo())
    async with MemoryTransport(MemoryTransport.Options(address="test")) as other:
        assert (await other.call(listener.address, Message({}, b"hi"), deadline=soon())).body == b"hi"
    async with MemoryTransport(MemoryTransport.Options(address="elsewhere")) as other:
        with pytest.raises(TransportError) as refused:
            await other.call(listener.address, Message({}, b"hi"), deadline=soon())
    assert (refused.value.reason, refused.value.processed) == (Reset.REFUSED, False)


async def test_a_handler_does_not_see_the_callers_context_variables(transport: MemoryTransport) -> None:
    listener = await transport.listen("greeter:0", lambda head, peer: Echo())
    token = seen.set("the caller's")
    reply = await transport.call(listener.address, Message({}), deadline=soon())
    seen.reset(token)
    assert reply.head["seen"] == "nothing"


async def test_addresses(transport: MemoryTransport) -> None:
    first = await transport.listen("greeter:0", lambda head, peer: Echo())
    second = await transport.listen("greeter:0", lambda head, peer: Echo())
    assert first.address != second.address
    with pytest.raises(ConfigurationError, match="in use"):
        await transport.listen(first.address, lambda head, peer: Echo())
    with pytest.raises(ConfigurationError, match="not an address"):
        await transport.listen("greeter", lambda head, peer: Echo())
    with pytest.raises(ValueError, match="not an address"):
        await transport.call("nonsense", Message({}), deadline=soon())
    await first.aclose()
    await first.aclose()
    await (await transport.listen(first.address, lambda head, peer: Echo())).aclose()


@pytest.mark.parametrize("head", [{"a": "x\r\ny"}, {"a": "\0"}, {"a b": "c"}, {"": "c"}, {"a": "\ud800"}])
async def test_a_head_that_no_header_may_hold_is_an_error(transport: MemoryTransport, head: Head) -> None:
    listener = await transport.listen("greeter:0", lambda head, peer: Echo())
    with pytest.raises(ValueError):  # noqa: PT011
        await transport.call(listener.address, Message(head), deadline=soon())


async def test_the_deadline_cancels_the_call(transport: MemoryTransport) -> None:
    call = Echo(anyio.Event())
    listener = await transport.listen("greeter:0", lambda head, peer: call)
    with pytest.raises(TransportError) as late:
        await transport.call(listener.address, Message({}), deadline=soon(0.02))
    assert (late.value.reason, late.value.processed, call.reason) == (Reset.DEADLINE, True, Reset.DEADLINE)
    with pytest.raises(TransportError) as expired:
        await transport.call(listener.address, Message({}), deadline=soon(-1))
    assert not expired.value.processed


async def test_a_cancelled_caller_cancels_the_call(transport: MemoryTransport) -> None:
    call = Echo(anyio.Event())
    listener = await transport.listen("greeter:0", lambda head, peer: call)
    with anyio.move_on_after(0.02):
        await transport.call(listener.address, Message({}), deadline=soon())
    assert call.reason is Reset.CANCELLED


async def test_drain_waits_for_running_calls_and_refuses_new_ones(transport: MemoryTransport) -> None:
    gate = anyio.Event()
    listener = await transport.listen("greeter:0", lambda head, peer: Echo(gate))
    replies: list[Message] = []

    async def caller() -> None:
        replies.append(await transport.call(listener.address, Message({}, b"first"), deadline=soon()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        await listener.drain(soon(0.01))
        refused = await transport.call(listener.address, Message({}), deadline=soon())
        assert refused.head["micro-unprocessed"] == "1"
        assert '"code": 503' in refused.head["micro-error"]
        tasks.start_soon(listener.drain, soon())
        gate.set()
    assert replies[0].body == b"first"


async def test_closing_ends_running_calls_as_gone(transport: MemoryTransport) -> None:
    call = Echo(anyio.Event())
    listener = await transport.listen("greeter:0", lambda head, peer: call)
    async with anyio.create_task_group() as tasks:

        async def caller() -> None:
            with pytest.raises(TransportError) as gone:
                await transport.call(listener.address, Message({}), deadline=soon())
            assert (gone.value.reason, gone.value.processed) == (Reset.GONE, True)

        tasks.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        await listener.aclose()
    assert call.reason is Reset.GONE


async def test_an_end_with_a_trailer_wakes_a_blocked_send(transport: MemoryTransport) -> None:
    listener = await transport.listen("greeter:0", lambda head, peer: Reader())
    exchange = await transport.open(listener.address, {}, deadline=soon())

    async def fill() -> None:
        with anyio.fail_after(2):
            for _ in range(100):
                await exchange.send(b"x")

    with pytest.raises(TransportError):
        await fill()
    assert await exchange.recv() == b"one"
    assert exchange.reply == {"greeting": "hello"}
    for _ in range(2):
        with pytest.raises(EndOfStream):
            await exchange.recv()
    assert exchange.trailer == {"micro-error": "bad"}


async def test_a_reset_reaches_the_other_side(transport: MemoryTransport) -> None:
    call = Idle()
    listener = await transport.listen("greeter:0", lambda head, peer: call)
    exchange = await transport.open(listener.address, {}, deadline=soon())
    with anyio.move_on_after(0.01) as full:
        for _ in range(3):
            await exchange.send(b"x")
    assert full.cancelled_caught
    exchange.reset(Reset.CANCELLED)
    exchange.reset(Reset.DEADLINE)
    assert call.reason is Reset.CANCELLED
    with pytest.raises(TransportError):
        await exchange.recv()


async def test_a_refused_stream_ends_with_the_refusal_as_its_trailer(transport: MemoryTransport) -> None:
    def refuse(head: Head, peer: Peer) -> Message:
        return Message({"micro-error": "no"})

    listener = await transport.listen("greeter:0", refuse)
    exchange = await transport.open(listener.address, {}, deadline=soon())
    with pytest.raises(EndOfStream):
        await exchange.recv()
    assert exchange.trailer == {"micro-error": "no"}


async def test_messages_over_the_limit(transport: MemoryTransport) -> None:
    listener = await transport.listen("greeter:0", lambda head, peer: Echo())
    reply = await transport.call(listener.address, Message({}, b"x" * 1001), deadline=soon())
    assert '"code": 413' in reply.head["micro-error"]
    streams = await transport.listen("streams:0", lambda head, peer: Idle())
    exchange = await transport.open(streams.address, {}, deadline=soon())
    with pytest.raises(TransportError, match="over the limit"):
        await exchange.send(b"x" * 1001)
    exchange.reset(Reset.CANCELLED)
