"""Registry `memory`: services of one process.

Every registry of a process that names the same `address` shares one store, also across event loops and threads: the
one stated exception to "nothing is global". Records live as long as their `ttl` says, or until they are deregistered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from micro_core import NotRegistered, Reach, Registry, ServiceRecord, Snapshot, hookimpl, option

from micro_registry_memory.store import Store, shared_store
from micro_registry_memory.watcher import Watcher

__all__ = ["MemoryRegistry", "micro_registry"]


class MemoryRegistry(Registry):
    """Keeps services in the memory of this process.

    Its methods return at once and leave nothing behind when cancelled. Leaving `async with` forgets no record: another
    registry of the same address still sees it.
    """

    reach: ClassVar[Reach] = Reach.PROCESS

    @dataclass(frozen=True, slots=True)
    class Options:
        """The options of registry `memory`."""

        address: str = option("", help="which store of this process to use; registries of one address see each other")

    def __init__(self, options: Options) -> None:
        self._store: Store = shared_store(options.address)

    def __repr__(self) -> str:
        return f"<MemoryRegistry {self._store.address!r}>"

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        """As `Registry.register`; a negative or endless `ttl` is a ValueError."""
        self._store.put(service, ttl)

    async def deregister(self, service: ServiceRecord) -> None:
        """As `Registry.deregister`; never fails."""
        self._store.remove(service)

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """As `Registry.get_service`; of records that differ within one version, the last one registered counts."""
        found = self._store.records(name)
        if not found:
            raise NotRegistered(f"no service {name!r} in registry 'memory'")
        return found

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """As `Registry.list_services`, with nodes and endpoints."""
        return self._store.records(None)

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        """As `Registry.watch`; never stale. Records whose time is over disappear without being called departed."""
        watcher = Watcher(self._store, name)
        self._store.attach(watcher)
        try:
            yield watcher
        finally:
            watcher.close()
            self._store.detach(watcher)


@hookimpl
def micro_registry() -> type[Registry]:
    """The class behind entry point `memory`."""
    return MemoryRegistry
