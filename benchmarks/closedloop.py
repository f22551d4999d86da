"""The load of every peer: N callers, each with one call at a time, for a while; the same code for all."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from resource import RUSAGE_SELF, getrusage

import uvloop

One = Callable[[], Awaitable[object]]

PAYLOAD = b"x" * 100
MESSAGES = 1000
"""Of one stream."""


def cpu_seconds() -> float:
    """User and system seconds of this process so far."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(one: One, callers: int, seconds: float) -> None:
    """Runs the load after a short warm-up and prints the figures as one line of JSON."""
    await _run(one, callers, min(0.5, seconds))
    before = cpu_seconds()
    started = time.perf_counter()
    latencies = await _run(one, callers, seconds)
    elapsed = time.perf_counter() - started
    latencies.sort()
    calls = len(latencies)
    figures = {
        "calls": calls,
        "per_second": calls / elapsed,
        "client_cpu": (cpu_seconds() - before) / calls,
        "p50": latencies[calls // 2],
        "p99": latencies[calls * 99 // 100],
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


async def _run(one: One, callers: int, seconds: float) -> list[float]:
    latencies: list[float] = []
    clock = time.perf_counter
    until = clock() + seconds

    async def caller() -> None:
        now = clock()
        while now < until:
            started = now
            await one()
            now = clock()
            latencies.append(now - started)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return latencies


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Runs a peer on uvloop."""

    async def wrapped() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(wrapped())


def ready(port: int = 0) -> None:
    """A server says that it can be called."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
