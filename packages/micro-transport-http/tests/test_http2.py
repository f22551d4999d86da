"""HTTP/2 between our own nodes without TLS: how a client learns of it, when it is used, and what it must not break."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from http2_peer import Called, Connection, http2_peer
from micro_conformance import TransportConformance, eventually
from micro_conformance.works import HEAD, STREAM_HEAD, Behind, echo, listening
from micro_core import EndOfStream, Exchange, Head, Message, Reset, Transport, TransportError
from micro_http import HTTP2, Limits
from micro_http.loops import current_loop
from micro_http.parse import Parser
from micro_http.tables import Tables
from micro_transport_http import HTTPTransport

pytestmark = pytest.mark.anyio
MANY = 80


def made(http2: HTTP2 = HTTP2.AUTO) -> HTTPTransport:
    return HTTPTransport(HTTPTransport.Options(http2=http2))


async def ask(transport: Transport, address: str, body: bytes = b"") -> Message:
    return await transport.call(address, Message(dict(HEAD), body), deadline=anyio.current_time() + 5)


async def slowly(head: Head, body: bytes) -> Message:
    await anyio.sleep(0.01)
    return await echo(head, body)


async def together(transport: Transport, address: str, count: int = MANY) -> list[Message]:
    replies: list[Message] = []

    async def one(at: int) -> None:
        reply = await ask(transport, address, b"%d" % at)
        assert reply.body == b"%d" % at
        replies.append(reply)

    async with anyio.create_task_group() as group:
        for at in range(count):
            group.start_soon(one, at)
    return replies


def versions(behind: Behind) -> set[str]:
    return {peer.protocol for peer in behind.peers}


class Learnt(HTTPTransport):
    """A client that has learnt what its server speaks before the first call of a test."""

    async def call(self, address: str, request: Message, *, verify_name: str | None = None, deadline: float) -> Message:
        self._learn(address)
        return await super().call(address, request, verify_name=verify_name, deadline=deadline)

    async def open(self, address: str, head: Head, **more: object) -> Exchange:  # type: ignore[override]
        self._learn(address)
        return await super().open(address, head, **more)  # type: ignore[arg-type]

    def _learn(self, address: str) -> None:
        self._client._pool_of(address, None).http2 = True


class TestLearnt(TransportConformance):
    """Calls over HTTP/1.1 and, where there are more, HTTP/2 at once; streams over HTTP/2."""

    plugin = ("transport", "http")

    @pytest.fixture
    def make_transport(self) -> type[HTTPTransport]:
        return lambda: Learnt(HTTPTransport.Options())  # type: ignore[return-value]


# How it is learnt


async def test_the_first_reply_tells_and_calls_at_once_share_one_connection() -> None:
    async with made() as server, made() as client, listening(server, "127.0.0.1:0", unary=slowly) as behind:
        await ask(client, behind.address)
        assert versions(behind) == {"http/1.1"}
        behind.peers.clear()
        await together(client, behind.address)
        assert versions(behind) == {"http/1.1", "h2"}
        assert len({peer.address for peer in behind.peers if peer.protocol == "h2"}) == 1
        assert sum(peer.protocol == "http/1.1" for peer in behind.peers) <= current_loop().alone


async def test_calls_one_at_a_time_stay_on_http_1() -> None:
    async with made() as server, made() as client, listening(server, "127.0.0.1:0") as behind:
        for _ in range(5):
            await ask(client, behind.address)
        assert versions(behind) == {"http/1.1"}
        assert len({peer.address for peer in behind.peers}) == 1


@pytest.mark.parametrize(("http2", "spoken"), [(HTTP2.ALWAYS, "h2"), (HTTP2.NEVER, "http/1.1")])
async def test_always_and_never_are_kept(http2: HTTP2, spoken: str) -> None:
    async with made() as server, made(http2) as client, listening(server, "127.0.0.1:0", unary=slowly) as behind:
        await ask(client, behind.address)
        await together(client, behind.address)
        exchange = await client.open(behind.address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)
        await exchange.send(b"x")
        assert await exchange.recv() == b"x"
        exchange.reset(Reset.CANCELLED)
        assert versions(behind) == {spoken}


@pytest.mark.parametrize("http2", list(HTTP2))
async def test_question_and_answer_reach_neither_handlers_nor_callers(http2: HTTP2) -> None:
    """Also when many first calls run at once, and one reply has told before the others arrive."""
    async with made() as server, made(http2) as client, listening(server, "127.0.0.1:0", unary=slowly) as behind:
        exchange = await client.open(behind.address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)
        await exchange.send(b"x")
        await exchange.recv()
        await exchange.end()
        with pytest.raises(EndOfStream):
            await exchange.recv()
        heads = [exchange.reply, exchange.trailer, *(work.head for work in behind.streams)]
        for _ in range(2):
            heads += [reply.head for reply in await together(client, behind.address, 16)]
        heads += [work.head for work in behind.works]
        assert not [head for head in heads if any("http2" in name for name in head)]


@asynccontextmanager
async def go(*, echoes: bool = True, port: int = 0) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server of HTTP/1.1 alone that, as Go Micro, writes back every header; what it was sent."""
    sent: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        parser = Parser(Limits(), Tables())
        async with stream:
            async for data in stream:
                sent.append(data)
                if data.startswith(b"PRI"):
                    await stream.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return
                parser.feed(data)
                while (message := parser.poll()) is not None:
                    await anyio.sleep(0.01)
                    head = {name: value for name, value in message.head.items() if name[0] != ":"} if echoes else {}
                    lines = "".join(f"{name.title()}: {value}\r\n" for name, value in head.items())
                    start = f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(message.body)}\r\n\r\n"
                    await stream.send(start.encode() + message.body)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        yield f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}", sent
        group.cancel_scope.cancel()


