"""A reader that rests: how much its sender can send meanwhile, what its neighbours notice, and that nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from micro_conformance import eventually, steadily
from micro_conformance.works import HEAD, STREAM_HEAD, Behind, listening
from micro_core import EndOfStream, Exchange, Message, Reset
from micro_http import HTTP2, HTTPListener
from micro_transport_http import HTTPTransport

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("http2", [HTTP2.NEVER, HTTP2.ALWAYS])
BUFFER = 64 * 1024
MESSAGE = b"x" * 16_000
MOST = 4096
"""Messages, 64 MB: what a sender without a bound would send."""


def allowed(http2: HTTP2) -> int:
    """Bytes that may be on their way: HTTP/2's window, or both sockets' buffers; and our own at each end."""
    ours = 2 * BUFFER + 4 * len(MESSAGE)
    if http2 is HTTP2.ALWAYS:
        return BUFFER + ours
    return ours + sum(_most(name) for name in ("tcp_wmem", "tcp_rmem"))


def _most(name: str) -> int:
    path = Path("/proc/sys/net/ipv4") / name
    return int(path.read_text().split()[2]) if path.exists() else 8 * 1024 * 1024


class Sending:
    """Sends numbered messages until it is told to stop; `sent` says how far it came."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended = False
        self.enough = False

    async def __call__(self, exchange: Exchange) -> None:
        while self.sent < MOST and not self.enough:
            await exchange.send(b"%06d" % self.sent + MESSAGE)
            self.sent += 1
        await exchange.end()
        self.ended = True

    @property
    def size(self) -> int:
        return self.sent * (len(MESSAGE) + 6)

    async def stalled(self) -> None:
        """Returns when it no longer gets on."""
        await eventually(lambda: self.sent, within=5)
        before = -1
        while before != self.sent:
            before = self.sent
            await anyio.sleep(0.15)


async def read_all(exchange: Exchange) -> int:
    """How many arrived, in order."""
    count = 0
    try:
        while True:
            assert int((await exchange.recv())[:6]) == count
            count += 1
    except EndOfStream:
        return count


@asynccontextmanager
async def between(
    http2: HTTP2, stream: Callable[[Exchange], Awaitable[None]]
) -> AsyncIterator[tuple[HTTPTransport, Behind]]:
    options = HTTPTransport.Options(http2=http2, buffer=BUFFER)
    async with (
        HTTPTransport(options) as server,
        HTTPTransport(options) as client,
        listening(server, "127.0.0.1:0", stream=stream) as behind,
    ):
        yield client, behind


async def opened(client: HTTPTransport, behind: Behind) -> Exchange:
    return await client.open(behind.address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)


@BOTH
async def test_a_server_that_does_not_read_suspends_its_client(http2: HTTP2) -> None:
    go, arrived = anyio.Event(), list[int]()

    async def rest(exchange: Exchange) -> None:
        await go.wait()
        arrived.append(await read_all(exchange))
        await exchange.end()

    sending = Sending()
    async with between(http2, rest) as (client, behind), anyio.create_task_group() as group:
        exchange = await opened(client, behind)
        group.start_soon(sending, exchange)
        await sending.stalled()
        assert not sending.ended
        assert sending.size <= allowed(http2)
        sending.enough = True
        go.set()
        with pytest.raises(EndOfStream):
            await exchange.recv()
        assert arrived == [sending.sent]


@BOTH
async def test_a_client_that_does_not_read_suspends_its_server(http2: HTTP2) -> None:
    sending = Sending()
    async with between(http2, sending) as (client, behind):
        exchange = await opened(client, behind)
        await sending.stalled()
        assert not sending.ended
        assert sending.size <= allowed(http2)
        sending.enough = True
        assert await read_all(exchange) == sending.sent
        exchange.reset(Reset.CANCELLED)


