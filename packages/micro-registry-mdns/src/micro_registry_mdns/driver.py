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
from micro_registry_mdns.links import Link, interface_addresses
from micro_registry_mdns.packets import Out

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
        interfaces: IPv4 addresses; empty for all that this host has.
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
        for address in list(self._links):
            self._read(address)
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

    def _read(self, address: str) -> None:
        try:
            for packet, source in self._links[address].receive(BURST):
                self._receive(address, source, packet)
        except OSError as error:
            self._drop(address, error)

    def _receive(self, address: str, source: tuple[str, int], packet: bytes) -> None:
        """A packet is untrusted: one that trips a fault of ours costs nothing but itself, and one entry in the log."""
        try:
            self.engine.receive(address, source, packet, self._clock())
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
            while self._links.get(link.address) is link:
                await anyio.wait_readable(sock)
                self.pump()
        except (OSError, ValueError, anyio.ClosedResourceError) as error:
            if self._links.get(link.address) is link:
                self._drop(link.address, error)

    async def _keep_links(self) -> None:
        while True:
            await anyio.sleep(RECONCILE)
            for link in list(self._links.values()):
                if link.is_deaf(self._clock()):
                    self._drop(link.address, "nothing that is sent there arrives")
            self._reconcile()
            self.pump()

    def _reconcile(self) -> None:
        """Closes links whose interface is gone, and opens what is missing."""
        present = interface_addresses()
        for address in set(self._links) - set(self._interfaces or present):
            self._drop(address, "the interface is gone")
        failures = [error for error in map(self._open, self._interfaces or present) if error]
        if not self._links:
            self._unavailable("; ".join(failures) or "this host has no interface with an IPv4 address")

    def _open(self, address: str) -> str:
        if address in self._links:
            return ""
        try:
            link = Link(address, self._port)
        except OSError as error:
            return self._not_opened(address, error)
        self._links[address] = link
        self._told.discard(address)
        self.engine.add_link(address, self._clock())
        for sock in link.sockets:
            self._tasks.start_soon(self._keep, partial(self._keep_reading, link, sock))
        self._available()
        return ""

    def _not_opened(self, address: str, error: OSError) -> str:
        text = f"interface {address}: {error.strerror or error}"
        if self._interfaces and address not in self._told:
            self._told.add(address)
            log.warning("mdns cannot use %s (option interfaces); it is tried again", text)
        return text

    def _drop(self, address: str, reason: object) -> None:
        link = self._links.pop(address)
        log.warning("mdns lost interface %s: %s", address, reason)
        self.engine.remove_link(address)
        for sock in link.sockets:
            if sock.fileno() >= 0:
                anyio.notify_closing(sock)
        link.close()
        if not self._links:
            self._unavailable(f"interface {address}: {reason}")

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
            f"multicast DNS on UDP port {self._port} is impossible: {why}; choose addresses of this host by "
            "MICRO_REGISTRY_MDNS_INTERFACES (127.0.0.1 works without a network) or another port by "
            "MICRO_REGISTRY_MDNS_PORT; it is tried again by itself"
        )
