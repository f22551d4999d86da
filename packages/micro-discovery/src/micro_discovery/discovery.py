"""Discovery over a registry: one watch per service that is called, shared by all who call it.

    find ──▶ entry of the service ◀── its watch task ◀── Registry.watch
                   │                    fails → logged, started again after a while
    known ─────────┘ (no task, no wait)

The first `find` of a service starts its watch, later ones wait for the same. What was learnt stays until nobody has
asked for a while; nodes that a silent registry once listed stay for ever (see `nodes`).
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
from micro_core import (
    Clock,
    Discovery,
    Filter,
    Node,
    NodeSet,
    Outcome,
    Registry,
    ServiceNotFound,
    ServiceRecord,
    Snapshot,
    capture_clock,
)

from micro_discovery.host import host_id
from micro_discovery.nodes import ServiceNodes
from micro_discovery.texts import Missing

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

logger = logging.getLogger("micro.discovery")

FIRST_BACKOFF = 0.1
"""Seconds."""

MAX_WARNINGS = 1_000
"""Nodes that are remembered as warned about."""


class _Entry:
    """One service that somebody asked for.

    Attributes:
        nodes: what is known.
        changed: set, and replaced, whenever the nodes change.
        trouble: why the registry does not answer; empty while it does.
        waiting: how many wait in `find`.
        used: clock seconds at which it was last asked for.
        scope: cancels the watch task.
    """

    __slots__ = ("changed", "nodes", "scope", "trouble", "used", "waiting")

    def __init__(self, nodes: ServiceNodes, now: float) -> None:
        self.nodes = nodes
        self.changed = anyio.Event()
        self.trouble = "no answer yet"
        self.waiting = 0
        self.used = now
        self.scope = anyio.CancelScope()

    @contextmanager
    def waiter(self) -> Iterator[None]:
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class RegistryDiscovery(Discovery):
    """Node sets fed by a registry's watches.

    The registry must be entered while this is. Leaving `async with` ends every watch, also when cancelled, and lets a
    `find` that still waits fail; an exception of the block comes out as it is.

    Args:
        registry: where nodes are found.
        registry_name: what people call it, for error texts.
        namespace: which namespace the registry shows, for error texts.
        lookup_timeout: seconds that `find` waits at most.
        idle_timeout: seconds after which a service that nobody asks for is no longer watched. One without nodes goes
            after `lookup_timeout` or two seconds, whichever is longer.
        max_services: how many services are watched at once; over that, the least recently used one without a waiting
            caller is dropped.
        max_backoff: seconds, at most, from a failed watch to the next.
        host: which host's loopback records may be dialled; this one's by default.
        departed: told the address of each node that is known no more, so that whoever calls nodes can let go of what
            was kept for it: `Transport.forget`.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        registry_name: str,
        namespace: str = "",
        lookup_timeout: float = 1.0,
        idle_timeout: float = 600.0,
        max_services: int = 1_000,
        max_backoff: float = 10.0,
        host: str | None = None,
        departed: Callable[[str], None] | None = None,
    ) -> None:
        self._registry = registry
        self._name = registry_name
        self._namespace = namespace
        self._lookup_timeout = lookup_timeout
        self._idle_timeout = idle_timeout
        self._max_services = max_services
        self._max_backoff = max_backoff
        self._host = host_id() if host is None else host
        self._departed = departed
        self._entries: dict[str, _Entry] = {}
        self._names: tuple[str, ...] | None = None
        self._asking = False
        self._ask_after = -math.inf
        self._warned: set[tuple[str, str]] = set()
        self._group: TaskGroup | None = None
        self._context: Context
        self._clock: Clock

    def __repr__(self) -> str:
        return f"<RegistryDiscovery {self._name!r}: {[entry.nodes for entry in self._entries.values()]}>"

    async def __aenter__(self) -> Self:
        self._clock = capture_clock()
        # Watches live longer than the call that starts them and must not carry its context variables.
        self._context = copy_context()
        self._group = await anyio.create_task_group().__aenter__()
        self._start(self._sweep)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        group, self._group = self._group, None
        entries, self._entries = self._entries, {}
        for entry in entries.values():
            entry.wake()
        if group is not None:
            group.cancel_scope.cancel()
            try:
                await group.__aexit__(None, None, None)
            except Exception:
                logger.exception("registry %r failed when its watches ended", self._name)

    def known(self, service: str, filter: Filter | None = None) -> NodeSet | None:
        """As `Discovery.known`."""
        entry = self._entries.get(service)
        if entry is None:
            return None
        clock, nodes = self._clock, entry.nodes
        entry.used = clock()
        return nodes.everything or nodes.select(None) if filter is None else nodes.select(filter)

    async def find(self, service: str, filter: Filter | None = None, *, deadline: float) -> NodeSet:
        """As `Discovery.find`; a cancelled call leaves the watch for others. RuntimeError outside of `async with`."""
        if self._group is None:
            raise RuntimeError("discovery is used outside of its 'async with'")
        started = self._clock()
        limit = min(deadline, started + self._lookup_timeout)
        entry = self._entry(service, started)
        with entry.waiter():
            found = await self._wait(entry, filter, limit - 0.25 * (limit - started))
            if found is None:
                self._ask_names()
                found = await self._wait(entry, filter, limit)
        entry.used = self._clock()
        if found is None:
            raise self._missing(entry, filter, entry.used - started)
        return found

    def report(self, service: str, node: Node, outcome: Outcome) -> None:
        """As `Discovery.report`."""
        entry = self._entries.get(service)
        if entry is None or entry.nodes.refused is None:
            return
        before = entry.nodes.records
        if entry.nodes.report(node, outcome):
            logger.warning("every node of %r that %s no longer lists refused: it has none", service, self._name)
            self._tell_departed(before, ())

    async def _wait(self, entry: _Entry, filter: Filter | None, limit: float) -> NodeSet | None:
        while (found := entry.nodes.select(filter)) is None and self._group is not None:
            with anyio.CancelScope(deadline=limit) as scope:
                await entry.changed.wait()
            if scope.cancelled_caught:
                return entry.nodes.select(filter)
        return found

    def _missing(self, entry: _Entry, filter: Filter | None, seconds: float) -> ServiceNotFound:
        nodes = entry.nodes
        text = Missing(
            service=nodes.service,
            filter=filter,
            registry=self._name,
            namespace=self._namespace,
            seconds=seconds,
            trouble=entry.trouble if self._group is not None else "the client was closed",
            records=nodes.records,
            rejected=nodes.rejected,
            names=self._names,
        )
        return ServiceNotFound(str(text))

    def _entry(self, service: str, now: float) -> _Entry:
        entry = self._entries.get(service)
        if entry is None:
            self._make_room()
            entry = self._entries[service] = _Entry(ServiceNodes(service, self._host), now)
            self._start(self._watch, entry)
        entry.used = now
        return entry

    def _start(self, work: Callable[..., Any], *args: Any) -> None:
        if self._group is not None:
            self._context.run(self._group.start_soon, work, *args)

    async def _watch(self, entry: _Entry) -> None:
        try:
            with entry.scope:
                await self._watch_again_and_again(entry)
        except Exception:
            # What is left of a group when the cancellation is taken out of it.
            logger.exception("registry %r failed when a watch of %r ended", self._name, entry.nodes.service)

    async def _watch_again_and_again(self, entry: _Entry) -> None:
        delay = FIRST_BACKOFF
        while True:
            began = self._clock()
            try:
                async with self._registry.watch(entry.nodes.service) as snapshots:
                    async for snapshot in snapshots:
                        self._apply(entry, snapshot)
                trouble = "its watch ended"
            except Exception as error:
                trouble = f"{type(error).__name__}: {error}"[:200]
            self._troubled(entry, trouble)
            if self._clock() - began > self._max_backoff:
                delay = FIRST_BACKOFF
            await anyio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay = min(delay * 2, self._max_backoff)

    def _apply(self, entry: _Entry, snapshot: Snapshot) -> None:
        nodes, doubted, before = entry.nodes, entry.nodes.doubted, entry.nodes.records
        if nodes.apply(snapshot):
            entry.wake()
            self._tell_departed(before, nodes.records)
        if nodes.stale:
            self._troubled(entry, "it is not reachable")
        elif entry.trouble:
            if entry.trouble != "no answer yet":
                logger.info("registry %r answers for %r again", self._name, nodes.service)
            entry.trouble = ""
        if nodes.doubted and not doubted:
            logger.warning(
                "registry %r lists no node of %r any more, and %d said no goodbye: they are called until they refuse",
                self._name, nodes.service, len(nodes.ids()),
            )  # fmt: skip
        if nodes.rejected:
            self._warn_of_rejected(nodes)

    def _tell_departed(self, before: Iterable[ServiceRecord], now: Iterable[ServiceRecord]) -> None:
        if self._departed is None:
            return
        for address in _addresses(before) - _addresses(now):
            try:
                self._departed(address)
            except Exception:
                logger.exception("a departed node at %s could not be forgotten", address)

    def _troubled(self, entry: _Entry, trouble: str) -> None:
        if entry.trouble in ("", "no answer yet"):
            logger.warning(
                "registry %r does not answer for %r (%s); going on with %d known nodes",
                self._name, entry.nodes.service, trouble, len(entry.nodes.ids()),
            )  # fmt: skip
        entry.trouble = trouble

    def _warn_of_rejected(self, nodes: ServiceNodes) -> None:
        for key, reason in nodes.rejected.items():
            if len(self._warned) >= MAX_WARNINGS:
                return
            if (nodes.service, key) not in self._warned:
                self._warned.add((nodes.service, key))
                logger.warning("node %r of %r in registry %r is left out: %s", key, nodes.service, self._name, reason)

    def _ask_names(self) -> None:
        now = self._clock()
        if self._group is not None and not self._asking and now >= self._ask_after:
            self._asking = True
            self._ask_after = now + self._lookup_timeout
            self._start(self._list_names)

    async def _list_names(self) -> None:
        """What else there is, for error texts; asked while the last callers wait, never in addition."""
        try:
            with anyio.move_on_after(self._lookup_timeout):
                self._names = tuple(sorted({record.name for record in await self._registry.list_services()}))
        except Exception as error:
            logger.debug("registry %r does not list its services: %s", self._name, error)
        finally:
            self._asking = False

    async def _sweep(self) -> None:
        unknown = max(2.0, self._lookup_timeout)
        while True:
            await anyio.sleep(max(min(unknown, self._idle_timeout) / 2, 0.01))
            now = self._clock()
            for entry in list(self._entries.values()):
                if _precious(entry) or entry.waiting:
                    continue
                if now - entry.used > (self._idle_timeout if entry.nodes.records else unknown):
                    self._drop(entry)

    def _make_room(self) -> None:
        while len(self._entries) >= self._max_services:
            unused = [entry for entry in self._entries.values() if not entry.waiting]
            if not unused:
                return
            self._drop(min(unused, key=lambda entry: (_precious(entry), entry.used)))

    def _drop(self, entry: _Entry) -> None:
        del self._entries[entry.nodes.service]
        entry.scope.cancel()


def _addresses(records: Iterable[ServiceRecord]) -> set[str]:
    return {node.address for record in records for node in record.nodes}


def _precious(entry: _Entry) -> bool:
    """Whether it holds nodes that the registry could not tell again: it is silent, or in doubt."""
    return bool(entry.nodes.records) and (bool(entry.trouble) or entry.nodes.doubted)
