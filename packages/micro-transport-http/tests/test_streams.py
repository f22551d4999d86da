"""Streams on the wire: what raw bytes at our server do, and what our client makes of odd servers."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from micro_conformance import eventually, steadily
from micro_core import (
    EndOfStream,
    Exchange,
    Head,
    Message,
    Peer,
    Reset,
    StreamCall,
    TransportError,
    UnaryCall,
    capture_clock,
)
from micro_http.limits import Limits
from micro_http.parse import Parser
from micro_http.tables import Tables
from micro_transport_http import HTTPTransport

pytestmark = pytest.mark.anyio
Handler = Callable[[Exchange], Awaitable[None]]


class Running(StreamCall):
    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.reasons: list[Reset] = []
        self.exchange: Exchange | None = None
        self.finished = False

    async def run(self, exchange: Exchange) -> None:
        self.exchange = exchange
        try:
            await self.handler(exchange)
        finally:
            self.finished = True

    def cancel(self, reason: Reset) -> None:
        self.reasons.append(reason)


class Unary(UnaryCall):
    async def run(self, body: bytes) -> Message:
        return Message({}, b"unary " + body)

    def cancel(self, reason: Reset) -> None:
        return None


class Server:
    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.streams: list[Running] = []
        self.heads: list[Head] = []
        self.address = ""

    def accept(self, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        self.heads.append(dict(head))
        if "micro-refuse" in head:
            return Message({"micro-error": "no"})
        if head.get("micro-endpoint") != "Say.Chat":
            return Unary()
        self.streams.append(Running(self.handler))
        head.pop("micro-stream", None)  # a server may change what it was given
        return self.streams[-1]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[HTTPTransport, Server]]:
    server = Server(handler)
    async with HTTPTransport(HTTPTransport.Options()) as transport:
        listener = await transport.listen("127.0.0.1:0", server.accept)
        server.address = listener.address
        yield transport, server


class Raw:
    """A client that writes its bytes by hand."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self.stream = stream
        self.parser = Parser(Limits(), Tables(), replies=True)

    async def post(self, body: bytes = b"", /, **head: str) -> None:
        names = {name.replace("_", "-"): value for name, value in head.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        await self.stream.send(
            f"POST / HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )

    async def reply(self) -> Message | None:
        with anyio.fail_after(5):
            while (message := self.parser.poll()) is None:
                try:
                    self.parser.feed(await self.stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return None
            return message


@asynccontextmanager
async def raw(address: str) -> AsyncIterator[Raw]:
    host, _, port = address.rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        yield Raw(stream)


async def echo(exchange: Exchange) -> None:
    try:
        while True:
            await exchange.send(await exchange.recv())
    except EndOfStream:
        await exchange.end()
    except TransportError:
        return


async def end_after_one(exchange: Exchange) -> None:
    await exchange.recv()
    await exchange.end({"micro-error": "enough"})


CHAT = {"micro_endpoint": "Say.Chat", "micro_stream": "7", "micro_id": "7"}


async def test_after_the_servers_end_the_rest_of_the_stream_is_dropped_and_a_call_is_a_call() -> None:
    async with serving(end_after_one) as (_, server), raw(server.address) as client:
        for body in (b"opening", b"1", b"2", b"3"):
            await client.post(body, **CHAT)
        reply = await client.reply()
        assert reply is not None
        assert reply.head["micro-error"] == "enough"
        await client.post(b"late", **CHAT)
        await client.post(micro_error="EOS", **CHAT)
        await client.post(b"x", micro_endpoint="Say.Hello")
        reply = await client.reply()
        assert reply is not None
        assert reply.body == b"unary x"
        await client.post(b"opening", **CHAT)
        await client.post(b"1", **CHAT)
        reply = await client.reply()
        assert reply is not None
        assert reply.head["micro-error"] == "enough"
        assert len(server.streams) == 2


async def test_a_stream_without_micro_stream_ends_with_the_close_and_is_closed_after_its_end() -> None:
    got: list[bytes] = []

    async def collect(exchange: Exchange) -> None:
        try:
            while True:
                got.append(await exchange.recv())
        except EndOfStream:
            await exchange.send(b"%d" % len(got))
            await exchange.end()

    async with serving(collect) as (_, server), raw(server.address) as client:
        for body in (b"opening", b"1", b"2"):
            await client.post(body, micro_endpoint="Say.Chat")
        await client.stream.send_eof()
        replies = [await client.reply() for _ in range(3)]
        assert [reply and reply.body for reply in replies] == [b"2", b"", None]
        assert got == [b"1", b"2"]
        assert not server.streams[0].reasons or server.streams[0].finished


async def test_a_close_right_behind_eos_does_not_cancel_the_handler() -> None:
    finished: list[str] = []

    async def careful(exchange: Exchange) -> None:
        with pytest.raises(EndOfStream):
            await exchange.recv()
        await anyio.sleep(0.1)
        finished.append("stored")
        await exchange.end()

    async with serving(careful) as (_, server):
        async with raw(server.address) as client:
            await client.post(b"opening", **CHAT)
            await client.post(micro_error="EOS", **CHAT)
        await eventually(lambda: server.streams, within=5)
        await steadily(lambda: not server.streams[0].reasons or finished, during=0.05)
        await eventually(lambda: finished, within=5)


async def test_a_close_without_eos_cancels_the_handler() -> None:
    failures: list[TransportError] = []

    async def wait(exchange: Exchange) -> None:
        with pytest.raises(TransportError) as caught:
            await exchange.recv()
        failures.append(caught.value)

    async with serving(wait) as (_, server):
        async with raw(server.address) as client:
            await client.post(b"opening", **CHAT)
            await eventually(lambda: server.streams, within=5)
        await eventually(lambda: failures, within=5)
        assert failures[0].reason is Reset.GONE
        assert server.streams[0].reasons[0] is Reset.GONE


@pytest.mark.parametrize("ended", [False, True])
async def test_a_peer_that_leaves_is_noticed_though_nobody_reads(ended: bool) -> None:
    """More is on its way than is read ahead, so that reading has stopped; none of it is lost behind an EOS."""
    go, arrived = anyio.Event(), list[bytes]()

    async def rest(exchange: Exchange) -> None:
        await go.wait()
        while len(arrived) < 16:
            arrived.append(await exchange.recv())
        with pytest.raises(EndOfStream if ended else TransportError):
            await exchange.recv()
        await exchange.end()

    async with serving(rest) as (_, server):
        async with raw(server.address) as client:
            for _ in range(17):
                await client.post(bytes(5000), **CHAT)
            if ended:
                await client.post(micro_error="EOS", **CHAT)
            await eventually(lambda: server.streams, within=5)
        if ended:
            await steadily(lambda: not server.streams[0].reasons, during=0.3)
        else:
            await eventually(lambda: server.streams[0].reasons, within=5)
        go.set()
        await eventually(lambda: server.streams[0].finished, within=5)
        assert arrived == [bytes(5000)] * 16


async def test_a_reset_behind_the_clients_eos_cancels_the_handler() -> None:
    async with serving(lambda exchange: anyio.sleep(0.5)) as (transport, server):
        head = {"micro-endpoint": "Say.Chat"}
        exchange = await transport.open(server.address, head, deadline=capture_clock()() + 5)
        await exchange.end()
        await eventually(lambda: server.streams, within=5)
        exchange.reset(Reset.CANCELLED)
        await eventually(lambda: server.streams[0].reasons, within=5)


async def test_a_stray_eos_closes_the_connection() -> None:
    async with serving(echo) as (_, server), raw(server.address) as client:
        await client.post(micro_error="EOS", **CHAT)
        assert await client.reply() is None
        assert not server.heads


async def test_a_refused_stream_is_answered_once_and_closed() -> None:
    async with serving(echo) as (_, server), raw(server.address) as client:
        for body in (b"opening", b"1"):
            await client.post(body, micro_refuse="1", **CHAT)
        reply = await client.reply()
        assert reply is not None
        assert reply.head["micro-error"] == "no"
        assert await client.reply() is None
        assert len(server.heads) == 1


async def test_a_refused_call_keeps_its_connection() -> None:
    async with serving(echo) as (_, server), raw(server.address) as client:
        for _ in range(2):
            await client.post(b"x", micro_refuse="1")
            reply = await client.reply()
            assert reply is not None
            assert reply.head["micro-error"] == "no"


async def test_nonsense_within_a_stream_resets_it() -> None:
    async with serving(echo) as (_, server), raw(server.address) as client:
        await client.post(b"opening", **CHAT)
        await client.post(b"1", **CHAT)
        assert await client.reply() is not None
        await client.stream.send(b"nonsense\r\n\r\n")
        assert await client.reply() is None
        await eventually(lambda: server.streams[0].finished, within=5)


async def test_every_message_repeats_the_headers_and_an_empty_one_is_chunked() -> None:
    async with HTTPTransport(HTTPTransport.Options()) as transport:
        seen = b""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            done = anyio.Event()

            async def serve(stream: anyio.abc.SocketStream) -> None:
                nonlocal seen
                async with stream:
                    while seen.count(b"POST") < 3:
                        seen += await stream.receive()
                    done.set()

            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, serve)
                head = {"micro-endpoint": "Say.Chat", "micro-id": "7"}
                exchange = await transport.open(f"127.0.0.1:{port}", head, deadline=capture_clock()() + 5)
                await exchange.send(b"x")
                await exchange.end()
                with anyio.fail_after(5):
                    await done.wait()
                exchange.reset(Reset.CANCELLED)
                group.cancel_scope.cancel()
        line = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}"
        headers = "\r\nMicro-Endpoint: Say.Chat\r\nMicro-Id: 7\r\nMicro-Stream: 7"
        common = line + headers
        empty = "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        opening = f"{line}\r\nMicro-Http2: ask{headers}{empty}"
        assert seen.decode() == f"{opening}{common}\r\nContent-Length: 1\r\n\r\nx{common}\r\nMicro-Error: EOS{empty}"


@asynccontextmanager
async def answering(*pieces: bytes, close: bool = True) -> AsyncIterator[str]:
    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            for piece in pieces:
                await stream.send(piece)
            if not close:
                await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        group.cancel_scope.cancel()


OK = b"HTTP/1.1 200 OK\r\n"
ONE = OK + b"Content-Length: 1\r\n\r\n1"
GO_ONE = OK + b"Micro-Endpoint: Say.Chat\r\nX-Micro-Endpoint: Say.Chat\r\nContent-Length: 1\r\n\r\n1"


@pytest.mark.parametrize(
    ("pieces", "bodies", "end"),
    [
        ((ONE, OK + b"Micro-Error: EOS\r\nContent-Length: 0\r\n\r\n"), [b"1"], {}),
        ((ONE, OK + b"X-Micro-Error: EOS\r\nContent-Length: 0\r\n\r\n"), [b"1"], {}),
        ((ONE, OK + b"Micro-Error: EOS\r\nContent-Length: 2\r\n\r\n{}"), [b"1"], {}),
        ((OK + b"Micro-Error: no\r\nMicro-Id: 3\r\nContent-Length: 0\r\n\r\n",), [], {"micro-error": "no"}),
        (
            (ONE, OK + b"Micro-Error: no\r\nX-More: 1\r\nContent-Length: 0\r\n\r\n"),
            [b"1"],
            {"micro-error": "no", "x-more": "1"},
        ),
        ((GO_ONE,), [b"1"], {}),
        ((ONE,), [b"1"], Reset.GONE),
        ((), [], Reset.GONE),
        ((ONE, b"HTTP/1.1 200 OK\r\nConte"), [b"1"], Reset.GONE),
        ((ONE, b"HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nbad"), [b"1"], Reset.PROTOCOL),
        ((ONE, b"nonsense\r\n\r\n"), [b"1"], Reset.PROTOCOL),
        ((ONE, OK + b"Content-Length: 99999999\r\n\r\n"), [b"1"], Reset.PROTOCOL),
    ],
)
async def test_what_the_client_makes_of_a_server(pieces: tuple[bytes, ...], bodies: list[bytes], end: object) -> None:
    async with answering(*pieces) as address, HTTPTransport(HTTPTransport.Options()) as transport:
        exchange = await transport.open(address, {"micro-endpoint": "Say.Chat"}, deadline=capture_clock()() + 5)
        for body in bodies:
            assert await exchange.recv() == body
        with anyio.fail_after(5), pytest.raises((EndOfStream, TransportError)) as caught:
            await exchange.recv()
        if isinstance(caught.value, TransportError):
            assert caught.value.reason is end
        else:
            assert exchange.trailer == end
        assert "micro-error" not in exchange.reply
        exchange.reset(Reset.CANCELLED)


async def test_the_reply_of_a_stream_that_sent_nothing_is_told_from_its_trailer() -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.reply["x-reply"] = "1"
        await exchange.end({"x-trailer": "2"})

    async with serving(answer) as (transport, server):
        exchange = await transport.open(server.address, {"micro-endpoint": "Say.Chat"}, deadline=capture_clock()() + 5)
        with pytest.raises(EndOfStream):
            await exchange.recv()
        assert exchange.reply["x-reply"] == "1"
        assert exchange.trailer == {"x-trailer": "2"}
        await exchange.end()


async def test_the_clients_trailer_reaches_the_server() -> None:
    seen: list[Head] = []

    async def read(exchange: Exchange) -> None:
        with pytest.raises(EndOfStream):
            await exchange.recv()
        seen.append(exchange.trailer)
        await exchange.end()

    async with serving(read) as (transport, server):
        for trailer in ({}, {"x-sum": "1"}):
            head = {"micro-endpoint": "Say.Chat", "x-kept": "1"}
            exchange = await transport.open(server.address, head, deadline=capture_clock()() + 5)
            await exchange.end(trailer)
            with pytest.raises(EndOfStream):
                await exchange.recv()
        assert seen == [{}, {"x-sum": "1"}]


async def test_a_fast_sender_waits_for_a_slow_reader_and_nothing_is_lost() -> None:
    held = 0
    sent = 0

    async def slow(exchange: Exchange) -> None:
        nonlocal held
        total = 0
        await anyio.sleep(0.1)
        held = sent
        try:
            while True:
                total += len(await exchange.recv())
        except EndOfStream:
            await exchange.send(b"%d" % total)
            await exchange.end()

    async with serving(slow) as (transport, server):
        exchange = await transport.open(server.address, {"micro-endpoint": "Say.Chat"}, deadline=capture_clock()() + 5)
        for _ in range(1000):
            await exchange.send(bytes(20_000))
            sent += 1
        await exchange.end()
        assert await exchange.recv() == b"20000000"
        assert held < 900, "the sender was never held up"


async def test_a_draining_listener_refuses_calls_and_streams_as_unprocessed() -> None:
    server = Server(echo)
    async with HTTPTransport(HTTPTransport.Options()) as transport:
        listener = await transport.listen("127.0.0.1:0", server.accept)
        open_stream = await transport.open(
            listener.address, {"micro-endpoint": "Say.Chat"}, deadline=capture_clock()() + 5
        )
        await eventually(lambda: server.streams, within=5)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.drain, capture_clock()() + 5)
            await anyio.wait_all_tasks_blocked()
            reply = await transport.call(listener.address, Message({"micro-id": "1"}), deadline=capture_clock()() + 5)
            assert reply.head["micro-unprocessed"] == "1"
            assert json.loads(reply.head["micro-error"])["code"] == 503
            refused = await transport.open(
                listener.address, {"micro-endpoint": "Say.Chat"}, deadline=capture_clock()() + 5
            )
            with pytest.raises(EndOfStream):
                await refused.recv()
            assert refused.trailer["micro-unprocessed"] == "1"
            refused.reset(Reset.CANCELLED)
            await open_stream.send(b"still here")
            assert await open_stream.recv() == b"still here"
            await open_stream.end()
            with pytest.raises(EndOfStream):
                await open_stream.recv()


async def test_a_stream_call_that_raises_resets_its_stream_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def boom(exchange: Exchange) -> None:
        raise RuntimeError("boom")

    async with serving(boom) as (transport, server):
        with caplog.at_level(logging.CRITICAL, "micro.http"):
            exchange = await transport.open(
                server.address, {"micro-endpoint": "Say.Chat"}, deadline=capture_clock()() + 5
            )
            with pytest.raises(TransportError):
                await exchange.recv()
        exchange.reset(Reset.CANCELLED)
        reply = await transport.call(server.address, Message({}, b"x"), deadline=capture_clock()() + 5)
        assert reply.body == b"unary x"
