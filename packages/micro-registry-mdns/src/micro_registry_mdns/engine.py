"""Responder and listener as one: packets and times in, packets and snapshots out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

from micro_core import ServiceRecord

from micro_registry_mdns import packets
from micro_registry_mdns.go_listener import GoListener
from micro_registry_mdns.go_names import asked_in, told_in
from micro_registry_mdns.go_responder import GoResponder
from micro_registry_mdns.listener import Known, Listener
from micro_registry_mdns.packets import Out
from micro_registry_mdns.protocol import LEASE, LOOKUP, MAX_QUESTIONS, STALL
from micro_registry_mdns.responder import NEVER, Key, OwnNode, Responder


class Engine:
    """One registry's side of the protocol. Links are named by an address of their own.

    `second` are those by IPv6 where there is one by IPv4: see `protocol`.

    Args:
        port: from which answers must come.
        rng: for the origin's name and jitter.
        beats: whether it speaks `protocol`.
        go: whether it speaks `go_names`, too.
    """

    def __init__(self, port: int, rng: random.Random, *, beats: bool = True, go: bool = False) -> None:
        self.beats = beats
        self.go = go
        self.responder = Responder(rng.randbytes(8).hex(), rng)
        self.listener = Listener(rng)
        self.go_responder = GoResponder(beats=beats)
        self.go_listener = GoListener(rng, beats=beats)
        self._rng = rng
        self.links: set[str] = set()
        self.second: frozenset[str] = frozenset()
        self.watchers = 0
        self._port = port
        self._lookup_until = -NEVER
        self._expected = NEVER
        self._own_version = 0
        self._view: dict[str, tuple[ServiceRecord, ...]] = {}
        self._ids: frozenset[Key] = frozenset()
        self._viewed: object = None
        self._own_departures: list[Key] = []

    @property
    def version(self) -> tuple[int, int, int]:
        """Changes with every change of what is listed."""
        return (self.listener.version, self.go_listener.version, self._own_version)

    def add_link(self, link: str, now: float) -> None:
        """A link came up."""
        if not self.links:
            self.listener.revive(now + LEASE)
        self.links.add(link)
        if self.beats:
            self.responder.add_link(link, now)
            self.listener.add_link(link, now)
        if self.go:
            self.go_responder.add_link(link, now)
            self.go_listener.add_link(link, now)

    def remove_link(self, link: str) -> None:
        """A link went down."""
        self.links.discard(link)
        for part in (self.responder, self.listener, self.go_responder, self.go_listener):
            part.remove_link(link)

    def register(self, records: Iterable[ServiceRecord], ttl: float, now: float) -> None:
        """Takes records of one node each, for `ttl` seconds, 0 for ever. Raises as `encode_record`."""
        for record in records:
            if self.responder.register(record, now + ttl if ttl > 0 else NEVER, now):
                self._own_version += 1
                if self.go:
                    self.go_responder.register(record, now)

    def deregister(self, keys: Iterable[Key], now: float) -> None:
        """Says goodbye."""
        for key in keys:
            self.go_responder.deregister(key)
            if self.responder.deregister(key, now):
                self._own_departures.append(key)
                self._own_version += 1

    def want(self, now: float, name: str | None = None) -> None:
        """Somebody looks up a name, or everything: from here on the cache is kept up."""
        self._lookup_until = now + LOOKUP
        if self.beats and self.listener.began is None:
            self.listener.begin(self.links, now)
        if self.go:
            self.go_listener.want(name, now)

    def watch(self, now: float, name: str | None) -> None:
        """The same, until `unwatch`."""
        self.watchers += 1
        self.want(now, name)
        self.go_listener.watch(name)

    def unwatch(self, name: str | None) -> None:
        """Ends one `watch`."""
        self.watchers -= 1
        self.go_listener.unwatch(name)

    def ask_now(self, now: float) -> None:
        """Asks for beats at once, unless that was done just now."""
        if self.beats:
            self.listener.ask_now(now)

    def settled(self, now: float, name: str | None) -> bool:
        """Whether those who are there have answered, as far as can be known. Somebody must want to know."""
        ours = not self.beats or self.listener.settled(now)
        return ours and (not self.go or self.go_listener.settled(name, now))

    def receive(self, link: str, source: tuple[str, int], data: bytes, now: float) -> None:
        """A packet arrived. Never raises, whatever it holds."""
        is_answer = len(data) >= 12 and bool(data[2] & 0x80)
        doubled = link in self.second and packets.is_doubled(data)
        if link not in self.links or len(data) < 12 or (is_answer and (doubled or not self._listens(source))):
            return
        packet = packets.parse(data)
        if packet is None:
            return
        if self.beats:
            self._hear(link, source, packets.read(packet), doubled, now)
        if self.go and is_answer:
            self.go_listener.heard(link, source[0], *told_in(packet), now)
        elif self.go and not doubled:
            self.go_responder.heard(link, source, asked_in(packet, beats=self.beats)[:MAX_QUESTIONS], now)

    def _listens(self, source: tuple[str, int]) -> bool:
        """Whether an answer can be of use; answers come from the protocol's port (RFC 6762 §6)."""
        return source[1] == self._port and (self.listener.began is not None or self.go_listener.listens)

    def _hear(self, link: str, source: tuple[str, int], heard: packets.Heard, doubled: bool, now: float) -> None:
        for name, kind in dict.fromkeys(heard.questions[:MAX_QUESTIONS]):
            if not doubled:
                self.responder.heard_question(link, name, kind, now)
            self.listener.heard_question(link, name, now)
        if self.listener.began is not None:
            self._answered(link, source[0], heard, now)

    def _answered(self, link: str, address: str, heard: packets.Heard, now: float) -> None:
        for text in heard.texts:
            self.listener.heard_text(address, text, now)
        for beat in heard.beats:
            if beat.origin != self.responder.origin:
                self.listener.heard_beat(link, address, beat, now)

    def poll(self, now: float) -> list[Out]:
        """What is to be sent now. Everything that had arrived must have been received before."""
        if now - self._expected > STALL:
            self.extend(now - self._expected)
        for key in self.responder.expire(now):
            self._own_version += 1
            self.go_responder.deregister(key)
        if not self.links:
            self._expected = NEVER
            return []
        if self.listener.began is not None and not self.watchers and self._lookup_until <= now:
            self.listener = Listener(self._rng, self.listener.version + 1)
        ours = [Out(*said) for part in (self.responder, self.listener) for said in part.poll(now)]
        out = [*self._doubled(ours), *self.go_responder.poll(now), *self._doubled(self.go_listener.poll(now))]
        self._expected = self.next_due()
        return out

    def _doubled(self, said: Iterable[Out]) -> Iterator[Out]:
        """Packets, those of second links with a word that they are; Go Micro would take it for another node."""
        for out in said:
            yield out._replace(packet=packets.doubled(out.packet)) if out.link in self.second else out

    def extend(self, seconds: float) -> None:
        """For so long it could not be heard whether others said something: they get that time in addition."""
        self.listener.extend(seconds)
        self.go_listener.extend(seconds)

    def farewell(self) -> list[Out]:
        """The last packets."""
        ours = self._doubled(Out(*said) for said in self.responder.farewell())
        return [*ours, *self.go_responder.farewell()]

    def next_due(self) -> float:
        """When `poll` should be called, at the latest."""
        if not self.links:
            return self.responder.next_expiry()
        parts = (self.responder, self.listener, self.go_responder, self.go_listener)
        return min(self.responder.next_expiry(), *(part.next_due() for part in parts))

    def departures(self) -> list[Key]:
        """Nodes that said goodbye since this was last asked, and are not there any more."""
        gone = self._own_departures + self.listener.departures + self.go_listener.departures
        self._own_departures, self.listener.departures, self.go_listener.departures = [], [], []
        if gone:
            self._refresh()
        return [key for key in gone if key not in self._ids]

    def present(self, key: Key) -> bool:
        """Whether a node is listed."""
        self._refresh()
        return key in self._ids

    def services(self, name: str | None) -> tuple[ServiceRecord, ...]:
        """What is listed of one name, or of all, sorted by name and version."""
        self._refresh()
        if name is not None:
            return self._view.get(name, ())
        return tuple(record for known in sorted(self._view) for record in self._view[known])

    def _refresh(self) -> None:
        if self._viewed == self.version:
            return
        self._viewed = self.version
        theirs = {**self.go_listener.nodes(), **self.listener.nodes(self.links)}
        nodes: dict[Key, Known | OwnNode] = {**theirs, **self.responder.nodes}
        self._ids = frozenset(nodes)
        self._view = _grouped(nodes)


def _grouped(nodes: dict[Key, Known | OwnNode]) -> dict[str, tuple[ServiceRecord, ...]]:
    versions: dict[tuple[str, str], list[Known | OwnNode]] = {}
    for _, node in sorted(nodes.items(), key=lambda item: item[0]):
        versions.setdefault((node.record.name, node.record.version), []).append(node)
    view: dict[str, tuple[ServiceRecord, ...]] = {}
    for name, version in sorted(versions):
        view[name] = (*view.get(name, ()), _joined(versions[name, version]))
    return view


def _joined(nodes: list[Known | OwnNode]) -> ServiceRecord:
    """Endpoints and metadata are those that were heard of last."""
    last = max(nodes, key=lambda node: node.heard).record
    return replace(last, nodes=tuple(node.record.nodes[0] for node in nodes))
