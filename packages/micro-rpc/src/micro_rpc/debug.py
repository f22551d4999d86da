"""`Debug.Health` and `Debug.Stats`, in the shape of Go Micro 1.1.0 (WIRE §8). Served, never registered."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from micro_core import Call, Endpoint, Handler, Reply


class Debug:
    """What a process says about itself; nothing secret. `started` is counted from its construction."""

    def __init__(self) -> None:
        self._started = time.time()
        self._collecting = 0
        self._collected = 0

    def handlers(self) -> Sequence[Handler]:
        """The endpoints, as a server takes them."""
        return (
            Handler(Endpoint("Debug.Health"), None, dict[str, Any], False, self.health),
            Handler(Endpoint("Debug.Stats"), None, dict[str, Any], False, self.stats),
        )

    async def health(self, call: Call) -> Reply:
        """`{"status": "ok"}`: it answers."""
        return Reply({"status": "ok"})

    async def stats(self, call: Call) -> Reply:
        """Unix seconds, seconds, bytes, a count, and nanoseconds spent in garbage collection."""
        return Reply(
            {
                "started": int(self._started),
                "uptime": int(time.time() - self._started),
                "memory": _resident(),
                "threads": threading.active_count(),
                "gc": self._collected,
            }
        )

    def watch(self) -> None:
        """Begins to measure garbage collection; `unwatch` ends it. Both are idempotent."""
        if self._collector not in gc.callbacks:
            gc.callbacks.append(self._collector)

    def unwatch(self) -> None:
        """Ends what `watch` began."""
        if self._collector in gc.callbacks:
            gc.callbacks.remove(self._collector)

    def _collector(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.perf_counter_ns()
        elif self._collecting:
            self._collected += time.perf_counter_ns() - self._collecting


def _resident() -> int:
    """Bytes of memory in use: now where /proc tells, else at most so far."""
    try:
        import resource
    except ImportError:
        return 0
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * resource.getpagesize()
