"""What this registry says about its own nodes, on each link; the rules are in `protocol`."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from micro_core import RegistryUnavailable, ServiceRecord

from micro_registry_mdns import packets
from micro_registry_mdns.packets import Announced, Beat
from micro_registry_mdns.protocol import AGAIN, BEAT, GONE, JITTER, LEASE, LISTENED, MAX_OWN, SPACING
from micro_registry_mdns.record_text import encode_record, fingerprint

Key = tuple[str, str]
"""Service name and node id."""
NEVER = float("inf")


@dataclass(slots=True)
class OwnNode:
    """A node that was registered here, `heard` when; `instance` and `target` as questions name them, in lower case."""

    record: ServiceRecord
    announced: Announced
    fingerprint: bytes
    expires: float
    local: bool
    instance: str
    target: str
    heard: float


@dataclass(slots=True)
class LinkState:
    """What is due on one link."""

    loopback: bool
    beat_due: float = NEVER
    last_beat: float = -NEVER
    listened_until: float = -NEVER
    due: dict[Key, float] = field(default_factory=dict)
    sent: dict[Key, float] = field(default_factory=dict)
    farewell: list[Announced] = field(default_factory=list)
    types_due: bool = False
    spoke: bool = False

    def earliest(self) -> float:
        """When something is to be sent."""
        if self.farewell or self.types_due:
            return -NEVER
        return min(self.beat_due, min(self.due.values(), default=NEVER))


class Responder:
    """Own nodes, and what is to be sent about them when."""

    def __init__(self, origin: str, rng: random.Random) -> None:
        self.origin = origin
        self.nodes: dict[Key, OwnNode] = {}
        self._latest = -NEVER
        self.links: dict[str, LinkState] = {}
        self._gone: dict[bytes, float] = {}
        self._sequence = 0
        self._rng = rng

    def add_link(self, link: str, now: float) -> None:
        """A link came up: everything is announced on it."""
        state = self.links[link] = LinkState(packets.is_loopback(link))
        for key in self._visible(state):
            self._announce(state, key, now)

    def remove_link(self, link: str) -> None:
        """A link went down."""
        self.links.pop(link, None)

    def register(self, record: ServiceRecord, expires: float, now: float) -> bool:
        """Takes one node; True when it is new or changed. Raises as `encode_record`."""
        text = encode_record(record)
        key = (record.name, record.nodes[0].id)
        name, known = fingerprint(text), self.nodes.get(key)
        if known is not None and known.fingerprint == name:
            known.expires = expires
            return False
        if known is None and len(self.nodes) >= MAX_OWN:
            raise RegistryUnavailable(f"one mdns registry announces at most {MAX_OWN} nodes")
        node = packets.announced(record, text)
        local, instance, target = packets.is_loopback(node.host), node.instance.lower(), node.target.lower()
        self.nodes[key] = OwnNode(record, node, name, expires, local, instance, target, self._order(now))
        self._gone.pop(name, None)
        for state in self.links.values():
            if key in self._visible(state):
                self._announce(state, key, now)
        return True

    def _order(self, now: float) -> float:
        """The time, later than any before: clocks are coarse, and what was registered last must be known."""
        self._latest = max(now, math.nextafter(self._latest, math.inf))
        return self._latest

    def _announce(self, state: LinkState, key: Key, now: float) -> None:
        state.due[key] = state.beat_due = now
        state.sent.pop(key, None)

    def deregister(self, key: Key, now: float) -> bool:
        """Says goodbye to a node; False for one that is not ours."""
        node = self._withdraw(key, now)
        if node is not None:
            self._gone[node.fingerprint] = now + GONE
        return node is not None

    def _withdraw(self, key: Key, now: float) -> OwnNode | None:
        node = self.nodes.pop(key, None)
        if node is None:
            return None
        for state in self.links.values():
            state.due.pop(key, None)
            state.sent.pop(key, None)
            if not node.local or state.loopback:
                state.farewell.append(node.announced)
                state.beat_due = now
        return node

    def expire(self, now: float) -> list[Key]:
        """Forgets nodes that nobody registered again, without a goodbye, and old goodbyes."""
        for name in [name for name, until in self._gone.items() if until <= now]:
            del self._gone[name]
        expired = [key for key, node in self.nodes.items() if node.expires <= now]
        for key in expired:
            self._withdraw(key, now)
        return expired

    def next_expiry(self) -> float:
        """When a node's time is over."""
        return min((node.expires for node in self.nodes.values()), default=NEVER)

    def heard_question(self, link: str, name: str, kind: int, now: float) -> None:
        """Puts down what a question asks for; `name` is in lower case."""
        state = self.links[link]
        if name in (packets.BEATS, f"{self.origin}.{packets.BEATS}"):
            self._owe_beat(state, now)
        elif name.endswith(packets.RECORDS):
            self._owe(state, self._by_fingerprint(name.removesuffix("." + packets.RECORDS)), now)
        elif name == packets.TYPE and kind in (packets.PTR, packets.ANY):
            self._owe(state, self._visible(state), now)
        elif name == packets.TYPES and self._visible(state):
            state.types_due = True
        elif name.endswith(".local."):
            self._owe(state, self._by_name(name, kind), now)

    def _owe_beat(self, state: LinkState, now: float) -> None:
        state.listened_until = now + LISTENED
        soonest = max(now + self._rng.uniform(0, JITTER), state.last_beat + SPACING)
        state.beat_due = min(state.beat_due, soonest)

    def _owe(self, state: LinkState, keys: Collection[Key], now: float) -> None:
        jitter = self._rng.uniform(0, JITTER)
        for key in set(keys) & set(self._visible(state)):
            soonest = max(now + jitter, state.sent.get(key, -NEVER) + SPACING)
            state.due[key] = min(state.due.get(key, NEVER), soonest)

    def _by_fingerprint(self, wanted: str) -> list[Key]:
        return [key for key, node in self.nodes.items() if node.fingerprint.hex() == wanted]

    def _by_name(self, name: str, kind: int) -> list[Key]:
        of_instance = kind in (packets.SRV, packets.TXT, packets.ANY)
        of_target = kind in (packets.A, packets.AAAA, packets.ANY)
        return [
            key
            for key, node in self.nodes.items()
            if (of_instance and node.instance == name) or (of_target and node.target == name)
        ]

    def _visible(self, state: LinkState) -> list[Key]:
        return [key for key, node in self.nodes.items() if state.loopback or not node.local]

    def poll(self, now: float) -> Iterator[tuple[str, bytes]]:
        """The packets that are due, each with its link."""
        for link, state in self.links.items():
            if state.earliest() <= now:
                yield from ((link, packet) for packet in self._take(state, now))

    def _take(self, state: LinkState, now: float) -> list[bytes]:
        out = packets.answer_types() if state.types_due else []
        out += packets.answer(state.farewell, None, ttl=0)
        state.farewell, state.types_due = [], False
        nodes = [self.nodes[key].announced for key in self._take_due(state, now)]
        return out + packets.answer(nodes, self._take_beat(state, now))

    def _take_due(self, state: LinkState, now: float) -> list[Key]:
        keys = [key for key, due in state.due.items() if due <= now]
        for key in keys:
            del state.due[key]
            if key not in state.sent:
                state.due[key] = now + AGAIN
            state.sent[key] = now
        return keys

    def _take_beat(self, state: LinkState, now: float) -> Beat | None:
        if state.beat_due > now:
            return None
        present = frozenset(self.nodes[key].fingerprint for key in self._visible(state))
        silent = not present and not self._gone and not state.spoke
        state.last_beat, state.spoke = now, bool(present)
        state.beat_due = NEVER
        if now < state.listened_until and not silent:
            state.beat_due = now + BEAT * self._rng.uniform(0.9, 1.1)
        return None if silent else self._beat(present, LEASE)

    def _beat(self, present: frozenset[bytes], ttl: int) -> Beat:
        self._sequence += 1
        return Beat(self.origin, ttl, self._sequence, present, frozenset(self._gone))

    def farewell(self) -> Iterator[tuple[str, bytes]]:
        """The last packets: a goodbye to every node, twice, since nobody will repeat it."""
        for link, state in self.links.items():
            keys = self._visible(state)
            if not keys:
                continue
            self._sequence += 1
            names = frozenset(self.nodes[key].fingerprint for key in keys)
            beat = Beat(self.origin, 0, self._sequence, frozenset(), names)
            goodbye = packets.answer([self.nodes[key].announced for key in keys], None, ttl=0)
            yield from ((link, packet) for packet in [*packets.answer([], beat) * 2, *goodbye])

    def next_due(self) -> float:
        """When `poll` or `expire` has something to do."""
        return min((state.earliest() for state in self.links.values()), default=NEVER)
