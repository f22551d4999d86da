"""The connections of a client: which is taken, which are dropped, what becomes of those that a peer leaves."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from http2_peer import Called, Connection, http2_peer
from micro_conformance import eventually, steadily
from micro_conformance.works import HEAD, STREAM_HEAD, Behind, listening
from micro_core import Head, Message, Reset, TransportError
from micro_http import HTTP2, HTTPClient
from micro_http.http2.faults import CANCEL, NO_ERROR
from micro_transport_http import HTTPTransport

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("http2", [HTTP2.NEVER, HTTP2.ALWAYS])


def made(http2: HTTP2, **options: Any) -> HTTPTransport:
    return HTTPTransport(HTTPTransport.Options(http2=http2, **options))


def inside(transport: HTTPTransport) -> HTTPClient:
    return transport._client


def connections(transport: HTTPTransport) -> int:
    return len(inside(transport).connections) + len(inside(transport).multiplexed)


async def ask(transport: HTTPTransport, address: str, body: bytes = b"", within: float = 5.0) -> bytes:
    reply = await transport.call(address, Message(dict(HEAD), body), deadline=anyio.current_time() + within)
    return reply.body


@asynccontextmanager
async def between(
    http2: HTTP2, unary: Callable[[Head, bytes], Awaitable[Message | None]] | None = None, **options: Any
) -> AsyncIterator[tuple[HTTPTransport, Behind]]:
    handlers: dict[str, Any] = {} if unary is None else {"unary": unary}
    async with (
        made(http2) as server,
        made(http2, **options) as client,
        listening(server, "127.0.0.1:0", **handlers) as behind,
    ):
        yield client, behind


async def hang(head: Head, body: bytes) -> Message:
    if body == b"hang":
        await anyio.sleep_forever()
    return Message({}, body)


class Gate:
    """A handler that keeps `wait` until it is opened."""

    def __init__(self) -> None:
        self.open = anyio.Event()

    async def __call__(self, head: Head, body: bytes) -> Message:
        if body.startswith(b"wait"):
            await self.open.wait()
        return Message({}, body)


async def together(transport: HTTPTransport, address: str, *bodies: bytes) -> list[bytes]:
    replies: list[bytes] = []

    async def one(body: bytes) -> None:
        replies.append(await ask(transport, address, body))

    async with anyio.create_task_group() as group:
        for body in bodies:
            group.start_soon(one, body)
    return sorted(replies)


# Which is taken


async def test_the_connection_that_was_used_last_is_taken_first() -> None:
    gates = {name: anyio.Event() for name in (b"a", b"b", b"c")}

    async def handle(head: Head, body: bytes) -> Message:
        if body in gates:
            await gates[body].wait()
        return Message({}, body)

    async with between(HTTP2.NEVER, handle) as (client, behind), anyio.create_task_group() as group:
        for at, name in enumerate(gates, start=1):
            group.start_soon(ask, client, behind.address, name)
            await eventually(lambda at=at: len(behind.works) == at, within=5)
        busy = {name: peer.address for name, peer in zip(gates, behind.peers, strict=True)}
        for at, name in enumerate((b"c", b"a", b"b"), start=1):
            gates[name].set()
            await eventually(
                lambda at=at: len(inside(client).connections) - inside(client).connections_in_use == at, within=5
            )
        for _ in range(3):
            await ask(client, behind.address, b"x")
        assert [peer.address for peer in behind.peers[3:]] == [busy[b"b"]] * 3


@BOTH
async def test_a_connection_over_its_age_is_not_used_again_and_closed(http2: HTTP2) -> None:
    gate = Gate()
    async with between(http2, gate, pool_ttl=0.05) as (client, behind), anyio.create_task_group() as group:
        group.start_soon(ask, client, behind.address, b"wait")
        await eventually(lambda: behind.works, within=5)
        await anyio.sleep(0.06)
        await ask(client, behind.address)
        assert len({peer.address for peer in behind.peers}) == 2
        assert not behind.works[0].reason, "a call was cut"
        gate.open.set()
        await eventually(lambda: not behind.works[0].reason and connections(client) <= 2, within=5)
        await anyio.sleep(0.06)
        await ask(client, behind.address)
        await eventually(lambda: connections(client) == 1, within=5)


# Which are dropped


@BOTH
async def test_a_server_that_was_restarted_is_called_again_at_once(http2: HTTP2) -> None:
    async with made(http2) as client:
        address = "127.0.0.1:0"
        for _ in range(5):
            async with made(http2) as server, listening(server, address) as behind:
                address = behind.address
                for _ in range(2):
                    await together(client, address, *(b"%d" % at for at in range(8)))


@BOTH
async def test_a_connection_that_the_server_found_idle_for_too_long_is_replaced(http2: HTTP2) -> None:
    async with (
        made(http2, idle_timeout=0.1) as server,
        made(http2) as client,
        listening(server, "127.0.0.1:0") as behind,
    ):
        for _ in range(3):
            await ask(client, behind.address)
            await eventually(lambda: not connections(client), within=5)
        assert len({peer.address for peer in behind.peers}) == 3


async def test_a_deadline_drops_an_http_1_connection() -> None:
    async with between(HTTP2.NEVER, hang) as (client, behind):
        await ask(client, behind.address)
        with pytest.raises(TransportError):
            await ask(client, behind.address, b"hang", within=0.05)
        await eventually(lambda: not inside(client).connections, within=5)


async def test_a_deadline_or_a_cancellation_resets_an_http_2_stream_and_its_neighbours_live() -> None:
    gate = Gate()

    async def handle(head: Head, body: bytes) -> Message:
        return await (hang if body == b"hang" else gate)(head, body)

    async with between(HTTP2.ALWAYS, handle) as (client, behind), anyio.create_task_group() as group:
        replies: list[bytes] = []

        async def neighbour() -> None:
            replies.append(await ask(client, behind.address, b"wait"))

        group.start_soon(neighbour)
        await eventually(lambda: behind.works, within=5)
        with pytest.raises(TransportError) as caught:
            await ask(client, behind.address, b"hang", within=0.05)
        assert (caught.value.reason, caught.value.processed) == (Reset.DEADLINE, True)
        with anyio.move_on_after(0.05):
            await ask(client, behind.address, b"hang")
        await eventually(lambda: behind.works[1].reason and behind.works[2].reason, within=5)
        assert not behind.works[0].reason
        await steadily(lambda: inside(client).multiplexed, during=0.05)
        gate.open.set()
        await eventually(lambda: replies == [b"wait"], within=5)
        await ask(client, behind.address, b"x")
        assert len({peer.address for peer in behind.peers}) == 1


async def test_an_http_2_peer_that_fell_silent_is_given_no_more_calls() -> None:
    def script(connection: Connection, called: Called) -> None:
        if connection.number == 0 and called.body.endswith(b"deafen"):
            connection.deaf = True
        else:
            called.answer(b"%d" % connection.number)

    async with http2_peer(script) as (address, _), made(HTTP2.ALWAYS) as client:
        assert await ask(client, address) == b"0"
        with pytest.raises(TransportError):
            await ask(client, address, b"deafen", within=0.1)

        async def elsewhere() -> bool:
            try:
                return await ask(client, address, within=0.1) == b"1"
            except TransportError:
                return False

        await eventually(elsewhere, within=5)
        await eventually(lambda: connections(client) == 1, within=5)


async def test_an_http_2_peer_that_is_slow_and_answers_pings_keeps_its_connection() -> None:
    def script(connection: Connection, called: Called) -> None:
        if not called.body.endswith(b"never"):
            called.answer(b"%d" % connection.number)

    async with http2_peer(script) as (address, peers), made(HTTP2.ALWAYS) as client:
        for _ in range(13):
            with pytest.raises(TransportError):
                await ask(client, address, b"never", within=0.1)
        assert await ask(client, address) == b"0"
        assert peers[0].resets == [CANCEL] * 13


# Peers that leave


async def test_after_goaway_calls_in_flight_end_well_and_new_ones_go_elsewhere() -> None:
    waiting: list[Called] = []

    def script(connection: Connection, called: Called) -> None:
        if called.body.endswith(b"wait"):
            waiting.append(called)
            connection.link.goaway()
        else:
            called.answer(b"%d" % connection.number)

    async with http2_peer(script) as (address, peers), made(HTTP2.ALWAYS) as client, anyio.create_task_group() as group:
        replies: list[bytes] = []

        async def one() -> None:
            replies.append(await ask(client, address, b"wait"))

        group.start_soon(one)
        await eventually(lambda: waiting, within=5)
        for _ in range(3):
            assert await ask(client, address) == b"1"
        assert not peers[0].closed, "a connection with a call on it was closed"
        assert not replies
        waiting[0].answer(b"late")
        await peers[0].say()
        await eventually(lambda: replies == [b"late"] and peers[0].closed, within=5)


async def test_a_call_that_a_leaving_peer_did_not_take_is_made_again_unseen() -> None:
    def script(connection: Connection, called: Called) -> None:
        if connection.number < 2:
            connection.link.last = 0
            connection.link.fail(NO_ERROR, "leaving")
        else:
            called.answer(b"%d" % connection.number)

    async with http2_peer(script) as (address, peers), made(HTTP2.ALWAYS) as client:
        assert await ask(client, address) == b"2"
        assert len(peers) == 3


async def test_a_peer_that_takes_nothing_is_not_tried_for_ever() -> None:
    def script(connection: Connection, called: Called) -> None:
        connection.link.last = 0
        connection.link.fail(NO_ERROR, "leaving")

    async with http2_peer(script) as (address, peers), made(HTTP2.ALWAYS) as client:
        with pytest.raises(TransportError) as caught:
            await ask(client, address)
        assert not caught.value.processed
        assert len(peers) == 3


async def test_an_http_2_connection_that_the_peer_leaves_is_closed_when_its_calls_have_ended() -> None:
    gate = Gate()
    async with between(HTTP2.ALWAYS, gate) as (client, behind), anyio.create_task_group() as group:
        replies: list[bytes] = []

        async def one() -> None:
            replies.append(await ask(client, behind.address, b"wait"))

        group.start_soon(one)
        await eventually(lambda: behind.works and behind.works[0].runs, within=5)
        group.start_soon(behind.listener.drain, anyio.current_time() + 5)
        await eventually(lambda: not any(one.link.takes_more() for one in inside(client).multiplexed), within=5)
        assert connections(client) == 1
        gate.open.set()
        await eventually(lambda: replies == [b"wait"] and not connections(client), within=5)


# Nodes that left


@BOTH
async def test_forget_closes_what_is_idle_and_lets_what_is_busy_end(http2: HTTP2) -> None:
    gate = Gate()
    async with between(http2, gate) as (client, behind), anyio.create_task_group() as group:
        await together(client, behind.address, *[b"x"] * 4)
        client.forget(behind.address)
        await eventually(lambda: not connections(client), within=5)
        replies: list[bytes] = []

        async def one() -> None:
            replies.append(await ask(client, behind.address, b"wait"))

        group.start_soon(one)
        exchange = await client.open(behind.address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)
        await eventually(lambda: len(behind.works) == 5, within=5)
        for _ in range(2):
            client.forget(behind.address)
        await exchange.send(b"y")
        assert await exchange.recv() == b"y"
        gate.open.set()
        await eventually(lambda: replies == [b"wait"], within=5)
        exchange.reset(Reset.CANCELLED)
        await eventually(lambda: not connections(client), within=5)
        assert await ask(client, behind.address, b"z") == b"z"


# Whose reply


@pytest.mark.parametrize("http2", list(HTTP2))
async def test_no_reply_reaches_another_call(http2: HTTP2) -> None:
    """Nonces under cancellation, deadlines and late replies at random points; what is left in the end is as before."""
    chance = random.Random(7)

    async def handle(head: Head, body: bytes) -> Message | None:
        with anyio.CancelScope(shield=body[:1] == b"s"):
            await anyio.sleep(chance.random() * 0.004)
        return Message({"x-nonce": head["x-nonce"]}, body)

    answered = 0

    async def caller(client: HTTPTransport, address: str, name: int) -> None:
        nonlocal answered
        for at in range(40):
            nonce = f"{chance.choice('sp')}-{name}-{at}"
            request = Message({**HEAD, "x-nonce": nonce}, nonce.encode() * chance.choice((1, 200)))
            within = chance.choice((5.0, 5.0, 0.03))
            with anyio.move_on_after(chance.choice((5.0, 5.0, chance.random() * 0.004))):
                try:
                    reply = await client.call(address, request, deadline=anyio.current_time() + within)
                except TransportError as error:
                    assert error.reason in (Reset.DEADLINE, Reset.CANCELLED, Reset.GONE, Reset.REFUSED)  # noqa: PT017
                    continue
                assert (reply.head["x-nonce"], reply.body) == (nonce, request.body)
                answered += 1

    async with between(http2, handle) as (client, behind):
        async with anyio.create_task_group() as group:
            for name in range(16):
                group.start_soon(caller, client, behind.address, name)
        assert answered > 200
        await eventually(lambda: not inside(client).connections_in_use, within=5)
        await eventually(lambda: all(not one.calls for one in inside(client).multiplexed), within=5)
        assert connections(client) <= 20
