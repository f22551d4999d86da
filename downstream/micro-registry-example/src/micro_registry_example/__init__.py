"""Registry `example`: services of one host, in a SQLite file that its processes share."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import anyio
import anyio.to_thread
from micro_core import (
    NotRegistered,
    Reach,
    Registry,
    RegistryUnavailable,
    ServiceRecord,
    Snapshot,
    capture_clock,
    hookimpl,
    option,
)

from micro_registry_example.store import Store

__all__ = ["ExampleRegistry", "micro_registry"]

T = TypeVar("T")


class ExampleRegistry(Registry):
    """Keeps services in a SQLite file.

    The file is opened for each question and closed again, in a worker thread, so there is nothing to enter, to leave or
    to lose in a fork. A call that is cancelled meanwhile ends when the file has answered, or after five seconds.
    """

    reach: ClassVar[Reach] = Reach.HOST

    @dataclass(frozen=True, slots=True)
    class Options:
        """The options of registry `example`."""

        address: Path = option(Path("~/.micro-registry-example.db"), help="the file; its folder must exist")
        interval: float = option(0.1, help="seconds between two looks of a watch", minimum=0.01)

    def __init__(self, options: Options) -> None:
        self._store = Store(options.address.expanduser())
        self._interval = options.interval

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        """As `Registry.register`."""
        await _in_thread(lambda: self._store.put(service, ttl))

    async def deregister(self, service: ServiceRecord) -> None:
        """As `Registry.deregister`."""
        await _in_thread(lambda: self._store.remove(service))

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """As `Registry.get_service`."""
        found = (await self._look(name)).services
        if not found:
            raise NotRegistered(f"no service {name!r} in registry 'example'")
        return found

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """As `Registry.list_services`, with nodes and endpoints."""
        return (await self._look(None)).services

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        """As `Registry.watch`; changes are seen at the next look, an `interval` later at most."""
        since = self._store.now()
        yield Watch(lambda: self._look(name, since), self._interval)

    async def _look(self, name: str | None, since: float = math.inf) -> Snapshot:
        return await _in_thread(lambda: self._store.snapshot(name, since))


class Watch:
    """Looks again and again, and tells what differs from the last time."""

    def __init__(self, look: Callable[[], Awaitable[Snapshot]], interval: float) -> None:
        self._look = look
        self._interval = interval
        self._clock = capture_clock()
        self._last: Snapshot | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot:
        while True:
            seen = await self._seen()
            if seen != self._last:
                self._last = seen
                return seen
            await anyio.sleep(self._interval)

    async def _seen(self) -> Snapshot:
        try:
            return await self._look()
        except RegistryUnavailable:
            last = self._last or Snapshot(())
            return last if last.stale_since is not None else replace(last, stale_since=self._clock())


async def _in_thread(work: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(work)


@hookimpl
def micro_registry() -> type[Registry]:
    """The class behind entry point `example`."""
    return ExampleRegistry
