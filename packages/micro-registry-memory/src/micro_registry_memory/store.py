"""What a memory registry keeps: one store per address and process, behind a lock.

Event loops do not share a clock, so the store goes by `time.monotonic`. Nothing ticks inside it: whoever looks drops
what is over first, and a watcher that waits sleeps no longer than to the next end.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

from micro_core import Node, ServiceRecord


class Observer(Protocol):
    """Whoever wants to know of changes; called under the store's lock, from any thread."""

    name: str | None

    def changed(self, departed: str | None, returned: str | None) -> None:
        """Something under `name` is different; a node said goodbye, or came (back)."""
        ...


class _Entry(NamedTuple):
    record: ServiceRecord
    """Without nodes."""
    node: Node
    ends: float


class Store:
    """Nodes by service name and node id, each with the record it was registered with and the time it ends."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lock = threading.RLock()
        self._services: dict[str, dict[str, _Entry]] = {}
        self._observers: list[Observer] = []
        self._next_end = math.inf

    def put(self, service: ServiceRecord, ttl: float) -> None:
        """Adds, replaces or refreshes the nodes of a record. Raises ValueError for one that is not whole."""
        _check(service, ttl)
        ends = time.monotonic() + ttl if ttl else math.inf
        bare = replace(service, nodes=())
        with self.lock:
            self._expire()
            for node in service.nodes:
                self._put(_Entry(bare, node, ends))

    def _put(self, entry: _Entry) -> None:
        name, key = entry.record.name, entry.node.id
        nodes = self._services.setdefault(name, {})
        known = nodes.get(key)
        same = known is not None and known[:2] == entry[:2]
        if not same:
            nodes.pop(key, None)  # so that what changed last stands last
        nodes[key] = entry
        self._next_end = min(self._next_end, entry.ends)
        if not same:
            self._tell(name, returned=key)

    def remove(self, service: ServiceRecord) -> None:
        """Forgets the nodes of a record; unknown ones are no error."""
        with self.lock:
            self._expire()
            for node in service.nodes:
                if self._drop(service.name, node.id):
                    self._tell(service.name, departed=node.id)

    def records(self, name: str | None) -> tuple[ServiceRecord, ...]:
        """One record per name and version, in order of both; of one name, or of all for None."""
        with self.lock:
            self._expire()
            names = sorted(self._services) if name is None else [name]
            return tuple(record for each in names for record in _versions(self._services.get(each, {})))

    def next_end(self) -> float:
        """When the next record is over, in seconds of `time.monotonic`; infinite for never."""
        with self.lock:
            self._expire()
            return self._next_end

    def attach(self, observer: Observer) -> None:
        """Tells the observer of every change from now on."""
        with self.lock:
            self._observers.append(observer)

    def detach(self, observer: Observer) -> None:
        """Tells it no more."""
        with self.lock:
            self._observers.remove(observer)

    def _expire(self) -> None:
        now = time.monotonic()
        if now < self._next_end:
            return
        every = [(name, key, entry.ends) for name, nodes in self._services.items() for key, entry in nodes.items()]
        self._next_end = min((ends for _, _, ends in every if ends > now), default=math.inf)
        for name, key, ends in every:
            if ends <= now:
                self._drop(name, key)
                self._tell(name)

    def _drop(self, name: str, key: str) -> bool:
        nodes = self._services.get(name, {})
        if nodes.pop(key, None) is None:
            return False
        if not nodes:
            del self._services[name]
        return True

    def _tell(self, name: str, *, departed: str | None = None, returned: str | None = None) -> None:
        for observer in self._observers:
            if observer.name is None or observer.name == name:
                observer.changed(departed, returned)


def _versions(nodes: dict[str, _Entry]) -> Iterator[ServiceRecord]:
    versions: dict[str, list[_Entry]] = {}
    for entry in nodes.values():
        versions.setdefault(entry.record.version, []).append(entry)
    for version in sorted(versions):
        entries = versions[version]
        yield replace(entries[-1].record, nodes=tuple(entry.node for entry in entries))


def _check(service: ServiceRecord, ttl: float) -> None:
    if not service.name or not service.version:
        raise ValueError(f"a record needs a name and a version: {service!r}")
    for node in service.nodes:
        if not node.id or not node.address:
            raise ValueError(f"a node of {service.name!r} needs an id and an address: {node!r}")
    if not 0 <= ttl < math.inf:
        raise ValueError(f"a ttl is a number of seconds, 0 for ever: {ttl!r}")


_stores: dict[str, Store] = {}
_stores_lock = threading.Lock()


def shared_store(address: str) -> Store:
    """The store of this process for the address."""
    with _stores_lock:
        return _stores.setdefault(address, Store(address))
