"""How a pipe writes, over real connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from micro_core import Reset, capture_clock
from micro_http import HTTPClient, Pipe

pytestmark = pytest.mark.anyio

MESSAGES = [b"%05d," % number for number in range(100)]


class Counting:
    """A wire that counts what is written to it."""

    def __init__(self, wire: Any) -> None:
        self.wire = wire
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.wire.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wire, name)


@asynccontextmanager
async def piped() -> AsyncIterator[tuple[Pipe, Counting, anyio.abc.SocketStream]]:
    accepted: list[anyio.abc.SocketStream] = []
    arrived, over = anyio.Event(), anyio.Event()

    async def accept(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            accepted.append(stream)
            arrived.set()
            await over.wait()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
        HTTPClient() as client,
    ):
        tasks.start_soon(listener.serve, accept)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        pipe = await client.pipe(f"127.0.0.1:{port}", deadline=capture_clock()() + 5)
        wire = pipe._wire = Counting(pipe._wire)
        with anyio.fail_after(5):
            await arrived.wait()
        yield pipe, wire, accepted[0]
        over.set()
        tasks.cancel_scope.cancel()


async def read(stream: anyio.abc.SocketStream, size: int) -> bytes:
    got = b""
    with anyio.fail_after(5):
        while len(got) < size:
            got += await stream.receive()
    return got


async def test_messages_of_one_turn_are_written_together_and_in_order() -> None:
    async with piped() as (pipe, wire, peer):
        for message in MESSAGES:
            await pipe.send(message)
        assert await read(peer, 600) == b"".join(MESSAGES)
        if pipe._loop.soon is not None:
            assert len(wire.writes) < 10, "a system call for every message"


async def test_a_lone_message_is_written_at_once() -> None:
    async with piped() as (pipe, wire, peer):
        for message in MESSAGES[:3]:
            await pipe.send(message)
            assert wire.writes.pop() == message
            assert await read(peer, 6) == message
            await anyio.sleep(0.01)


async def test_large_messages_are_not_held_back() -> None:
    async with piped() as (pipe, wire, peer):
        await pipe.send(b"first")
        await pipe.send(bytes(20_000))
        assert sum(map(len, wire.writes)) == 20_005
        assert len(await read(peer, 20_005)) == 20_005


@pytest.mark.parametrize("leave", [Pipe.close, lambda pipe: pipe.reset(Reset.CANCELLED)])
async def test_nothing_that_was_sent_is_held_back_when_it_is_left(leave: Any) -> None:
    async with piped() as (pipe, wire, _):
        for message in MESSAGES[:3]:
            await pipe.send(message)
        leave(pipe)
        assert b"".join(wire.writes) == b"".join(MESSAGES[:3])
