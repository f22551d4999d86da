"""How long it takes until a handler learns that nobody waits for it any more: milliseconds, the worst of many.

    python benchmarks/vanished.py [--backend asyncio] [--calls 20]

A caller in a process of its own makes calls and streams that last: quiet streams, such that have ended their side, and
such that have sent all that goes, of which nothing is read. Then it cancels them, lets the deadline of the calls pass,
closes its client or is killed, at a moment that it tells. The clock is the system's monotonic one, which both share.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, Any, cast

import anyio
from anyio import to_thread
from micro_core import Exchange, Head, Message, Peer, Reset, StreamCall, TransportError, UnaryCall
from micro_http import HTTP2
from micro_transport_http import HTTPTransport

BACKENDS = ("asyncio", "uvloop", "trio")
WAYS = ("cancelled", "deadline", "closed", "killed")
VERSIONS = {"http/1.1": HTTP2.NEVER, "h2": HTTP2.ALWAYS}
KINDS = ("quiet", "ended", "full")
PATIENCE = 20.0


class Told:
    """When each handler learnt it."""

    def __init__(self) -> None:
        self.running = 0
        self.times: list[float] = []

    def accept(self, head: Head, peer: Peer) -> UnaryCall | StreamCall:
        """See `Transport.listen`."""
        return (Stream if "micro-stream" in head else Unary)(self)


class Work:
    """Waits for the end."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._scope = anyio.CancelScope()

    async def wait(self) -> None:
        """Returns when it was cancelled."""
        self._told.running += 1
        with self._scope:
            await anyio.sleep_forever()
        self._told.times.append(time.monotonic())

    def cancel(self, reason: Reset) -> None:
        """See `UnaryCall`."""
        self._scope.cancel()


class Unary(Work, UnaryCall):
    """A call."""

    async def run(self, body: bytes) -> Message | None:
        """See `UnaryCall`."""
        await self.wait()
        return None


class Stream(Work, StreamCall):
    """A stream."""

    async def run(self, exchange: Exchange) -> None:
        """See `StreamCall`."""
        await self.wait()
        exchange.reset(Reset.GONE)


def transport(http2: HTTP2) -> HTTPTransport:
    """One of that version."""
    return HTTPTransport(HTTPTransport.Options(http2=http2))


async def measured(backend: str, http2: HTTP2, way: str, calls: int) -> list[float]:
    """Seconds from the moment to each handler."""
    told = Told()
    count = calls if way == "deadline" else 2 * calls
    async with transport(HTTP2.AUTO) as server:
        listener = await server.listen("127.0.0.1:0", told.accept)
        child = await to_thread.run_sync(start, ["caller", backend, http2.value, way, listener.address, str(calls)])
        with child, anyio.fail_after(PATIENCE):
            hear = cast("IO[str]", child.stdout).readline
            await to_thread.run_sync(hear)
            await until(lambda: told.running == count)
            moment = time.monotonic()
            if way == "killed":
                child.kill()
            else:
                tell = cast("IO[str]", child.stdin)
                tell.write("now\n")
                tell.flush()
                moment = float(await to_thread.run_sync(hear))
            await until(lambda: len(told.times) == count)
            child.kill()
    return [at - moment for at in told.times]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """A caller."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


async def until(true: Callable[[], bool]) -> None:
    """Polls."""
    while not true():  # noqa: ASYNC110 - nothing sets an event
        await anyio.sleep(0.005)


async def caller(http2: HTTP2, way: str, address: str, calls: int) -> None:
    """Makes the calls; told so, ends them and says when that was."""
    later = anyio.current_time() + 3.0 if way == "deadline" else anyio.current_time() + 600
    async with transport(http2) as client, anyio.create_task_group() as group:
        for at in range(calls):
            group.start_soon(one, client, address, later)
            if way != "deadline":
                exchange = await client.open(address, {"micro-stream": "1"}, deadline=anyio.current_time() + 5)
                await prepare(exchange, KINDS[at % len(KINDS)])
                group.start_soon(receive, exchange)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await to_thread.run_sync(sys.stdin.readline)
        if way == "deadline":
            moment = time.monotonic() + later - anyio.current_time()
            await anyio.sleep_until(later + 0.5)
        else:
            moment = time.monotonic()
            if way == "closed":
                await client.__aexit__(None, None, None)
            group.cancel_scope.cancel()
        sys.stdout.write(f"{moment}\n")
        sys.stdout.flush()


async def one(client: HTTPTransport, address: str, deadline: float) -> None:
    """A call that nobody answers."""
    try:
        await client.call(address, Message({}), deadline=deadline)
    except TransportError:
        return


async def prepare(exchange: Exchange, kind: str) -> None:
    """Brings a stream into that state."""
    if kind == "ended":
        await exchange.end()
    while kind == "full":
        with anyio.move_on_after(0.1) as waiting:
            await exchange.send(bytes(50_000))
        if waiting.cancelled_caught:
            return


async def receive(exchange: Exchange) -> None:
    """A stream on which nothing comes; one that is cancelled is reset, as clients do."""
    try:
        await exchange.recv()
    except TransportError:
        return
    finally:
        exchange.reset(Reset.CANCELLED)


def run(main: Callable[..., Any], backend: str, *arguments: Any) -> Any:
    """Under that loop."""
    name = "trio" if backend == "trio" else "asyncio"
    options = {"use_uvloop": backend == "uvloop"} if name == "asyncio" else {}
    return anyio.run(main, *arguments, backend=name, backend_options=options)


def main() -> None:
    """Prints one line for each loop and version."""
    if sys.argv[1:2] == ["caller"]:
        _, _, loop, version, way, address, calls = sys.argv
        run(caller, loop, HTTP2(version), way, address, int(calls))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--calls", type=int, default=20, help="and as many streams")
    arguments = parser.parse_args()
    print(f"{'':<18}" + "".join(f"{way:>12}" for way in WAYS) + "   ms until the last handler knew")
    for backend in arguments.backend:
        for version, http2 in VERSIONS.items():
            worst = [max(run(measured, backend, backend, http2, way, arguments.calls)) * 1000 for way in WAYS]
            print(f"{backend:<9}{version:<9}" + "".join(f"{one:>12.1f}" for one in worst), flush=True)


if __name__ == "__main__":
    main()
