"""Registries: where services say that they are there, and callers find them.

A whole plugin:

    class MemoryRegistry(Registry):
        reach = Reach.PROCESS

        @dataclass(frozen=True, slots=True)
        class Options:
            address: str = option("", help="which store of this process to use")

        def __init__(self, options: Options) -> None: ...
        async def register(self, service: ServiceRecord, *, ttl: float) -> None: ...
        ...

    @hookimpl
    def micro_registry() -> type[Registry]:
        return MemoryRegistry

with `[project.entry-points."micro.registry"] memory = "micro_registry_memory"`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import ClassVar

from micro_core.component import Component
from micro_core.records import ServiceRecord, Snapshot


class Reach(Enum):
    """What a registry's records are visible to."""

    PROCESS = "process"
    HOST = "host"
    NETWORK = "network"


class Registry(Component, ABC):
    """Keeps which nodes serve what. Built as `Registry(options)`.

    A node is known by its id within its service's name: registered again with another version, it moves. Version,
    endpoints and metadata of a record are those that were registered last. A record without nodes changes nothing.

    Records from elsewhere are untrusted: one that cannot be read is left out and logged once, it never fails a lookup.
    Every method may be called by many tasks at once. A cancelled call leaves the registry as usable as before.
    """

    reach: ClassVar[Reach]
    """What its records are visible to."""

    read_only: ClassVar[bool] = False
    """True where records come from outside (a file, DNS): `register` and `deregister` do nothing."""

    @abstractmethod
    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        """Makes the nodes of the record known for `ttl` seconds; calling it again is the heartbeat.

        Idempotent: registering what is known changes nothing but the time it lives. A record of a known node replaces
        that node's record. Other nodes and versions of the name stay. The service calls it, plugins never do. A `ttl`
        of 0 means for ever.

        Raises:
            RegistryUnavailable: it could not be stored; it may be tried again.
            ValueError: the record has no name, no version or a node without id or address.
        """

    @abstractmethod
    async def deregister(self, service: ServiceRecord) -> None:
        """Forgets the nodes of the record, at once and for every watcher, as a goodbye; unknown ones are no error.

        Raises:
            RegistryUnavailable: it could not be done; the nodes disappear when their time is over.
        """

    @abstractmethod
    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """One record per version, each with its nodes, metadata and endpoints as registered.

        Names are compared exactly, case included. Registries that ask a network wait at most a second.

        Raises:
            NotRegistered: no node of that name is known.
            RegistryUnavailable: it does not answer.
        """

    @abstractmethod
    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """Every name and version; nodes and endpoints may be left out.

        Raises:
            RegistryUnavailable: it does not answer.
        """

    @abstractmethod
    def watch(self, name: str | None) -> AbstractAsyncContextManager[AsyncIterator[Snapshot]]:
        """Snapshots of one name, or of every service for None.

        Level-triggered: the first snapshot comes at once and is complete, then one after each change, the end of a
        node's time included; changes that follow each other quickly may be joined into one, the last state is always
        delivered. An unknown name is an empty snapshot, not an error. While the registry does not answer, one snapshot
        says so by `stale_since` and holds what was known last; its return is a snapshot too. The watch reconnects by
        itself and never ends. Leaving the block stops it, also when cancelled.
        """
