"""Requests that are none, at a real socket: each is answered with a 4xx and a close, and no handler runs."""

from __future__ import annotations

import anyio
import pytest
from micro_core import Head, Message, Peer, Reset, UnaryCall
from micro_http import Limits, listen

H = b"POST / HTTP/1.1\r\nHost: a\r\n"
C = H + b"Transfer-Encoding: chunked\r\n\r\n"
HOSTILE: dict[str, bytes] = {
    "cl and te": H + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te and cl": H + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "cl 0 and te": H + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two equal cl": H + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "two different cl": H + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "cl list": H + b"Content-Length: 1, 1\r\n\r\nx",
    "cl plus": H + b"Content-Length: +1\r\n\r\nx",
    "cl minus": H + b"Content-Length: -1\r\n\r\nx",
    "cl hex": H + b"Content-Length: 0x1\r\n\r\nx",
    "cl underscore": H + b"Content-Length: 1_0\r\n\r\n0123456789",
    "cl point": H + b"Content-Length: 1.0\r\n\r\nx",
    "cl space inside": H + b"Content-Length: 1 0\r\n\r\n0123456789",
    "cl empty": H + b"Content-Length:\r\n\r\n",
    "cl arabic digit": H + "Content-Length: \u0661\r\n\r\nx".encode(),
    "cl superscript": H + "Content-Length: ²\r\n\r\nxx".encode(),
    "cl huge": H + b"Content-Length: 99999999999999999999999999\r\n\r\n",
    "cl over limit": H + b"Content-Length: 4194305\r\n\r\n",
    "two te": H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te list": H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te identity": H + b"Transfer-Encoding: identity\r\n\r\n",
    "te chunked twice": H + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "te quoted": H + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "te vertical tab": H + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "te xchunked": H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te empty": H + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "te in 1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te space before colon": H + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "space before colon": H + b"X : y\r\n\r\n",
    "tab before colon": H + b"X\t: y\r\n\r\n",
    "obs-fold": H + b"X: y\r\n z\r\n\r\n",
    "obs-fold tab": H + b"X: y\r\n\tz\r\n\r\n",
    "first header folded": b"POST / HTTP/1.1\r\n Host: a\r\n\r\n",
    "bare lf everywhere": b"POST / HTTP/1.1\nHost: a\n\n",
    "bare lf after line": b"POST / HTTP/1.1\nHost: a\r\n\r\n",
    "bare lf in value": H + b"X: y\nZ: 1\r\n\r\n",
    "bare lf at the end": H + b"X: y\r\n\n",
    "bare cr in value": H + b"X: y\rZ: 1\r\n\r\n",
    "bare cr after line": b"POST / HTTP/1.1\rHost: a\r\n\r\n",
    "cr cr lf": H + b"X: y\r\r\n\r\n",
    "nul in value": H + b"X: y\0\r\n\r\n",
    "nul in name": H + b"X\0: y\r\n\r\n",
    "nul in target": b"POST /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "control in value": H + b"X: \x01\r\n\r\n",
    "delete in value": H + b"X: \x7f\r\n\r\n",
    "no colon": H + b"Nonsense\r\n\r\n",
    "empty name": H + b": y\r\n\r\n",
    "name with space": H + b"X Y: z\r\n\r\n",
    "name with bracket": H + b"X(Y): z\r\n\r\n",
    "name with umlaut": H + "Xü: z\r\n\r\n".encode(),
    "pseudo header": H + b":path: /admin\r\n\r\n",
    "no host": b"POST / HTTP/1.1\r\n\r\n",
    "two hosts": H + b"Host: b\r\n\r\n",
    "two equal hosts": H + b"Host: a\r\n\r\n",
    "host list": b"POST / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "host with user": b"POST / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "host with path": b"POST / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with space": b"POST / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host with two ports": b"POST / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
    "chunk extension": C + b"1;a=b\r\nx\r\n0\r\n\r\n",
    "chunk minus": C + b"-1\r\nx\r\n0\r\n\r\n",
    "chunk plus": C + b"+1\r\nx\r\n0\r\n\r\n",
    "chunk 0x": C + b"0x1\r\nx\r\n0\r\n\r\n",
    "chunk underscore": C + b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "chunk space before": C + b" 1\r\nx\r\n0\r\n\r\n",
    "chunk space after": C + b"1 \r\nx\r\n0\r\n\r\n",
    "chunk no size": C + b"\r\nx\r\n0\r\n\r\n",
    "chunk not hex": C + b"g\r\nx\r\n0\r\n\r\n",
    "chunk huge": C + b"FFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n",
    "chunk over limit": C + b"400001\r\n",
    "chunk bare lf": C + b"1\nx\n0\n\n",
    "chunk data too long": C + b"1\r\nxy\r\n0\r\n\r\n",
    "chunk data no end": C + b"1\r\nx0\r\n\r\n",
    "chunk data bare lf": C + b"1\r\nx\n0\r\n\r\n",
    "chunk trailer": C + b"0\r\nX: y\r\n\r\n",
    "chunk trailer cl": C + b"0\r\nContent-Length: 5\r\n\r\n",
    "last chunk bare lf": C + b"0\r\n\n",
    "http/0.9": b"GET /\r\n\r\n",
    "http/2": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "http/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "http/1.10": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "http lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab in request line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "space at the end": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "space at the start": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with space": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with fragment": b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
    "target not ascii": "GET /ü HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "target relative": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "target absolute": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method lower case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method token": b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method endless": b"A" * 100 + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two empty lines first": b"\r\n\r\n" + H + b"\r\n",
    "uri too long": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "uri endless": b"GET /" + b"x" * 20000,
    "header too long": H + b"X: " + b"y" * 17000 + b"\r\n\r\n",
    "header endless": H + b"X: " + b"y" * 30000,
    "too many headers": H + b"X: y\r\n" * 101 + b"\r\n",
    "expect nonsense": H + b"Expect: miracles\r\nContent-Length: 1\r\n\r\nx",
    "second request smuggled": H + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
}


