"""Hostile peers of HTTP/2 at a real socket: each is sent away, and a neighbour's calls go on meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from http2_rig import (
    CALM,
    CANCEL,
    NUISANCES,
    OPENING,
    PREFACE,
    REFUSED_HEADS,
    REQUEST,
    Frame,
    block,
    data,
    frame,
    frames,
    head,
    reset,
    settings,
    window,
)
from micro_conformance.polling import eventually
from micro_core import Head, Message, Peer, Reset, UnaryCall, capture_clock
from micro_http import HTTP2, HTTPClient, HTTPListener, Limits, listen
from micro_http.http2.server import HTTP2Server

pytestmark = pytest.mark.anyio
LARGE = 1_000_000
QUICK = Limits(head_seconds=0.3, body_seconds=0.3, streams=20)


class Answer(UnaryCall):
    """A large one for /large, one that waits and cannot be cancelled for /stubborn, else what came."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def run(self, body: bytes) -> Message | None:
        if self.path == "/stubborn":
            await anyio.sleep(0.5)
        return Message({}, bytes(LARGE) if self.path == "/large" else body)

    def cancel(self, reason: Reset) -> None:
        pass


def accept(head: Head, peer: Peer) -> UnaryCall:
    return Answer(head[":path"])


class Attacker:
    """A peer that writes what it wants, and what it was told."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.raw = b""
        self.closed = False

    async def send(self, raw: bytes) -> None:
        try:
            await self.stream.send(raw)
        except anyio.BrokenResourceError:
            self.closed = True

    async def read(self) -> None:
        """Until the server closes."""
        try:
            while True:
                self.raw += await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.closed = True

    @property
    def told(self) -> list[Frame]:
        """The frames that are there whole."""
        raw, end = self.raw, 0
        while len(raw) - end >= 9 and len(raw) - end >= 9 + int.from_bytes(raw[end : end + 3]):
            end += 9 + int.from_bytes(raw[end : end + 3])
        return list(frames(raw[:end]))

    def goaway(self) -> int | None:
        return next((one.word for one in self.told if one.kind == "GOAWAY"), None)

    def resets(self) -> list[tuple[int, int]]:
        return [(one.stream, one.word) for one in self.told if one.kind == "RST"]


@asynccontextmanager
async def attack(limits: Limits | None = None, *, reads: bool = True) -> AsyncIterator[tuple[Attacker, HTTPListener]]:
    """A server under attack, and a neighbour whose calls are all answered until it is over."""
    calls = 0

    async def neighbour() -> None:
        nonlocal calls
        while True:
            message = Message({"micro-endpoint": "a"}, b"hello")
            reply = await client.call(listener.address, message, deadline=capture_clock()() + 3)
            assert reply.body == b"hello"
            calls += 1
            await anyio.sleep(0.001)

    async with (
        await listen("127.0.0.1:0", accept, limits) as listener,
        HTTPClient(http2=HTTP2.ALWAYS) as client,
        anyio.create_task_group() as tasks,
    ):
        host, _, port = listener.address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            attacker = Attacker(stream)
            tasks.start_soon(neighbour)
            if reads:
                tasks.start_soon(attacker.read)
            with anyio.fail_after(10):
                yield attacker, listener
                await eventually(lambda: calls > 5, within=3)
            tasks.cancel_scope.cancel()


def server_side(listener: HTTPListener, attacker: Attacker) -> HTTP2Server:
    """The attacker's connection, as the server has it."""
    port = attacker.stream.extra(SocketAttribute.local_port)
    found = next(one for one in listener.connections if one.peer.address.endswith(f":{port}"))
    assert isinstance(found, HTTP2Server)
    return found


@asynccontextmanager
async def another(listener: HTTPListener) -> AsyncIterator[Attacker]:
    """One more attacker, who reads."""
    host, _, port = listener.address.rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream, anyio.create_task_group() as tasks:
        attacker = Attacker(stream)
        tasks.start_soon(attacker.read)
        yield attacker
        tasks.cancel_scope.cancel()


