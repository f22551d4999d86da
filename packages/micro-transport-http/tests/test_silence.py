"""A peer from which nothing comes any more, not even a reset: both ends notice, in every state of a call or stream."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from micro_conformance import eventually
from micro_core import Reset, StreamCall
from micro_http import HTTP2
from micro_http.silence import AGAIN, AHEAD, LOOK, QUIET, TIMES, UNANSWERED, UNHEARD
from micro_transport_http import HTTPTransport

SCRIPT = Path(__file__).with_name("silent_peers.py")
BACKENDS = ("asyncio", "uvloop", "trio")
ALLOWED = 20.0
"""Seconds: half of what the slowest system would take without the options is minutes, and machines are busy."""


def namespaces() -> list[str]:
    """The command that runs another in a network namespace of its own; empty where there is none."""
    if shutil.which("ip") and shutil.which("unshare"):
        for flags in ("-Urn", "-n"):
            command = ["unshare", flags]
            tried = [*command, "ip", "link", "add", "near", "type", "veth", "peer", "name", "far"]
            if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
                return command
    return []


@pytest.fixture(scope="module")
def observed() -> dict[str, Any]:
    """What `silent_peers.py` tells, by back end; they run side by side."""
    inside = namespaces()
    if not inside:
        pytest.skip("network namespaces cannot be made here (unshare, ip and veth are needed)")
    running = {
        backend: subprocess.Popen([*inside, sys.executable, str(SCRIPT), backend], stdout=subprocess.PIPE, text=True)
        for backend in BACKENDS
    }
    try:
        return {backend: json.loads(process.communicate(timeout=60)[0]) for backend, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.wait()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("side", ["near", "far"])
def test_both_ends_lose_a_silent_peer_in_every_state(observed: dict[str, Any], backend: str, side: str) -> None:
    seen = observed[backend][side]
    assert len(seen) == 8, f"not noticed by the {side} end: {seen}"
    for state, (seconds, why) in seen.items():
        assert why == Reset.GONE.value, f"{state} ended with {why}"
        assert seconds < ALLOWED, f"{state} ended after {seconds} s"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stream_whose_reader_rests_is_not_taken_for_silent(observed: dict[str, Any], backend: str) -> None:
    assert observed[backend]["stalled"] == {"never": 400, "always": 400}


def test_the_promise_of_ten_seconds_follows_from_the_constants() -> None:
    assert QUIET + AGAIN * TIMES < 10
    assert UNANSWERED < 10
    assert UNHEARD + LOOK < 10
    assert AHEAD - LOOK >= 5, "a loop that is held up for that long loses no stream whose reader rests"


@pytest.mark.anyio
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no TCP_USER_TIMEOUT")
@pytest.mark.parametrize("http2", [HTTP2.NEVER, HTTP2.ALWAYS])
async def test_every_connection_of_both_ends_has_the_options(http2: HTTP2) -> None:
    class Hold(StreamCall):
        async def run(self, exchange: Any) -> None:
            await exchange.send(b"")
            exchange.reset(Reset.CANCELLED)

        def cancel(self, reason: Reset) -> None:
            return None

    sockets: list[Any] = []
    async with HTTPTransport(HTTPTransport.Options(http2=http2)) as transport:
        listener = await transport.listen("127.0.0.1:0", lambda head, peer: Hold())
        exchange = await transport.open(listener.address, {}, deadline=anyio.current_time() + 5)
        await eventually(lambda: listener.connections, within=5)  # type: ignore[attr-defined]
        client = transport._client
        sockets += [wire.get_extra_info("socket") for wire in client._pipes]
        sockets += [connection.wire.get_extra_info("socket") for connection in client.multiplexed]
        sockets += [connection.wire.get_extra_info("socket") for connection in listener.connections]  # type: ignore[attr-defined]
        assert len(sockets) == 2
        for one in sockets:
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == QUIET
            assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNANSWERED * 1000
        exchange.reset(Reset.CANCELLED)
