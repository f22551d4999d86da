"""Each limit at its edge in both versions of HTTP, what never reaches the wire, and connections above their number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import trustme
from micro_conformance.polling import eventually
from micro_core import Head, Message, Peer, Reset, TransportError, UnaryCall, capture_clock
from micro_http import HTTP2, TLS, HTTPClient, HTTPListener, Limits, listen

pytestmark = pytest.mark.anyio
VERSIONS = [HTTP2.NEVER, HTTP2.ALWAYS]
LIMITS = Limits(head=2000, lines=20, uri=500, body=3000)


class Echo(UnaryCall):
    """Gives back what it got, under the head that it is told."""

    def __init__(self, head: Head) -> None:
        self.head = head

    async def run(self, body: bytes) -> Message:
        return Message(self.head, body)

    def cancel(self, reason: Reset) -> None:
        pass


@pytest.fixture(params=VERSIONS, ids=["1.1", "2"])
def version(request: pytest.FixtureRequest) -> HTTP2:
    return request.param


@asynccontextmanager
async def serving(
    version: HTTP2, limits: Limits = LIMITS, reply: Head | None = None, ours: Limits | None = None
) -> AsyncIterator[tuple[HTTPClient, HTTPListener]]:
    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Echo({} if reply is None else dict(reply))

    async with await listen("127.0.0.1:0", accept, limits) as listener, HTTPClient(ours, http2=version) as client:
        yield client, listener


async def call(client: HTTPClient, listener: HTTPListener, head: Head, body: bytes = b"") -> Message:
    return await client.call(listener.address, Message(head, body), deadline=capture_clock()() + 5)


async def status(client: HTTPClient, listener: HTTPListener, head: Head, body: bytes = b"") -> str:
    return (await call(client, listener, head, body)).head[":status"]


@pytest.mark.parametrize("framed", [False, True])
async def test_a_body_up_to_the_limit(version: HTTP2, framed: bool) -> None:
    head = {"micro-endpoint": "Say.Hello"} if framed else {}
    async with serving(version) as (client, listener):
        for size, expected in ((2999, "200"), (3000, "200"), (3001, "413"), (200_000, "413"), (3000, "200")):
            assert await status(client, listener, head, bytes(size)) == expected


async def test_a_target_up_to_the_limit(version: HTTP2) -> None:
    async with serving(version) as (client, listener):
        for size, expected in ((499, "200"), (500, "200"), (501, "414"), (900, "414"), (500, "200")):
            assert await status(client, listener, {":path": "/" + "x" * (size - 1)}) == expected


async def test_a_header_up_to_the_limit(version: HTTP2) -> None:
    """The edge is where the size as the version counts it passes the limit: found, then held to a byte."""
    async with serving(version) as (client, listener):
        refused = [size for size in range(1700, 2010) if await status(client, listener, {"x": "y" * size}) == "431"]
        assert refused == list(range(refused[0], 2010))
        assert 1700 < refused[0] < 2000
        assert await status(client, listener, {"x": "y" * 5000}) == "431"
        assert await status(client, listener, {"x": "y" * (refused[0] - 1)}) == "200"


async def test_header_lines_up_to_the_limit(version: HTTP2) -> None:
    async with serving(version) as (client, listener):
        found = [await status(client, listener, {f"x{at}": "y" for at in range(lines)}) for lines in range(12, 24)]
        edge = found.index("431")
        assert found == ["200"] * edge + ["431"] * (len(found) - edge)
        assert 12 + edge in (17, 18, 19, 20)


async def test_replies_up_to_the_limit(version: HTTP2) -> None:
    async with serving(version, Limits(), ours=Limits(body=1000)) as (client, listener):
        assert len((await call(client, listener, {}, bytes(1000))).body) == 1000
        with pytest.raises(TransportError) as caught:
            await call(client, listener, {}, bytes(1001))
        assert caught.value.reason is Reset.LIMIT


async def test_a_reply_header_over_the_limit(version: HTTP2) -> None:
    async with serving(version, reply={"x": "y" * 1000}, ours=Limits(head=900)) as (client, listener):
        with pytest.raises(TransportError):
            await call(client, listener, {})


# What never reaches the wire


def unfit() -> Iterator[Head]:
    for bad in ("\r", "\n", "\0", "\r\n", "a\r\nb: c", "a\nb", "\x0b", "\x1b[2J", "\x7f", "a\r\n\r\nGET / HTTP/1.1"):
        yield {"micro-service": bad}
        yield {"micro-topic": "x", "micro-error": f'{{"detail": "{bad}"}}'}
        yield {f"micro-{bad}": "x"}
    for name in ("a:b", "a b", "", "ü", "a(b)", "content_length", "transfer_encoding", '"a"', "a,b", "\ud800"):
        yield {name: "x"}
    yield {"x": "\ud800"}
    for path in ("a", "", "/a b", "/\r\nx", "/ü", "/#a", "*", "http://b/"):
        yield {":path": path}
    for method in ("get", "GET /", "HEAD", "CONNECT", "", "G\r\nET", "PÖST"):
        yield {":method": method}


async def test_a_head_that_no_message_may_hold_is_refused_before_a_byte_is_written(version: HTTP2) -> None:
    written = []
    async with serving(version) as (client, listener):
        for head in unfit():
            try:
                written.append((head, await call(client, listener, head)))
            except ValueError:
                assert await status(client, listener, {"x": "y"}) == "200"
    assert not written


@pytest.mark.parametrize("name", [":status", ":scheme", ":authority", ":x", "host", "connection", "te", "upgrade"])
async def test_what_belongs_to_the_connection_is_not_written_from_a_head(version: HTTP2, name: str) -> None:
    seen: list[Head] = []

    def accept(head: Head, peer: Peer) -> UnaryCall:
        seen.append(dict(head))
        return Echo({name: "200", "x": "y"})

    async with await listen("127.0.0.1:0", accept) as listener, HTTPClient(http2=version) as client:
        for _ in range(3):
            reply = await call(client, listener, {name: "200", "x": "y"})
            assert reply.head == {":status": "200", "x": "y"}
    for head in seen:
        assert head.pop("host") == listener.address
        assert head.pop("micro-http2", "ask") == "ask"
        assert head == {":method": "POST", ":path": "/", "x": "y"}


@pytest.mark.parametrize("bad", ["a\r\nset-cookie: b", "a\nb", "\0", "\x7f"])
async def test_a_reply_that_no_message_may_hold_becomes_a_500(version: HTTP2, bad: str) -> None:
    for reply in ({"x": bad}, {f"x{bad}": "y"}):
        async with serving(version, reply=reply) as (client, listener):
            answer = await call(client, listener, {})
            assert (answer.head[":status"], answer.body) == ("500", b"")
            assert bad not in str(answer.head)


# Connections


@asynccontextmanager
async def filled(
    limit: int, tls: TLS | None = None
) -> AsyncIterator[tuple[HTTPListener, list[anyio.abc.SocketStream]]]:
    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Echo({})

    async with await listen("127.0.0.1:0", accept, Limits(connections=limit), tls=tls) as listener:
        host, _, port = listener.address.rpartition(":")
        held = [await anyio.connect_tcp(host, int(port)) for _ in range(limit)]
        await eventually(lambda: len(listener.connections) == limit or tls is not None, within=3)
        yield listener, held
        for stream in held:
            await stream.aclose()


async def test_connections_above_the_limit_are_told_and_room_is_found_again(version: HTTP2) -> None:
    async with filled(3) as (listener, held), HTTPClient(http2=version) as client:
        if version is HTTP2.NEVER:
            reply = await call(client, listener, {})
            assert (reply.head[":status"], reply.head["micro-unprocessed"]) == ("503", "1")
            assert b"option connections" in reply.body
        else:
            with pytest.raises(TransportError) as caught:
                await call(client, listener, {})
            assert not caught.value.processed
        await held.pop().aclose()
        await eventually(lambda: len(listener.connections) < 3, within=3)
        assert await status(client, listener, {}) == "200"


async def test_a_connection_above_the_limit_that_says_nothing_is_closed() -> None:
    async with filled(2) as (listener, _):
        host, _, port = listener.address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            with anyio.fail_after(3), pytest.raises(anyio.EndOfStream):
                await stream.receive()
        await eventually(lambda: len(listener.connections) == 2, within=3)


async def test_above_those_that_are_told_they_are_closed_at_once() -> None:
    async with filled(1) as (listener, _):
        host, _, port = listener.address.rpartition(":")
        streams = [await anyio.connect_tcp(host, int(port)) for _ in range(150)]
        await eventually(lambda: len(listener.connections) <= 101, within=3)
        with anyio.fail_after(3):
            for stream in streams:
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await stream.receive()
                await stream.aclose()


async def test_connections_above_the_limit_over_tls(version: HTTP2, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = TLS(certificate=tmp_path / "cert.pem", ca=tmp_path / "ca.pem", identity="host")

    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Echo({})

    ours = HTTP2.NEVER if version is HTTP2.NEVER else HTTP2.AUTO
    async with (
        await listen("127.0.0.1:0", accept, Limits(connections=1), tls=tls) as listener,
        HTTPClient(tls=tls, http2=ours) as first,
        HTTPClient(tls=tls, http2=ours) as second,
    ):
        assert await status(first, listener, {}) == "200"
        if version is HTTP2.NEVER:
            assert await status(second, listener, {}) == "503"
        else:
            with pytest.raises(TransportError) as caught:
                await call(second, listener, {})
            assert not caught.value.processed
        assert await status(first, listener, {}) == "200"
