"""The thin part: sockets, the clock and tasks around an `Engine`."""

from __future__ import annotations

import logging
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import anyio
from anyio.abc import TaskGroup
from micro_core import Clock, RegistryUnavailable

from micro_registry_mdns.engine import Engine
from micro_registry_mdns.links import Link
from micro_registry_mdns.packets import Out
from micro_registry_mdns.sites import Site, sites

log = logging.getLogger("micro.registry.mdns")

RECONCILE = 1.0
"""Seconds between looks at the interfaces."""
POLL = 0.02
LEAST_SLEEP = 0.001
BURST = 256
"""Packets that are read before other tasks get their turn."""


@dataclass(frozen=True, slots=True)
class Names:
    """What is spoken: our own protocol, and Go Micro's names."""

    beats: bool = True
    go: bool = True


class Driver:
    """Runs an engine over the links of the chosen interfaces, opening what is missing for as long as it lives.

    Args:
        interfaces: addresses or names of interfaces; empty for all that are of use.
        port: UDP port.
        names: which are spoken.
        clock: seconds.
        changed: called when what is listed, or whether it is stale, has changed.
    """

    def __init__(
        self, interfaces: Sequence[str], port: int, names: Names, clock: Clock, changed: Callable[[], None]
    ) -> None:
        rng = random.Random(secrets.randbits(64))  # noqa: S311
        self.engine = Engine(port, rng, beats=names.beats, go=names.go)
        self.stale_since: float | None = None
        self.trouble = ""
        self._interfaces = tuple(interfaces)
        self._port = port
        self._clock = clock
        self._changed = changed
        self._told: set[str] = set()
        self._tasks: TaskGroup
        self._links: dict[str, Link] = {}
        self._version: object = self.engine.version
        self._wake = anyio.Event()
        self._sleeps_until = 0.0
        self._closed = False

    def check(self) -> None:
        """Raises RegistryUnavailable while no link is up."""
        if self._closed:
            raise RegistryUnavailable("the mdns registry is closed")
        if not self._links:
            raise RegistryUnavailable(self.trouble)

    def start(self, tasks: TaskGroup) -> None:
        """Opens the links that can be opened, and keeps links, time and watchers going in the task group."""
        self._tasks = tasks
        tasks.start_soon(self._keep, self._keep_links)
        tasks.start_soon(self._keep, self._keep_time)
        self._reconcile()

    def farewell(self) -> None:
        """Says goodbye for every own node. Nothing is registered or looked up after it."""
        if not self._closed:
            self._closed = True
            for out in self.engine.farewell():
                self._send(out)

    def close(self) -> None:
        """Closes the sockets, when the tasks have ended."""
        for link in self._links.values():
            link.close()
        self._links.clear()

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs one of the endless jobs; a failure is logged and the job begun again."""
        while True:
            try:
                return await work()
            except Exception:
                log.exception("a background task of the mdns registry failed; it is started again")
                await anyio.sleep(1.0)

    def pump(self) -> None:
        """Reads what has arrived, sends what is due, tells watchers."""
        for name in list(self._links):
            self._read(name)
        for out in self.engine.poll(self._clock()):
            self._send(out)
        if self._version != self.engine.version:
            self._version = self.engine.version
            self._changed()
        if self.engine.next_due() < self._sleeps_until:
            self._wake.set()

    async def settled(self, name: str | None) -> None:
        """Returns when a name, or everything, is known, or at once while no link is up. Somebody must have asked."""
        self.pump()
        while self.stale_since is None and not self.engine.settled(self._clock(), name):
            await anyio.sleep(POLL)
            self.pump()

    def _read(self, name: str) -> None:
        link = self._links[name]
        try:
            for packet, source in link.receive(BURST):
                self._receive(name, source, packet)
        except OSError as error:
            self._drop(name, error)
        if link.heard:
            self._told.discard(name)

    def _receive(self, link: str, source: tuple[str, int], packet: bytes) -> None:
        """A packet is untrusted: one that trips a fault of ours costs nothing but itself, and one entry in the log."""
        try:
            self.engine.receive(link, source, packet, self._clock())
        except Exception:
            if "packet" not in self._told:
                self._told.add("packet")
                log.exception("a packet from %s was not understood; more of them are not logged", source[0])

    def _send(self, out: Out) -> None:
        link = self._links.get(out.link)
        if link is None:
            return
        try:
            if out.to is not None:
                link.reply(out.packet, out.to)
            elif out.question:
                link.ask(out.packet)
            else:
                link.send(out.packet, self._clock())
        except OSError as error:
            self._drop(out.link, error)

    async def _keep_time(self) -> None:
        while True:
            self._sleeps_until = self.engine.next_due()
            with anyio.move_on_after(max(self._sleeps_until - self._clock(), LEAST_SLEEP)):
                await self._wake.wait()
            self._wake = anyio.Event()
            self.pump()

    async def _keep_reading(self, link: Link, sock: socket.socket) -> None:
        try:
            while self._links.get(link.site.name) is link:
                await anyio.wait_readable(sock)
                self.pump()
        except (OSError, ValueError, anyio.ClosedResourceError) as error:
            if self._links.get(link.site.name) is link:
                self._drop(link.site.name, error)

    async def _keep_links(self) -> None:
        looked = self._clock()
        while True:
            await anyio.sleep(RECONCILE)
            before, looked = looked, self._clock()
            if [link for link in self._links.values() if link.overflowed()]:
                self.engine.extend(looked - before)
            for link in list(self._links.values()):
                if link.is_deaf(self._clock()):
                    self._drop(link.site.name, "nothing that is sent there arrives")
            self._reconcile()
            self.pump()

    def _reconcile(self) -> None:
        """Closes links whose interface is gone, and opens what is missing."""
        wanted = sites(self._interfaces)
        for name in set(self._links) - {site.name for site in wanted}:
            self._drop(name, "the interface is gone")
        failures = [error for error in map(self._open, wanted) if error]
        if not self._links:
            self._unavailable("; ".join(failures) or "this host has no interface with an address to use")

    def _open(self, site: Site) -> str:
        if site.name in self._links:
            return ""
        try:
            link = Link(site, self._port)
        except OSError as error:
            return self._not_opened(site.name, error)
        self._links[site.name] = link
        self._rank()
        self.engine.add_link(site.name, self._clock())
        for sock in link.sockets:
            self._tasks.start_soon(self._keep, partial(self._keep_reading, link, sock))
        self._available()
        return ""

    def _rank(self) -> None:
        """Says which links are by IPv6 where there is one by IPv4."""
        ipv4 = {link.site.index for link in self._links.values() if not link.site.ipv6}
        both = [name for name, link in self._links.items() if link.site.ipv6 and link.site.index in ipv4]
        self.engine.second = frozenset(both)

    def _not_opened(self, name: str, error: OSError) -> str:
        text = f"interface {name}: {error.strerror or error}"
        if self._interfaces:
            self._tell(name, f"mdns cannot use {text} (option interfaces); it is tried again")
        return text

    def _tell(self, name: str, text: str) -> None:
        """Logs once what is wrong with a link, until it has worked."""
        if name not in self._told:
            self._told.add(name)
            log.warning("%s", text)

    def _drop(self, name: str, reason: object) -> None:
        link = self._links.pop(name)
        self._tell(name, f"mdns lost interface {name}: {reason}")
        self._rank()
        self.engine.remove_link(name)
        for sock in link.sockets:
            if sock.fileno() >= 0:
                anyio.notify_closing(sock)
        link.close()
        if not self._links:
            self._unavailable(f"interface {name}: {reason}")

    def _available(self) -> None:
        if self.stale_since is not None:
            log.info("mdns works again")
        self.stale_since = None
        self._changed()

    def _unavailable(self, why: str) -> None:
        if self.stale_since is None:
            self.stale_since = self._clock()
            self._changed()
        self.trouble = (
            f"multicast DNS on UDP port {self._port} is impossible: {why}; choose interfaces of this host by "
            "MICRO_REGISTRY_MDNS_INTERFACES (127.0.0.1 works without a network) or another port by "
            "MICRO_REGISTRY_MDNS_PORT; it is tried again by itself"
        )
