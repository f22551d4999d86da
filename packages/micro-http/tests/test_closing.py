"""A listener that closes while a connection is being accepted leaves nothing open."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from micro_core import Head, Message, Peer
from micro_http import listen


def _accept(head: Head, peer: Peer) -> Message:
    return Message({":status": "200"})


async def _close_after(turns: int) -> None:
    listener = await listen("127.0.0.1:0", _accept)
    host, _, port = listener.address.rpartition(":")
    with socket.socket() as client:
        client.setblocking(False)
        client.connect_ex((host, int(port)))
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        await listener.aclose()


def test_a_connection_that_is_being_accepted_is_closed_too(anyio_backend: Any) -> None:
    name, options = anyio_backend
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        for turns in range(8):
            anyio.run(_close_after, turns, backend=name, backend_options=options)
            gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_whoever_waits_for_aclose_finds_nothing_running_behind_it() -> None:
    async def main(turns: int) -> list[str]:
        await _close_after(turns)
        return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    for turns in range(8):
        assert asyncio.run(main(turns)) == []


@pytest.mark.anyio
async def test_whoever_has_dialled_and_not_sent_yet_is_still_answered() -> None:
    listener = await listen("127.0.0.1:0", _accept, draining=lambda head: Message({"micro-unprocessed": "1"}))
    host, _, port = listener.address.rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream, anyio.create_task_group() as group:
        await listener.drain(anyio.current_time() + 1)
        group.start_soon(listener.aclose)
        await anyio.sleep(0.15)
        await stream.send(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
        with anyio.fail_after(5):
            assert b"Micro-Unprocessed: 1" in await stream.receive()


@pytest.mark.anyio
async def test_whoever_has_dialled_and_never_sends_is_not_waited_for_long() -> None:
    listener = await listen("127.0.0.1:0", _accept)
    host, _, port = listener.address.rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await listener.drain(anyio.current_time() + 1)
        with anyio.fail_after(5):
            await listener.aclose()
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
