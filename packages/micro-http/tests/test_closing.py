"""A listener that closes while a connection is being accepted leaves nothing open."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from typing import Any

import anyio
import anyio.lowlevel
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
