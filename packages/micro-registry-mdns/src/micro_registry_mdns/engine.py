"""Responder and listener as one: packets and times in, packets and snapshots out."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from micro_core import ServiceRecord

from micro_registry_mdns import packets
from micro_registry_mdns.listener import Known, Listener
from micro_registry_mdns.protocol import LEASE, LOOKUP, MAX_QUESTIONS, STALL
from micro_registry_mdns.responder import NEVER, Key, OwnNode, Responder


class Engine:
    """One registry's side of the protocol. Links are named by their own IPv4 address.

    Args:
        port: from which answers must come.
        rng: for the origin's name and jitter.
    """

    def __init__(self, port: int, rng: random.Random) -> None:
        self.responder = Responder(rng.randbytes(8).hex(), rng)
        self.listener = Listener(rng)
        self._rng = rng
        self.links: set[str] = set()
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
    def version(self) -> tuple[int, int]:
        """Changes with every change of what is listed."""
        return (self.listener.version, self._own_version)

    def add_link(self, link: str, now: float) -> None:
        """A link came up."""
        if not self.links:
            self.listener.revive(now + LEASE)
        self.links.add(link)
        self.responder.add_link(link, now)
        self.listener.add_link(link, now)

    def remove_link(self, link: str) -> None:
        """A link went down."""
        self.links.discard(link)
        self.responder.remove_link(link)
        self.listener.remove_link(link)

    def register(self, records: Iterable[ServiceRecord], ttl: float, now: float) -> None:
        """Takes records of one node each, for `ttl` seconds, 0 for ever. Raises as `encode_record`."""
        for record in records:
            if self.responder.register(record, now + ttl if ttl > 0 else NEVER, now):
                self._own_version += 1

    def deregister(self, keys: Iterable[Key], now: float) -> None:
        """Says goodbye."""
        for key in keys:
            if self.responder.deregister(key, now):
                self._own_departures.append(key)
                self._own_version += 1

    def want(self, now: float) -> None:
        """Somebody looks up or watches: from here on the cache is kept up."""
        self._lookup_until = now + LOOKUP
        if self.listener.began is None:
            self.listener.begin(self.links, now)

    def receive(self, link: str, source: tuple[str, int], data: bytes, now: float) -> None:
        """A packet arrived. Never raises, whatever it holds."""
        listening = self.listener.began is not None
        if link not in self.links or len(data) < 12 or (data[2] & 0x80 and not listening):
            return
        heard = packets.read(data)
        if heard is None:
            return
        for name, kind in dict.fromkeys(heard.questions[:MAX_QUESTIONS]):
            self.responder.heard_question(link, name, kind, now)
            self.listener.heard_question(link, name, now)
        if source[1] == self._port:
            self._answered(link, source[0], heard, now)

    def _answered(self, link: str, address: str, heard: packets.Heard, now: float) -> None:
        for text in heard.texts:
            self.listener.heard_text(address, text, now)
        for beat in heard.beats:
            if beat.origin != self.responder.origin:
                self.listener.heard_beat(link, address, beat, now)

    def poll(self, now: float) -> list[tuple[str, bytes]]:
        """What is to be sent now. Everything that had arrived must have been received before."""
        if now - self._expected > STALL:
            self.listener.extend(now - self._expected)
        if self.responder.expire(now):
            self._own_version += 1
        if not self.links:
            self._expected = NEVER
            return []
        if self.listener.began is not None and not self.watchers and self._lookup_until <= now:
            self.listener = Listener(self._rng, self.listener.version + 1)
        out = [*self.responder.poll(now), *self.listener.poll(now)]
        self._expected = self.next_due()
        return out

    def next_due(self) -> float:
        """When `poll` should be called, at the latest."""
        if not self.links:
            return self.responder.next_expiry()
        return min(self.responder.next_due(), self.responder.next_expiry(), self.listener.next_due())

    def departures(self) -> list[Key]:
        """Nodes that said goodbye since this was last asked, and are not there any more."""
        gone = self._own_departures + self.listener.departures
        self._own_departures, self.listener.departures = [], []
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
        nodes: dict[Key, Known | OwnNode] = {**self.listener.nodes(self.links), **self.responder.nodes}
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
