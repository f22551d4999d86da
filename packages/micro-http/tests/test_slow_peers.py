"""A thousand peers who take their time, in each way that there is: they are cut, and healthy calls do not notice."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import anyio
import anyio.lowlevel
import pytest
from http2_rig import OPENING, PREFACE, REQUEST, block, data, frame, head, settings, window
from micro_conformance.polling import eventually
from micro_core import Head, Message, Peer, Reset, UnaryCall, capture_clock
from micro_http import HTTPClient, Limits, listen
from micro_http.loops import Timer

pytestmark = pytest.mark.anyio
PEERS = 1000
LARGE = bytes(300_000)
LIMITS = Limits(head_seconds=0.5, body_seconds=1.0)
H = b"POST / HTTP/1.1\r\nHost: a\r\n"
LARGE_ONE = [*REQUEST[:2], (":path", "/large")]
SLOW = {
    "slow request line": b"POST /",
    "slow header": H + b"X: y",
    "slow body": H + b"Content-Length: 1000\r\n\r\nabc",
    "slow chunks": H + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "slow read": b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    "pipelined and not read": b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n" * 20,
    "HTTP/2, slow preface": PREFACE[:9],
    "HTTP/2, slow head": OPENING + frame(1, 0, 1, block(*REQUEST)),
    "HTTP/2, slow frame": OPENING + head(1)[:14],
    "HTTP/2, slow read": PREFACE + settings(window=2**30) + window(0, 2**30) + head(1, fields=LARGE_ONE, end=True),
}
"""Ways that end their connection. A body that does not come ends its stream alone, below."""


class Answer(UnaryCall):
    def __init__(self, path: str) -> None:
        self.path = path

    async def run(self, body: bytes) -> Message:
        return Message({}, LARGE if self.path == "/large" else body)

    def cancel(self, reason: Reset) -> None:
        pass


def accept(head: Head, peer: Peer) -> UnaryCall:
    return Answer(head[":path"])


@contextmanager
def peers(address: str, count: int) -> Iterator[list[socket.socket]]:
    """Connections that say these things in turn, read nothing, and hold what is sent to them in a small buffer."""
    host, _, port = address.rpartition(":")
    opened = []
    try:
        for _ in range(count):
            peer = socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.setblocking(False)
            with suppress(BlockingIOError):
                peer.connect((host, int(port)))
            opened.append(peer)
        yield opened
    finally:
        for peer in opened:
            peer.close()


async def say(opened: list[socket.socket], ways: list[bytes]) -> None:
    for at, peer in enumerate(opened):
        while True:
            try:
                peer.send(ways[at % len(ways)])
                break
            except BlockingIOError:
                await anyio.sleep(0.005)
        if at % 50 == 0:
            await anyio.lowlevel.checkpoint()


async def test_slow_peers_are_cut_and_healthy_calls_are_all_answered() -> None:
    answered = 0

    async def call_on() -> None:
        nonlocal answered
        while True:
            reply = await client.call(listener.address, Message({}, b"hello"), deadline=capture_clock()() + 5)
            assert reply.body == b"hello"
            answered += 1
            await anyio.sleep(0.005)

    async with (
        await listen("127.0.0.1:0", accept, LIMITS) as listener,
        HTTPClient() as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(call_on)
        assert listener._bound is not None
        # Else the kernel takes whole replies, and it is the kernel that waits for the slow readers.
        listener._bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        with peers(listener.address, PEERS) as opened:
            await say(opened, list(SLOW.values()))
            await eventually(lambda: len(listener.connections) <= 2, within=12)
        assert answered > 50
        tasks.cancel_scope.cancel()


async def test_one_timer_watches_however_many_are_cut() -> None:
    """Each cut makes a connection one that lingers, which is watched as well."""
    pending, worst = 0, 0
    async with await listen("127.0.0.1:0", accept, Limits(head_seconds=0.1)) as listener:
        later = listener.loop.call_later

        def counted(seconds: float, call: Callable[[], None]) -> Timer:
            nonlocal pending, worst
            if call != listener._look:
                return later(seconds, call)
            pending += 1
            worst = max(worst, pending)

            def fire() -> None:
                nonlocal pending
                pending -= 1
                call()

            return later(seconds, fire)

        listener.loop.call_later = counted  # type: ignore[method-assign]
        with peers(listener.address, 10) as opened:
            await say(opened, [SLOW["slow header"]])
            await eventually(lambda: listener.connections, within=5)
            await eventually(lambda: not listener.connections, within=5)
        assert worst == 1


async def test_a_body_that_comes_in_drops_is_cut_in_time_and_its_connection_serves_on() -> None:
    async with await listen("127.0.0.1:0", accept, Limits(body_seconds=0.4)) as listener:
        host, _, port = listener.address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(OPENING + head(1))
            with anyio.fail_after(3):
                said = b""
                while b"408" not in said:
                    await stream.send(data(1, b"x"))
                    with anyio.move_on_after(0.05):
                        said += await stream.receive()
                await stream.send(head(3, end=True))
                while b"\x00\x00\x01\x01\x05\x00\x00\x00\x03\x88" not in said:
                    said += await stream.receive()