async def flood(listener: HTTPListener, frames: Callable[[int], bytes], status: bytes = b"") -> None:
    async with another(listener) as attacker:
        await attacker.send(OPENING)
        for at in range(2000):
            await attacker.send(frames(at))
            if attacker.closed or attacker.goaway() is not None:
                break
        await eventually(lambda: attacker.goaway() == CALM, within=4)
        await eventually(lambda: attacker.closed, within=4)
        if status:
            assert status in next(one for one in attacker.told if one.kind == "HEADERS").payload


async def test_floods_are_answered_with_goaway() -> None:
    async with attack() as (_, listener):
        async with anyio.create_task_group() as tasks:
            few = anyio.Semaphore(8)  # each must be faster than what a second excuses, on a busy machine, too

            async def one(frames: Callable[[int], bytes]) -> None:
                async with few:
                    await flood(listener, frames)

            for frames in NUISANCES.values():
                tasks.start_soon(one, frames)
        await eventually(lambda: len(listener.connections) == 2, within=3)


async def test_heads_over_a_limit_are_answered_and_then_with_goaway() -> None:
    async with attack() as (_, listener), anyio.create_task_group() as tasks:
        for name, status in zip(REFUSED_HEADS, [b"405", b"431", b"431", b"414"], strict=True):
            tasks.start_soon(flood, listener, REFUSED_HEADS[name], status)


async def test_replies_that_no_window_lets_through_are_bounded_and_given_up() -> None:
    limits = Limits(body_seconds=1.0, streams=100)
    async with attack(limits) as (attacker, listener):
        await attacker.send(PREFACE + settings(window=0))
        for at in range(1, 201, 2):
            await attacker.send(head(at, fields=[*REQUEST[:2], (":path", "/large")], end=True))
        await eventually(lambda: attacker.resets(), within=3)
        assert server_side(listener, attacker).link.unsent <= server_side(listener, attacker).link.bounds.budget + LARGE
        await eventually(lambda: len(attacker.resets()) == 100, within=4)
        assert {code for _, code in attacker.resets()} == {CALM, CANCEL}


async def test_a_window_that_grows_byte_by_byte_ends_the_connection() -> None:
    async with attack() as (attacker, _):
        large = head(1, fields=[*REQUEST[:2], (":path", "/large")], end=True)
        await attacker.send(PREFACE + settings(window=1) + large)
        for _ in range(1000):
            await attacker.send(window(1, 1))
        await eventually(lambda: attacker.goaway() == CALM, within=3)
        assert sum(len(one.payload) for one in attacker.told if one.kind == "DATA") < 1000


async def test_a_peer_that_does_not_read_is_not_read_from_and_cut() -> None:
    async with attack(Limits(body_seconds=1.0), reads=False) as (attacker, listener):
        await attacker.send(PREFACE + settings(window=2**31 - 1) + window(0, 2**31 - 65_536))
        with anyio.move_on_after(4):
            for at in range(1, 2001, 2):
                await attacker.send(head(at, fields=[*REQUEST[:2], (":path", "/large")], end=True))
                if attacker.closed:
                    break
        await eventually(lambda: len(listener.connections) == 1, within=4)


SLOW = {
    "a preface cut short": PREFACE[:10],
    "no settings": PREFACE,
    "half a settings frame": PREFACE + settings(window=5)[:12],
    "a frame cut short": OPENING + frame(6, 0, 0, bytes(8))[:11],
    "a frame header cut short": OPENING + b"\0",
    "a head cut short": OPENING + head(1)[:15],
    "a head that is not continued": OPENING + frame(1, 0, 1, block(*REQUEST)),
    "half a data frame": OPENING + head(1) + data(1, bytes(100))[:50],
}


async def stall(listener: HTTPListener, raw: bytes) -> None:
    async with another(listener) as attacker:
        await attacker.send(raw)
        await eventually(lambda: attacker.closed, within=3)


