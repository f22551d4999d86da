"""Who is registered, as watches of the registry tell it: one watch per name, and what they say together."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup
from micro_core import Registry, Snapshot
from micro_messaging import supervise

log = logging.getLogger("micro.broker.http")


class _List:
    """One name: what the registry knows of it, and how its watch is stopped."""

    __slots__ = ("known", "scope", "snapshot")

    def __init__(self) -> None:
        self.known = anyio.Event()
        self.scope = anyio.CancelScope()
        self.snapshot = Snapshot(())


class Lists:
    """The names that are watched. `changed` is told what is known of all of them, at each change."""

    def __init__(self, registry: Registry, tasks: TaskGroup, changed: Callable[[Snapshot], None]) -> None:
        self._registry = registry
        self._tasks = tasks
        self._changed = changed
        self._lists: dict[str, _List] = {}

    def follow(self, name: str) -> anyio.Event:
        """Watches a name, if that is not done already; the event is set when the registry has told of it."""
        found = self._lists.get(name)
        if found is None:
            found = self._lists[name] = _List()
            self._tasks.start_soon(self._watch, name, found)
        return found.known

    def forget(self, name: str) -> None:
        """Watches a name no more; its nodes are told as departed. Does nothing for one that is not watched."""
        found = self._lists.pop(name, None)
        if found is not None:
            found.scope.cancel()
            self._tell(frozenset(node.id for record in found.snapshot.services for node in record.nodes))

    async def _watch(self, name: str, found: _List) -> None:
        with found.scope:
            await supervise("watching for subscribers", lambda: self._take(name, found), log)

    async def _take(self, name: str, found: _List) -> None:
        async with self._registry.watch(name) as snapshots:
            async for snapshot in snapshots:
                if snapshot.stale_since is None:
                    found.snapshot = snapshot
                    self._tell()
                    found.known.set()

    def _tell(self, gone: frozenset[str] = frozenset()) -> None:
        snapshots = [found.snapshot for found in self._lists.values()]
        records = tuple(record for snapshot in snapshots for record in snapshot.services)
        self._changed(Snapshot(records, gone.union(*(snapshot.departed for snapshot in snapshots))))
