"""`Debug.Health` and `Debug.Stats`, in the shape of Go Micro 1.1.0 (WIRE §8). Served, never registered.

They can be asked for in every content type that is installed, and in protobuf whatever is: messages of numbers and one
text need no library. Go Micro 1.18 put a field in front of the others of `Stats`, so that their numbers moved; callers
older than that are known by the second set of headers that they send.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from micro_core import Call, Codec, Decode, Encode, Endpoint, Handler, Reply, UnsupportedType
from micro_core.codec import PROTOBUF

from micro_rpc.protobuf import number_field, text_field


class Health(TypedDict):
    """Always `ok`."""

    status: str


class Stats(TypedDict):
    """Unix seconds, seconds, bytes, a count, and nanoseconds spent in garbage collection."""

    started: int
    uptime: int
    memory: int
    threads: int
    gc: int


class Debug:
    """What a process says about itself; nothing secret. `started` is counted from its construction."""

    def __init__(self) -> None:
        self._started = time.time()
        self._collecting = 0
        self._collected = 0

    def handlers(self) -> Sequence[Handler]:
        """The endpoints, as a server takes them."""
        return (
            Handler(Endpoint("Debug.Health"), None, Health, False, self.health),
            Handler(Endpoint("Debug.Stats"), None, Stats, False, self.stats),
        )

    async def health(self, call: Call) -> Reply:
        """It answers."""
        return Reply(Health(status="ok"))

    async def stats(self, call: Call) -> Reply:
        """What the process costs."""
        return Reply(
            Stats(
                started=int(self._started),
                uptime=int(time.time() - self._started),
                memory=_resident(),
                threads=threading.active_count(),
                gc=self._collected,
            )
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


def codec_of(handler: Handler, content_type: str, *, old: bool) -> Codec | None:
    """The codec of a reply from here in protobuf; None for everything else. `old`: for a caller before 1.18."""
    own = handler.reply_type is Health or handler.reply_type is Stats
    return _Protobuf(_OLD if old else _NUMBERS) if own and content_type == PROTOBUF else None


_OLD = {"started": 1, "uptime": 2, "memory": 3, "threads": 4, "gc": 5}
_NUMBERS = {"timestamp": 1, "started": 2, "uptime": 3, "memory": 4, "threads": 5, "gc": 6}


class _Protobuf(Codec):
    """HealthResponse and StatsResponse, the latter with the given numbers."""

    content_types = (PROTOBUF,)

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers

    def encoder(self, type_: Any) -> Encode:
        if type_ is Health:
            return lambda health: text_field(1, health["status"])
        if type_ is Stats:
            return self._stats
        raise UnsupportedType("messages of Debug are these two")

    def _stats(self, stats: Any) -> bytes:
        told = {"timestamp": stats["started"] + stats["uptime"], **stats}
        return b"".join(number_field(number, told[name]) for name, number in self._numbers.items())

    def decoder(self, type_: Any) -> Decode:
        raise UnsupportedType("nothing that Debug is asked is read")


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
