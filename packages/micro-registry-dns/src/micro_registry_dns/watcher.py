"""A watch of names: asks again when the time of what it showed is over."""

from __future__ import annotations

import random
from typing import Self

import anyio
from micro_core import Snapshot

from micro_registry_dns.cache import Cache

JITTER = 0.1
"""Share of a TTL that is waited longer, at random, so that many clients do not ask in the same moment."""


class Watcher:
    """An iterator of snapshots; a cancelled wait loses nothing."""

    def __init__(self, cache: Cache, names: tuple[str, ...]) -> None:
        self._cache = cache
        self._names = names
        self._last: Snapshot | None = None
        self._look_at = float("-inf")
        self._closed = anyio.Event()

    def close(self) -> None:
        """Ends the iteration."""
        self._closed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot:
        while not self._closed.is_set():
            with anyio.move_on_after(max(0.0, self._look_at - self._cache.clock())):
                await self._closed.wait()
                break
            snapshot = await self._look()
            if snapshot != self._last:
                self._last = snapshot
                return snapshot
        raise StopAsyncIteration

    async def _look(self) -> Snapshot:
        entries = await self._cache.all_fresh(self._names)
        self._look_at = min(
            (entry.ends + random.random() * JITTER * entry.ttl for entry in entries),  # noqa: S311 - no secret
            default=float("inf"),
        )
        silences = [entry.stale_since for entry in entries if entry.stale_since is not None]
        services = tuple(record for entry in entries for record in entry.services)
        return Snapshot(services, stale_since=min(silences, default=None))
