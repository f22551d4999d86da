"""A process is killed: its peer's handlers are cancelled, its peer's calls and streams fail, in both versions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, cast

import anyio
import pytest
from anyio import to_thread
from micro_conformance import eventually
from micro_conformance.works import HEAD, STREAM_HEAD, echo_stream, hang, hold, listening
from micro_core import Exchange, Message, Reset, TransportError
from micro_http import HTTP2
from micro_transport_http import HTTPTransport

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("http2", [HTTP2.NEVER, HTTP2.ALWAYS])
SCRIPT = Path(__file__).with_name("vanishing.py")


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stdout=subprocess.PIPE, text=True)


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the first line that it says."""
    with started(*arguments) as running:
        try:
            yield running, (await to_thread.run_sync(cast("IO[str]", running.stdout).readline)).strip()
        finally:
            running.kill()


def made(http2: HTTP2) -> HTTPTransport:
    return HTTPTransport(HTTPTransport.Options(http2=http2))


@BOTH
async def test_the_handlers_of_a_killed_caller_are_cancelled(http2: HTTP2) -> None:
    """Whatever they do: also where what was sent before, or the end of it, is not read."""
    resting = 0

    async def work(exchange: Exchange) -> None:
        nonlocal resting
        if exchange.request["x-kind"] in ("quiet", "sends"):
            await echo_stream(exchange)
        await exchange.recv()
        resting += 1
        await hold(exchange)

    async with made(http2) as server, listening(server, "127.0.0.1:0", unary=hang, stream=work) as behind:
        async with process("call", http2.value, behind.address) as (caller, _):
            await eventually(lambda: behind.works and len(behind.streams) == 4 and resting == 2, within=10)
            await eventually(lambda: all(work.runs for work in (*behind.works, *behind.streams)), within=5)
            assert await to_thread.run_sync(cast("IO[str]", caller.stdout).readline) == "full\n"
            caller.kill()
            await eventually(lambda: all(work.reason for work in (*behind.works, *behind.streams)), within=5)
        assert {work.reason for work in (*behind.works, *behind.streams)} == {Reset.GONE}
        await eventually(lambda: all(work.finished for work in behind.streams), within=5)
        await eventually(lambda: not behind.listener.connections, within=5)  # type: ignore[attr-defined]


@BOTH
async def test_the_calls_and_streams_to_a_killed_server_fail(http2: HTTP2) -> None:
    failed: list[tuple[Reset, bool]] = []
    begun: list[str] = []

    async def one(client: HTTPTransport, address: str, kind: str) -> None:
        deadline = anyio.current_time() + 60
        try:
            if kind == "call":
                begun.append(kind)
                await client.call(address, Message(dict(HEAD)), deadline=deadline)
            exchange = await client.open(address, dict(STREAM_HEAD), deadline=deadline)
            await exchange.send(b"x")
            await exchange.recv()
            begun.append(kind)
            while kind == "sends":
                await exchange.send(b"x")
                await exchange.recv()
            await exchange.recv()
        except TransportError as error:
            failed.append((error.reason, error.processed))

    async with process("serve", http2.value) as (server, address), made(http2) as client:
        async with anyio.create_task_group() as group:
            for kind in ("call", "quiet", "sends"):
                group.start_soon(one, client, address, kind)
            await eventually(lambda: len(begun) == 3, within=10)
            await anyio.sleep(0.05)
            server.kill()
            await eventually(lambda: len(failed) == 3, within=5)
        await to_thread.run_sync(server.wait)  # its address outlives its connections for a moment
        assert failed == [(Reset.GONE, True)] * 3
        with pytest.raises(TransportError) as caught:
            await client.call(address, Message(dict(HEAD)), deadline=anyio.current_time() + 5)
        assert not caught.value.processed
        await eventually(lambda: not client._client.connections and not client._client.multiplexed, within=5)