class Ran(UnaryCall):
    def __init__(self, ran: list[Head], head: Head) -> None:
        self.ran = ran
        self.head = head

    async def run(self, body: bytes) -> Message:
        self.ran.append(self.head)
        return Message({}, body)

    def cancel(self, reason: Reset) -> None:
        self.ran.append({"cancelled": reason.value})


async def exchange(address: str, raw: bytes) -> bytes:
    """Everything that the server says to these bytes until it closes."""
    host, _, port = address.rpartition(":")
    answer = b""
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(raw)
        with anyio.fail_after(1):
            try:
                while True:
                    answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer


@pytest.mark.anyio
async def test_every_hostile_request_is_answered_with_4xx_and_a_close() -> None:
    ran: list[Head] = []
    wrong: dict[str, bytes] = {}

    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Ran(ran, head)

    async with await listen("127.0.0.1:0", accept) as listener:
        for name, raw in HOSTILE.items():
            answer = await exchange(listener.address, raw)
            if not answer.startswith(b"HTTP/1.1 4") or b"\r\nConnection: close\r\n" not in answer or ran:
                wrong[name] = answer
                ran.clear()
        assert not wrong
        assert (await exchange(listener.address, H + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.anyio
@pytest.mark.parametrize("raw", [b"POST / HT", H + b"X: y", H + b"Content-Length: 5\r\n\r\nabc", C + b"5\r\nab"])
async def test_a_request_that_does_not_arrive_is_cut_with_408(raw: bytes) -> None:
    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Ran([], head)

    async with await listen("127.0.0.1:0", accept, Limits(head_seconds=0.2, body_seconds=0.2)) as listener:
        assert (await exchange(listener.address, raw)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.anyio
async def test_a_large_request_gets_its_413_though_it_is_still_being_sent() -> None:
    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Ran([], head)

    async with await listen("127.0.0.1:0", accept, Limits(body=1000)) as listener:
        raw = H + b"Content-Length: 2000000\r\n\r\n" + b"x" * 500_000
        assert (await exchange(listener.address, raw)).startswith(b"HTTP/1.1 413 ")
