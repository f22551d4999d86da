"""What this registry says about its own nodes by Go Micro's names; the rules are in `go_names`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from micro_core import ServiceRecord

from micro_registry_mdns import packets
from micro_registry_mdns.go_names import (
    ANNOUNCE,
    DOMAINS,
    LIST,
    REPLIES,
    Asked,
    Spoken,
    announcement,
    answer,
    domain_of,
    listing,
    spoken,
    within,
)
from micro_registry_mdns.packets import ANY, PTR, Out
from micro_registry_mdns.responder import NEVER, Key

log = logging.getLogger("micro.registry.mdns")


@dataclass(slots=True)
class GoLink:
    """What is due on one link, and how many answers it may still give."""

    loopback: bool
    filled: float
    due: dict[Key, tuple[int, float]] = field(default_factory=dict)
    leaving: list[Spoken] = field(default_factory=list)
    answers: list[tuple[bytes, tuple[str, int]]] = field(default_factory=list)
    left: float = 4 * REPLIES

    def shows(self, node: Spoken) -> bool:
        """Whether a node is told of here: one at a loopback address on the loopback interface alone."""
        return self.loopback or not packets.is_loopback(node.host)

    def may_answer(self, now: float) -> bool:
        """Whether one more answer is within bounds; counts it."""
        self.left = min(4 * REPLIES, self.left + (now - self.filled) * REPLIES)
        self.filled = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class GoResponder:
    """Own nodes, and what is to be sent about them when."""

    def __init__(self, *, beats: bool) -> None:
        self._beats = beats
        self._nodes: dict[Key, Spoken] = {}
        self._named: dict[str, list[Key]] = {}
        self._links: dict[str, GoLink] = {}

    def add_link(self, link: str, now: float) -> None:
        """A link came up: everything is announced on it."""
        state = self._links[link] = GoLink(packets.is_loopback(link), now)
        state.due = {key: (0, now) for key, node in self._nodes.items() if state.shows(node)}

    def remove_link(self, link: str) -> None:
        """A link went down."""
        self._links.pop(link, None)

    def register(self, record: ServiceRecord, now: float) -> None:
        """Takes one node, or another record of it; one that these names cannot hold is left out, and the log told."""
        key = (record.name, record.nodes[0].id)
        try:
            node = spoken(record, beats=self._beats)
        except ValueError as error:
            self.deregister(key)
            log.warning("Go Micro will not find node %s of %s by mdns: %s", key[1], key[0], error)
            return
        if self._nodes.get(key) is None:
            for name in (node.service, node.instance):
                self._named.setdefault(name, []).append(key)
        self._nodes[key] = node
        for state in self._links.values():
            if state.shows(node):
                state.due[key] = (0, now)

    def deregister(self, key: Key) -> None:
        """Says goodbye to a node; nothing is said of one that is not known."""
        node = self._nodes.pop(key, None)
        if node is None:
            return
        for name in (node.service, node.instance):
            self._named[name].remove(key)
            if not self._named[name]:
                del self._named[name]
        for state in self._links.values():
            state.due.pop(key, None)
            if state.shows(node):
                state.leaving.append(node)

    def heard(self, link: str, source: tuple[str, int], asked: Iterable[Asked], now: float) -> None:
        """Answers questions."""
        state = self._links[link]
        for one in dict.fromkeys(asked):
            for packet in self._answers(state, one):
                if not state.may_answer(now):
                    return
                state.answers.append((packet, source))

    def _answers(self, state: GoLink, asked: Asked) -> Iterator[bytes]:
        domain = domain_of(asked.name)
        name = within(asked.name, domain)
        if name == LIST and asked.kind in (PTR, ANY):
            hosts = {node.service: node.host for node in self._nodes.values() if state.shows(node)}
            yield from (listing(service, host, domain, asked) for service, host in hosts.items())
        for key in self._named.get(name, ()):
            node = self._nodes[key]
            packet = answer(node, domain, asked) if state.shows(node) else None
            if packet is not None:
                yield packet

    def poll(self, now: float) -> Iterator[Out]:
        """The packets that are due."""
        for link, state in self._links.items():
            answers, state.answers = state.answers, []
            yield from (Out(link, packet, to) for packet, to in answers)
            leaving, state.leaving = state.leaving, []
            yield from (Out(link, announcement(node, domain, leaves=True)) for node in leaving for domain in DOMAINS)
            for key, (stage, due) in list(state.due.items()):
                if due <= now:
                    yield from (Out(link, announcement(self._nodes[key], domain)) for domain in DOMAINS)
                    self._announced(state, key, stage + 1, now)

    def _announced(self, state: GoLink, key: Key, stage: int, now: float) -> None:
        if stage < len(ANNOUNCE):
            state.due[key] = (stage, now + ANNOUNCE[stage])
        else:
            del state.due[key]

    def farewell(self) -> Iterator[Out]:
        """The last packets: a goodbye to every node."""
        for key in list(self._nodes):
            self.deregister(key)
        yield from self.poll(-NEVER)

    def next_due(self) -> float:
        """When `poll` has something to do."""
        return min((self._due(state) for state in self._links.values()), default=NEVER)

    def _due(self, state: GoLink) -> float:
        if state.answers or state.leaving:
            return -NEVER
        return min((due for _, due in state.due.values()), default=NEVER)
