"""Messages on a stream of HTTP/2 that are not what their prefix says, sent by a link without our channel."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream
from micro_core import EndOfStream, Exchange, Head, Peer, Reset, StreamCall, TransportError
from micro_http import listen, parse_address
from micro_http.http2.decoder import Names
from micro_http.http2.ends import ClientLink
from micro_http.http2.sending import Stream
from micro_http.http2.streams import Bounds

pytestmark = pytest.mark.anyio

HEAD = {"micro-endpoint": "Say.Chat", "micro-id": "1", "micro-stream": "1", ":path": "/"}


class Reader(StreamCall):
    """Receives until it cannot."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.ended = anyio.Event()
        self.error: TransportError | None = None

    async def run(self, exchange: Exchange) -> None:
        try:
            while True:
                self.received.append(await exchange.recv())
        except TransportError as error:
            self.error = error
        except EndOfStream:
            await exchange.end()
        self.ended.set()

    def cancel(self, reason: Reset) -> None:
        return None


class Sent(Stream):
    """A stream of the other side, whose fate is of no interest."""

    def __init__(self) -> None:
        self.parts = []

    def on_head(self, head: Head, end: bool) -> None:
        return None

    def on_trailer(self, head: Head) -> None:
        return None

    def on_data(self, data: bytes, end: bool) -> None:
        return None

    def on_reset(self, fault: int, text: str, processed: bool) -> None:
        return None


@asynccontextmanager
async def opened(reader: Reader) -> AsyncIterator[tuple[ClientLink, Sent, SocketStream]]:
    def accept(head: Head, peer: Peer) -> StreamCall:
        return reader

    async with (
        await listen("127.0.0.1:0", accept) as listener,
        await anyio.connect_tcp(*parse_address(listener.address)) as connection,
    ):
        link = ClientLink(Bounds(), time.monotonic, Names(), lambda: None)
        stream = Sent()
        link.open(stream)
        pseudo = ((":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x"))
        head = {name: value for name, value in HEAD.items() if name[0] != ":"}
        link.send_head(stream, link.encoder.encode(head, *pseudo))
        yield link, stream, connection


@pytest.mark.parametrize("cut", [1, 4, 5, 7])
async def test_a_stream_that_ends_within_a_message_is_told_behind_what_had_arrived(cut: int) -> None:
    reader = Reader()
    async with opened(reader) as (link, stream, connection):
        whole = b"\0\0\0\0\x05first"
        link.send_data(stream, whole + b"\0\0\0\0\x05later"[:cut], end=True)
        await connection.send(link.collect())
        with anyio.fail_after(5):
            await reader.ended.wait()
    assert reader.received == [b"first"]
    assert reader.error is not None
    assert reader.error.reason is Reset.PROTOCOL
    assert "within a message" in str(reader.error)


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize(("prefix", "why"), [(b"\x01\0\0\0\x01", "compressed"), (b"\0\x7f\0\0\0", "limit")])
async def test_a_message_that_is_not_taken_breaks_the_stream(prefix: bytes, why: str, end: bool) -> None:
    reader = Reader()
    async with opened(reader) as (link, stream, connection):
        link.send_data(stream, prefix + b"x", end=end)
        await connection.send(link.collect())
        with anyio.fail_after(5):
            await reader.ended.wait()
    assert reader.error is not None
    assert why in str(reader.error)


async def test_messages_arrive_whole_however_they_are_cut() -> None:
    reader = Reader()
    messages = [b"", b"x", b"y" * 300, b"z" * 70_000]
    async with opened(reader) as (link, stream, connection):
        data = b"".join(len(body).to_bytes(5, "big") + body for body in messages)
        for at in range(400):
            link.send_data(stream, data[at : at + 1])
        link.send_data(stream, data[400:], end=True)
        with anyio.fail_after(5):
            await connection.send(link.collect())
            while not reader.ended.is_set():
                with anyio.move_on_after(0.01):
                    link.receive(await connection.receive())
                await connection.send(link.collect() or b"")
    assert reader.received == messages
