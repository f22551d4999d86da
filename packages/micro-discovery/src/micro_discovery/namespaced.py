"""A prefix on every name, so that two people on one network do not meet."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

from micro_core import ConfigurationError, NotRegistered, Registry, ServiceRecord, Snapshot

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{0,63}", re.ASCII)

DEFAULT_NAMESPACE = "default"
"""What the namespace without a prefix is called."""


class Namespaced(Registry):
    """A registry in which every name begins with `<namespace>.`, and nobody above it notices.

    Other namespaces' names are invisible. The namespace that everyone is in, `default` or empty, has no prefix:
    everything is as in the registry below. Life, `reach`
    and the rest are those of the registry below. A namespace that could be mistaken is a ConfigurationError: it holds
    letters, digits, `-` and `_`, at most 63, and no dot, or `a` would see into `a.b`.
    """

    def __init__(self, registry: Registry, namespace: str) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise ConfigurationError(
                f"the namespace {namespace!r} (MICRO_NAMESPACE) may hold letters, digits, '-' and '_' only, at most 63"
            )
        self._registry = registry
        self._prefix = "" if namespace in ("", DEFAULT_NAMESPACE) else f"{namespace}."
        # What the class below says of itself holds for this object, too.
        vars(self).update(reach=registry.reach, read_only=registry.read_only, backends=registry.backends)

    def __repr__(self) -> str:
        return f"<Namespaced {self._prefix!r} {self._registry!r}>"

    async def __aenter__(self) -> Self:
        await self._registry.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._registry.__aexit__(kind, error, trace)

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        """As `Registry.register`."""
        await self._registry.register(self._inside(service), ttl=ttl)

    async def deregister(self, service: ServiceRecord) -> None:
        """As `Registry.deregister`."""
        await self._registry.deregister(self._inside(service))

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """As `Registry.get_service`."""
        found = self._outside(await self._registry.get_service(self._prefix + name))
        if not found:
            raise NotRegistered(f"no service {name!r}")
        return found

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """As `Registry.list_services`, of this namespace alone."""
        return self._outside(await self._registry.list_services())

    def watch(self, name: str | None) -> AbstractAsyncContextManager[AsyncIterator[Snapshot]]:
        """As `Registry.watch`; what changes in other namespaces wakes nobody here."""
        if not self._prefix:
            return self._registry.watch(name)
        return self._watch(None if name is None else self._prefix + name)

    @asynccontextmanager
    async def _watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        async with self._registry.watch(name) as snapshots:
            yield _Changes(self, snapshots)

    def _inside(self, service: ServiceRecord) -> ServiceRecord:
        if not self._prefix or not service.name:  # the registry below refuses a record without a name
            return service
        return replace(service, name=self._prefix + service.name)

    def _outside(self, services: Iterable[ServiceRecord]) -> tuple[ServiceRecord, ...]:
        if not self._prefix:
            return tuple(services)
        cut = len(self._prefix)
        return tuple(
            replace(service, name=service.name[cut:])
            for service in services
            if service.name.startswith(self._prefix) and len(service.name) > cut
        )


class _Changes:
    """Snapshots of one namespace; one that repeats the last is left out. A cancelled wait loses nothing."""

    def __init__(self, registry: Namespaced, snapshots: AsyncIterator[Snapshot]) -> None:
        self._registry = registry
        self._snapshots = snapshots
        self._last: Snapshot | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot:
        while True:
            snapshot = await anext(self._snapshots)
            inside = replace(snapshot, services=self._registry._outside(snapshot.services))
            if inside != self._last:
                self._last = inside
                return inside