async def test_what_does_not_come_to_its_end_is_cut_in_time() -> None:
    async with attack(QUICK) as (_, listener):
        async with anyio.create_task_group() as tasks:
            for raw in SLOW.values():
                tasks.start_soon(stall, listener, raw)
        await eventually(lambda: len(listener.connections) == 2, within=2)


async def test_a_head_that_comes_in_drops_is_cut_in_time() -> None:
    raw = OPENING + frame(1, 0, 1, block(*REQUEST)) + frame(9, 0, 1, b"\x00\x01x\x01y") * 100
    async with attack(QUICK) as (attacker, _):
        began = capture_clock()()
        await attacker.send(raw[:60])
        for byte in raw[60:]:
            if attacker.closed or attacker.goaway() is not None:
                break
            await attacker.send(bytes((byte,)))
            await anyio.sleep(0.05)
        assert capture_clock()() - began < 2


async def test_a_body_that_does_not_come_ends_its_stream_and_not_the_connection() -> None:
    async with attack(QUICK) as (attacker, _):
        await attacker.send(OPENING + head(1) + data(1, b"x") + head(3) + head(5, end=True))
        await eventually(lambda: [one for one in attacker.resets() if one == (1, 0)], within=2)
        assert attacker.goaway() is None
        replies = {one.stream: one.payload for one in attacker.told if one.kind == "HEADERS"}
        assert b"408" in replies[1]
        assert b"408" in replies[3]
        assert replies[5][:1] == b"\x88"
        await attacker.send(head(7, end=True))
        await eventually(lambda: [one for one in attacker.told if one.stream == 7], within=2)


async def test_a_frame_that_does_not_arrive_is_not_forgotten_when_something_else_is_late() -> None:
    async with attack(Limits(head_seconds=0.6, body_seconds=0.2)) as (attacker, _):
        await attacker.send(OPENING + head(1) + data(1, b"x") + head(3)[:5])
        await eventually(lambda: [one for one in attacker.resets() if one == (1, 0)], within=2)
        await eventually(lambda: attacker.goaway() is not None, within=3)


async def test_a_frame_in_its_time_is_not_cut_however_busy_the_connection() -> None:
    async with attack(QUICK) as (attacker, _):
        raw = OPENING + b"".join(head(at, end=True) for at in range(1, 81, 2))
        pieces = [raw[:70], *(raw[at : at + 20] for at in range(70, len(raw), 20))]
        for piece in pieces:
            await attacker.send(piece)
            await anyio.sleep(0.04)
        await eventually(lambda: len([one for one in attacker.told if one.kind == "HEADERS"]) == 40, within=2)
        assert attacker.goaway() is None


async def test_calls_that_were_abandoned_still_count_while_they_run() -> None:
    async with attack(QUICK) as (attacker, listener):
        stubborn = [*REQUEST[:2], (":path", "/stubborn")]
        raw = b"".join(head(at, fields=stubborn, end=True) + reset(at) for at in range(1, 81, 2))
        await attacker.send(OPENING + raw + head(81, end=True))
        await eventually(lambda: attacker.resets() == [(81, 7)], within=2)
        await eventually(lambda: server_side(listener, attacker).running == 0, within=2)
        await attacker.send(head(83, end=True))
        await eventually(lambda: [one for one in attacker.told if one.stream == 83], within=2)


async def test_bodies_in_tiny_frames_take_no_more_than_their_bytes() -> None:
    async with attack() as (attacker, listener):
        await attacker.send(OPENING + head(1))
        await attacker.send(data(1, b"xy") * 10_000)
        await eventually(lambda: server_side(listener, attacker).collected == 20_000, within=3)
        (stream,) = server_side(listener, attacker).link.streams.values()
        assert isinstance(getattr(stream, "_parts"), bytearray)  # noqa: B009 - it is private
        await attacker.send(data(1, b"", end=True))
        await eventually(lambda: [one for one in attacker.told if one.stream == 1 and one.flags & 1], within=3)
        assert sum(len(one.payload) for one in attacker.told if one.kind == "DATA") == 20_000