@pytest.mark.parametrize("echoes", [True, False])
async def test_a_go_peer_that_echoes_the_question_is_not_taken_for_ours(echoes: bool) -> None:
    async with go(echoes=echoes) as (address, sent), made() as client:
        for _ in range(3):
            for reply in await together(client, address):
                assert "micro-http2" not in reply.head
        assert not [data for data in sent if data.startswith(b"PRI")]


# Peers that change


async def test_what_was_learnt_goes_with_the_last_connection() -> None:
    """A server of HTTP/1.1 takes the address over; no call fails, none is sent in HTTP/2."""
    async with made() as client:
        async with made() as server, listening(server, "127.0.0.1:0", unary=slowly) as behind:
            await ask(client, behind.address)
            await together(client, behind.address)
            assert "h2" in versions(behind)
        async with go(port=int(behind.address.rpartition(":")[2])) as (address, sent):
            for _ in range(2):
                await together(client, address)
            assert not [data for data in sent if data.startswith(b"PRI")]


async def test_a_peer_that_turns_out_to_speak_http_1_alone_is_called_in_http_1() -> None:
    async with go() as (address, sent), made() as client:
        await ask(client, address)
        pool = client._client._pool_of(address, None)
        pool.http2, client._client._alone = True, 0
        pool.idle[0].abort()
        await eventually(lambda: not pool.open, within=5)
        pool.http2 = True
        assert (await ask(client, address, b"x")).body == b"x"
        assert [data for data in sent if data.startswith(b"PRI")], "HTTP/2 was not tried"
        assert pool.http2 is not True


async def test_a_peer_of_http_2_alone_is_called_by_always() -> None:
    def script(connection: Connection, called: Called) -> None:
        called.answer(called.body[5:])

    async with http2_peer(script) as (address, peers), made(HTTP2.ALWAYS) as client:
        await together(client, address)
        assert len(peers) == 1


# Servers that leave


@pytest.mark.parametrize("http2", list(HTTP2))
async def test_a_drain_under_load_loses_no_call(http2: HTTP2) -> None:
    """Rolling restarts: a server drains while its successor listens; whoever is refused goes there. None may fail."""
    addresses: list[str] = []
    answered = 0
    over = False

    async def caller(client: HTTPTransport) -> None:
        nonlocal answered
        while not over:
            for address in (*reversed(addresses), None):
                assert address is not None, "every server refused"
                try:
                    reply = await ask(client, address, b"x")
                except TransportError as error:
                    assert not error.processed, error  # noqa: PT017
                    continue
                if reply.head.get("micro-unprocessed") != "1":
                    answered += 1
                    break

    async def one_server(stop: anyio.Event, started: anyio.Event, client: HTTPTransport) -> None:
        async with made() as server, listening(server, "127.0.0.1:0", unary=slowly) as behind:
            addresses.append(behind.address)
            started.set()
            await stop.wait()
            if len(addresses) > 1:
                addresses.insert(0, addresses.pop(addresses.index(behind.address)))
            await behind.listener.drain(anyio.current_time() + 5)
            addresses.remove(behind.address)
            client.forget(behind.address)

    async with made(http2) as client, anyio.create_task_group() as servers:
        last = anyio.Event()
        started = anyio.Event()
        servers.start_soon(one_server, last, started, client)
        await started.wait()
        async with anyio.create_task_group() as callers:
            for _ in range(16):
                callers.start_soon(caller, client)
            for _ in range(6):
                stop, started, before = anyio.Event(), anyio.Event(), answered
                servers.start_soon(one_server, stop, started, client)
                await started.wait()
                await eventually(lambda before=before: answered > before + 40, within=10)
                last.set()
                last = stop
            over = True
        last.set()
    assert answered > 240


async def test_a_crowd_of_calls_shares_a_connection_and_few_have_their_own_again() -> None:
    async with made() as server, made() as client, listening(server, "127.0.0.1:0") as behind:
        await ask(client, behind.address, b"is it ours?")
        await together(client, behind.address)
        assert versions(behind) == {"http/1.1", "h2"}
        spoken = []
        for _ in range(300):
            behind.peers.clear()
            await ask(client, behind.address)
            spoken += versions(behind)
        assert spoken == ["h2"] * spoken.index("http/1.1") + ["http/1.1"] * spoken.count("http/1.1")
        assert 0 < spoken.index("http/1.1") < 257


async def test_the_deadline_of_a_call_is_held_at_both_ends() -> None:
    async def never(head: Head, body: bytes) -> Message:
        await anyio.sleep(math.inf)
        return Message({})

    async with made() as server, made() as client, listening(server, "127.0.0.1:0", unary=never) as behind:
        client._client._pool_of(behind.address, None).http2 = True
        caught: list[TransportError] = []

        async def one() -> None:
            with pytest.raises(TransportError) as info:
                await client.call(behind.address, Message(dict(HEAD)), deadline=anyio.current_time() + 0.5)
            caught.append(info.value)

        async with anyio.create_task_group() as group:
            for _ in range(MANY):
                group.start_soon(one)
        assert {(error.reason, error.processed) for error in caught} == {(Reset.DEADLINE, True)}
        assert versions(behind) == {"http/1.1", "h2"}
        await eventually(lambda: all(work.reason for work in behind.works), within=5)
        assert len(client._client.multiplexed) == 1
