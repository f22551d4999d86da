"""The load of every peer written in Python: callers, each with one call at a time, for a while; the same code for all.

A peer's program is started as `serve`, prints its port when it can be called, and serves until it is killed; or as
`LOAD PORT CALLERS SECONDS SIZE`, which warms up, prints a line, waits for one, runs the load and prints the figures as
one line of JSON. In between whoever started it reads how much CPU the server has used.

The environment says the rest: `BENCH_LOOP` is `uvloop`, `asyncio` or `trio`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from resource import RUSAGE_SELF, getrusage

One = Callable[[], Awaitable[object]]
Caller = Callable[[], AbstractAsyncContextManager[One]]
"""What one caller needs for as long as it calls, a stream for example, and its call."""

MESSAGES = 1000
"""Of one stream one way."""

LOOP = os.environ.get("BENCH_LOOP", "uvloop")
_WARM = 0.5


def cpu_seconds() -> float:
    """User and system seconds of this process so far."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def each(one: One) -> Caller:
    """Callers who share all that they need."""

    @asynccontextmanager
    async def caller() -> AsyncIterator[One]:
        yield one

    return caller


@dataclass(frozen=True)
class Load:
    """What a client was asked for: `size` is in bytes, of a message's payload."""

    port: int
    callers: int
    seconds: float
    size: int

    @property
    def payload(self) -> bytes:
        """As many bytes."""
        return b"x" * self.size

    @property
    def patience(self) -> float:
        """Seconds that a stream may take."""
        return self.seconds + 30.0

    async def measure(self, caller: Caller) -> None:
        """Warms up, waits to be told, runs the load and prints the figures."""
        await self._run(caller, min(_WARM, self.seconds))
        say("warm")
        sys.stdin.readline()
        before = cpu_seconds()
        started = time.perf_counter()
        latencies = await self._run(caller, self.seconds)
        elapsed = time.perf_counter() - started
        cpu = cpu_seconds() - before
        latencies.sort()
        calls = len(latencies)
        figures = {
            "calls": calls,
            "per_second": calls / elapsed,
            "client_cpu": cpu,
            "p50": latencies[calls // 2],
            "p99": latencies[calls * 99 // 100],
        }
        say(json.dumps(figures))

    async def _run(self, caller: Caller, seconds: float) -> list[float]:
        latencies: list[float] = []
        clock = time.perf_counter
        until = clock() + seconds

        async def calling() -> None:
            async with caller() as one:
                started = clock()
                while True:
                    await one()
                    now = clock()
                    latencies.append(now - started)
                    if now >= until:
                        return
                    started = now

        await together([calling] * self.callers)
        return latencies


async def together(functions: list[Callable[[], Awaitable[None]]]) -> None:
    """Runs them side by side."""
    if LOOP == "trio":
        import trio

        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)
    else:
        await asyncio.gather(*(function() for function in functions))


def say(line: object) -> None:
    """Tells whoever started this process. A server says its port, or 0, when it can be called."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Runs on the loop that the environment names."""

    async def wrapped() -> None:
        await main()

    if LOOP == "trio":
        import trio

        trio.run(wrapped)
        return
    factory = None
    if LOOP == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(wrapped())


Loads = Mapping[str, Callable[[Load], Awaitable[None]]]


def client(loads: Loads) -> None:
    """The program of a client."""
    what, port, callers, seconds, size = sys.argv[1:]
    load = Load(int(port), int(callers), float(seconds), int(size))
    run(lambda: loads[what](load))


def peer(serve: Callable[[], Awaitable[None]], loads: Loads) -> None:
    """The program of a peer."""
    if sys.argv[1] == "serve":
        run(serve)
    else:
        client(loads)
