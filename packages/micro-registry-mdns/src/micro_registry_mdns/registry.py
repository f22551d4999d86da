"""The registry itself: the interface of micro_core over a `Driver`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import ClassVar, Self

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from micro_core import (
    Clock,
    NotRegistered,
    OptionError,
    Reach,
    Registry,
    RegistryUnavailable,
    ServiceRecord,
    Snapshot,
    capture_clock,
    option,
)

from micro_registry_mdns.driver import POLL, Driver, Names
from micro_registry_mdns.packets import host_of, is_loopback
from micro_registry_mdns.responder import Key

log = logging.getLogger("micro.registry.mdns")

MISS = 0.15
"""Seconds that a name nobody has announced is waited for when the cache is warm."""
JOIN = 0.01
"""Seconds in which changes are joined into one snapshot."""
MAX_DEPARTED = 10_000


class MdnsRegistry(Registry):
    """Services of this host and its network, by multicast DNS; no server is needed.

    Without a usable interface it opens all the same: `register`, `deregister` and lookups raise RegistryUnavailable
    that says why, watches are stale, and it goes on trying. Nodes that were registered are announced again by
    themselves when an interface returns. Nodes with a loopback address are announced on the loopback interface alone.
    """

    reach: ClassVar[Reach] = Reach.NETWORK

    @dataclass(frozen=True, slots=True)
    class Options:
        """What can be chosen."""

        interfaces: tuple[str, ...] = option((), help="interfaces to use, by address or name; empty for all")
        port: int = option(5353, help="UDP port of the multicast group", minimum=1, maximum=65535)
        dns_sd: bool = option(True, help="speak our own protocol, which knows of killed processes in seconds")
        go_micro: bool = option(True, help="speak Go Micro's names, so that its processes find ours and are found")

    def __init__(self, options: Options) -> None:
        if not (options.dns_sd or options.go_micro):
            raise OptionError("registry mdns speaks nothing with both dns_sd and go_micro turned off")
        self._options = options
        self._driver: Driver | None = None
        self._watches: set[Watch] = set()
        self._clock: Clock
        self._tasks: TaskGroup | None = None
        self._warned = False

    async def __aenter__(self) -> Self:
        """Opens the sockets. Raises nothing when there are none to open: see the class."""
        self._clock = capture_clock()
        options = self._options
        names = Names(beats=options.dns_sd, go=options.go_micro)
        self._driver = Driver(options.interfaces, options.port, names, self._clock, self._changed)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._driver.start(self._tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Says goodbye for every node that is still registered, and closes."""
        tasks, self._tasks = self._tasks, None
        driver = self._driver
        if driver is None or tasks is None:
            return
        driver.farewell()
        try:
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)
        finally:
            driver.close()
            self._changed()

    def _open(self) -> Driver:
        if self._driver is None:
            raise RegistryUnavailable("the mdns registry is not open: enter it with `async with`")
        self._driver.check()
        return self._driver

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        """As the interface says; the packets are sent when it returns."""
        _check(service)
        await anyio.lowlevel.checkpoint()
        driver = self._open()
        self._warn_of_loopback(driver, service)
        single = [replace(service, nodes=(node,)) for node in service.nodes]
        driver.engine.register(single, ttl, self._clock())
        driver.pump()
        driver.check()

    async def deregister(self, service: ServiceRecord) -> None:
        """As the interface says. Nodes that another registry announced are its own to withdraw."""
        await anyio.lowlevel.checkpoint()
        driver = self._open()
        driver.engine.deregister([(service.name, node.id) for node in service.nodes], self._clock())
        driver.pump()

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """As the interface says: at once while the cache is warm, else when answers have settled."""
        driver = await self._fresh(name)
        found = driver.engine.services(name)
        if not found:
            driver.engine.ask_now(self._clock())
            found = await self._await_name(driver, name)
        if not found:
            raise NotRegistered(f"no node of {name!r} answers by multicast DNS on UDP port {self._options.port}")
        return found

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """As the interface says, with nodes and endpoints."""
        return (await self._fresh(None)).engine.services(None)

    async def _await_name(self, driver: Driver, name: str) -> tuple[ServiceRecord, ...]:
        until = self._clock() + MISS
        driver.pump()
        while not (found := driver.engine.services(name)) and self._clock() < until:
            await anyio.sleep(POLL)
            driver.check()
        return found

    async def _fresh(self, name: str | None) -> Driver:
        """The driver, when its cache is warm."""
        driver = self._open()
        driver.engine.want(self._clock(), name)
        await driver.settled(name)
        driver.check()
        return driver

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        """As the interface says; the first snapshot waits until answers have settled, at most half a second."""
        driver = self._driver
        if driver is None:
            raise RegistryUnavailable("the mdns registry is not open: enter it with `async with`")
        watch = Watch(driver, name)
        with self._watching(driver, watch):
            yield watch

    @contextmanager
    def _watching(self, driver: Driver, watch: Watch) -> Iterator[None]:
        self._watches.add(watch)
        driver.engine.watch(self._clock(), watch.name)
        driver.pump()
        try:
            yield
        finally:
            self._watches.discard(watch)
            driver.engine.unwatch(watch.name)

    def _changed(self) -> None:
        driver = self._driver
        gone = driver.engine.departures() if driver is not None else []
        for watch in self._watches:
            watch.notify(gone)

    def _warn_of_loopback(self, driver: Driver, service: ServiceRecord) -> None:
        local = [node for node in service.nodes if is_loopback(host_of(node.address))]
        if local and not self._warned and not any(is_loopback(link) for link in driver.engine.links):
            self._warned = True
            log.warning(
                "%s at %s is announced nowhere: a loopback address is announced on the loopback interface alone, and "
                "MICRO_REGISTRY_MDNS_INTERFACES leaves that out",
                service.name,
                local[0].address,
            )


class Watch(AsyncIterator[Snapshot]):
    """One watch: the latest state, whenever it is not the one that was given last."""

    def __init__(self, driver: Driver, name: str | None) -> None:
        self._driver = driver
        self.name = name
        self._departed: dict[Key, None] = {}
        self._news = anyio.Event()
        self._last: Snapshot | None = None

    def notify(self, gone: list[Key]) -> None:
        """Something changed; these nodes said goodbye."""
        for key in gone:
            if self.name in (None, key[0]):
                self._departed[key] = None
        while len(self._departed) > MAX_DEPARTED:
            del self._departed[next(iter(self._departed))]
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot:
        if self._last is None:
            await self._driver.settled(self.name)
        while True:
            self._news = anyio.Event()
            snapshot = self._snapshot()
            if snapshot != self._last:
                self._last = snapshot
                await anyio.lowlevel.checkpoint()
                return snapshot
            await self._news.wait()
            await anyio.sleep(JOIN)

    def _snapshot(self) -> Snapshot:
        engine = self._driver.engine
        departed = frozenset(key[1] for key in self._departed if not engine.present(key))
        return Snapshot(engine.services(self.name), departed, self._driver.stale_since)


def _check(service: ServiceRecord) -> None:
    if not service.name or not service.version:
        raise ValueError(f"a record needs a name and a version, not {service.name!r} and {service.version!r}")
    for node in service.nodes:
        if not node.id or not node.address:
            raise ValueError(f"every node of {service.name!r} needs an id and an address, not {node!r}")