async def test_a_stream_writes_ahead_and_a_call_at_once_on_the_same_connection(anyio_backend_name: str) -> None:
    """By what a wire may hold back before its connection is told to wait."""
    if anyio_backend_name == "trio":
        pytest.skip("its wires write by a task of their own, and do not tell what they may hold")
    limits: list[int] = []

    async def ahead(exchange: Exchange) -> None:
        limits.append(write_limit(behind))
        await exchange.send(b"x")
        await exchange.end()

    async with between(HTTP2.NEVER, ahead) as (client, behind):
        exchange = await opened(client, behind)
        assert await exchange.recv() == b"x"
        await eventually(lambda: [*limits, write_limit(behind)] == [BUFFER, 0], within=5)
        exchange.reset(Reset.CANCELLED)


def write_limit(behind: Behind) -> int:
    """Of the listener's only connection."""
    assert isinstance(behind.listener, HTTPListener)
    (connection,) = behind.listener.connections
    high: int = connection.wire.get_write_buffer_limits()[1]  # type: ignore[attr-defined]  # of asyncio's transports
    return high


@BOTH
async def test_a_sender_that_is_suspended_can_be_cancelled_and_reset(http2: HTTP2) -> None:
    sending = Sending()
    async with between(http2, sending) as (client, behind), anyio.create_task_group() as group:
        exchange = await opened(client, behind)
        await sending.stalled()
        exchange.reset(Reset.CANCELLED)
        await eventually(lambda: behind.streams[0].finished, within=5)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_an_http_2_stream_that_stalls_does_not_stop_its_neighbours(direction: str) -> None:
    """More stalled streams than would fit into the connection's window, and more calls than fit into it after that."""
    sendings: list[Sending] = []

    async def stream(exchange: Exchange) -> None:
        if exchange.request.get("x-echo"):
            while True:
                await exchange.send(await exchange.recv())
        elif direction == "down":
            sendings.append(Sending())
            await sendings[-1](exchange)
        else:
            await anyio.sleep_forever()

    async with between(HTTP2.ALWAYS, stream) as (client, behind), anyio.create_task_group() as group:
        for _ in range(20):
            exchange = await opened(client, behind)
            if direction == "up":
                sendings.append(Sending())
                group.start_soon(sendings[-1], exchange)
        await eventually(lambda: len(sendings) == 20, within=5)
        for sending in sendings:
            await eventually(lambda sending=sending: sending.size >= BUFFER // 2, within=5)
        neighbour = await client.open(behind.address, {**STREAM_HEAD, "x-echo": "1"}, deadline=anyio.current_time() + 5)
        for _ in range(30):
            await calls(client, behind, 50_000)
            await neighbour.send(MESSAGE)
            assert await neighbour.recv() == MESSAGE
        assert {peer.address for peer in behind.peers} == {behind.peers[0].address}
        await steadily(lambda: all(one.size <= allowed(HTTP2.ALWAYS) for one in sendings), during=0.05)
        group.cancel_scope.cancel()


async def calls(client: HTTPTransport, behind: Behind, size: int) -> None:
    body = b"y" * size
    reply = await client.call(behind.address, Message(dict(HEAD), body), deadline=anyio.current_time() + 5)
    assert reply.body == body


@BOTH
async def test_what_waits_for_a_reader_is_bounded_in_this_process(http2: HTTP2) -> None:
    """Many small messages, of which one costs more to hold than its bytes."""
    sent = 0

    async def flood(exchange: Exchange) -> None:
        nonlocal sent
        while True:
            await exchange.send(b"z")
            sent += 1

    async with between(http2, flood) as (client, behind):
        exchange: Any = await opened(client, behind)
        await eventually(lambda: sent > 500, within=5)
        before = -1
        while before != sent and sent < 3_000_000:
            before = sent
            await anyio.sleep(0.15)
        held = exchange._channel.ready if http2 is HTTP2.ALWAYS else exchange._pipe.ready
        assert before == sent, "the sender was never suspended"
        assert len(held) * 6 <= 2 * BUFFER
        exchange.reset(Reset.CANCELLED)
