"""A watch of the file: looks when it is asked, and returns what is different."""

from __future__ import annotations

from typing import Self

import anyio
import anyio.lowlevel
from micro_core import Snapshot

from micro_registry_static.source import Source

MAX_DEPARTED = 10_000
"""Nodes taken out of the file that a watch remembers; the oldest are forgotten first."""


class Watcher:
    """An iterator of snapshots; a cancelled wait loses nothing."""

    def __init__(self, source: Source, name: str | None, poll: float) -> None:
        self._source = source
        self._name = name
        self._poll = poll
        self._last: Snapshot | None = None
        self._departed: dict[str, None] = {}
        self._closed = anyio.Event()

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot:
        while not self._closed.is_set():
            await self._source.refresh()
            snapshot = self._snapshot()
            if snapshot != self._last:
                self._last = snapshot
                return snapshot
            with anyio.move_on_after(self._source.wait()):
                await self._closed.wait()
        raise StopAsyncIteration

    def _snapshot(self) -> Snapshot:
        services = self._source.records(self._name)
        listed = {node.id for record in services for node in record.nodes}
        before = self._last.services if self._last else ()
        self._departed |= {node.id: None for record in before for node in record.nodes}
        for key in listed & self._departed.keys():
            del self._departed[key]
        while len(self._departed) > MAX_DEPARTED:
            del self._departed[next(iter(self._departed))]
        return Snapshot(services, frozenset(self._departed), self._source.stale_since)
