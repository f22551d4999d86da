"""Registry `static`: services from a TOML file.

For services that a registry cannot see: a fixed set of machines, a test bed, something behind a load balancer. The file
is read again when it changes; one that cannot be used leaves the services that were read last in force.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import anyio.lowlevel
from micro_core import NotRegistered, Reach, Registry, ServiceRecord, Snapshot, hookimpl, option

from micro_registry_static.source import Source
from micro_registry_static.watcher import Watcher

__all__ = ["StaticRegistry", "micro_registry"]


class StaticRegistry(Registry):
    """Reads services from a file; `register` and `deregister` do nothing.

    The file is looked at by whoever asks or watches, `poll` seconds apart at most; nothing runs in between.
    """

    reach: ClassVar[Reach] = Reach.NETWORK
    read_only: ClassVar[bool] = True

    @dataclass(frozen=True, slots=True)
    class Options:
        """The options of registry `static`."""

        path: Path = option(Path("services.toml"), help="the file that lists the services")
        poll: float = option(0.5, help="seconds from one look at the file to the next", minimum=0.05, maximum=3600.0)

    def __init__(self, options: Options) -> None:
        self._poll = options.poll
        self._source = Source(options.path, options.poll)

    def __repr__(self) -> str:
        return f"<StaticRegistry {str(self._source.path)!r}>"

    async def __aenter__(self) -> Self:
        """Reads the file.

        Raises:
            ConfigurationError: it cannot be read, or is not what it should be; the text names the file, the line, the
                key and what was expected.
        """
        await self._source.open()
        return self

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        """Does nothing: the file says what there is."""
        await anyio.lowlevel.checkpoint()

    async def deregister(self, service: ServiceRecord) -> None:
        """Does nothing: the file says what there is."""
        await anyio.lowlevel.checkpoint()

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """As `Registry.get_service`; while the file cannot be used, from what was read last."""
        await self._source.refresh()
        found = self._source.records(name)
        if not found:
            raise NotRegistered(f"no service {name!r} in {self._source.path}")
        return found

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """As `Registry.list_services`, with nodes and endpoints."""
        await self._source.refresh()
        return self._source.records(None)

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        """As `Registry.watch`; stale while the file cannot be used. A node that was taken out has departed."""
        watcher = Watcher(self._source, name, self._poll)
        try:
            yield watcher
        finally:
            watcher.close()


@hookimpl
def micro_registry() -> type[Registry]:
    """The class behind entry point `static`."""
    return StaticRegistry
