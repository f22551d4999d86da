"""What was heard of nodes by Go Micro's names, and what is to be asked; the rules are in `go_names`."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from micro_core import Node

from micro_registry_mdns import packets
from micro_registry_mdns.go_names import (
    ANSWERED,
    ASK,
    AT_MOST,
    CHECK,
    CHECKS,
    DOMAINS,
    FIRST_ASKS,
    LIST,
    LOOKUP,
    MAX_BYTES,
    MAX_NAMES,
    MAX_NODES,
    QUIET,
    QUIET_ASK,
    SETTLE,
    Told,
    question,
    read_text,
)
from micro_registry_mdns.left_out import LeftOut
from micro_registry_mdns.listener import Known
from micro_registry_mdns.packets import ANY, PTR, Out
from micro_registry_mdns.record_text import BadRecord
from micro_registry_mdns.responder import NEVER, Key


@dataclass(slots=True)
class Name:
    """A service that is asked for, or all of them.

    Attributes:
        until: when nobody wants to know any more.
        watchers: how many want to know until they say otherwise.
        asked: when it was asked for last.
    """

    began: float
    until: float
    watchers: int = 0
    stage: int = 0
    due: float = 0.0
    asked: float = -NEVER
    news: float = -NEVER


@dataclass(slots=True)
class Place:
    """A node as heard from one address, on a link, in a domain; `instance` is its name without the domain."""

    known: Known
    link: str
    domain: str
    instance: str
    text: bytes
    last: float
    checks: int = 0
    check: float = field(default=NEVER)


class GoListener:
    """Names, nodes and open questions. `version` changes with every change of what is listed."""

    def __init__(self, rng: random.Random, *, beats: bool) -> None:
        self.version = 0
        self.departures: list[Key] = []
        self._rng = rng
        self._beats = beats
        self._links: set[str] = set()
        self._names: dict[str | None, Name] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._bytes = 0
        self._bad = LeftOut()
        self._sweep_due = NEVER
        self._check_due = NEVER

    def add_link(self, link: str, now: float) -> None:
        """A link came up: everything is asked anew."""
        self._links.add(link)
        for name in self._names.values():
            name.stage, name.due = 0, now

    def remove_link(self, link: str) -> None:
        """A link went down; what it told is kept until somebody is missing elsewhere, too."""
        self._links.discard(link)

    def extend(self, seconds: float) -> None:
        """We were held up ourselves: everybody gets that time in addition."""
        self._check_due += seconds
        for place in self._places.values():
            place.check += seconds

    def want(self, name: str | None, now: float) -> None:
        """Somebody looks a name up, or everything for None: from here on it is asked for."""
        known = self._names.get(name)
        if known is None:
            if len(self._names) >= MAX_NAMES:
                return
            known = self._names[name] = Name(now, now, due=now)
            self._sweep_due = min(self._sweep_due, now + LOOKUP)
        known.until = max(known.until, now + LOOKUP)

    @property
    def listens(self) -> bool:
        """Whether somebody wants to know anything."""
        return bool(self._names)

    def watch(self, name: str | None) -> None:
        """Who wants to know goes on to, until `unwatch`."""
        if name in self._names:
            self._names[name].watchers += 1

    def unwatch(self, name: str | None) -> None:
        """One watcher less."""
        if name in self._names:
            self._names[name].watchers = max(0, self._names[name].watchers - 1)

    def settled(self, name: str | None, now: float) -> bool:
        """Whether those who are there have answered, as far as can be known."""
        known = self._names.get(name)
        if known is None or not self._links:
            return True
        waited = now - known.began
        wanted = [known, *self._names.values()] if name is None else [known]
        quiet = all(now - one.began >= SETTLE and now - one.news >= QUIET for one in wanted)
        return quiet or waited >= AT_MOST

    def heard(self, link: str, source: str, told: Iterable[Told], listed: Iterable[str], now: float) -> None:
        """A packet told of nodes and of services."""
        for service in listed:
            if None in self._names:
                self.want(service, now)
        for one in told:
            name = None if one.beats and self._beats else self._wanted(one.instance)
            if name is not None:
                self._take(link, source, one, name, now)

    def _wanted(self, instance: str) -> Name | None:
        """The name that a node is of, where somebody wants to know; the longest where several would do."""
        at = instance.find(".")
        while at >= 0:
            found = self._names.get(instance[at + 1 :])
            if found is not None:
                return found
            at = instance.find(".", at + 1)
        return self._names.get(None)

    def _take(self, link: str, source: str, told: Told, name: Name, now: float) -> None:
        where = (source, told.instance)
        place = self._places.get(where)
        if told.leaves:
            self._goodbye(source, told.instance)
            return
        if place is None or (place.text, place.known.record.nodes[0].address) != (told.text, told.address):
            place = self._read(link, source, told, now)
            if place is None:
                return
            name.news = now
        place.last, place.link, place.domain = now, link, told.domain
        place.checks, place.check = 0, NEVER

    def _goodbye(self, source: str, instance: str) -> None:
        """Is believed of the address that the node was heard from, or is served at; this host is known by several."""
        local = self._local(source)
        for where, place in [(where, place) for where, place in self._places.items() if where[1] == instance]:
            if source in (where[0], host_of(place.known)) or (local and self._local(where[0])):
                self.departures.append(place.known.key)
                self._drop(where)

    def _local(self, address: str) -> bool:
        return address in self._links or packets.is_loopback(address)

    def _read(self, link: str, source: str, told: Told, now: float) -> Place | None:
        where = (source, told.instance)
        try:
            record, size = read_text(told.text)
            if not told.instance.endswith(f".{record.name}"):
                raise BadRecord(f"it is of {record.name!r}")
        except BadRecord as error:
            self._bad.add(where, f"a record of {told.instance[:255]}", source, error)
            return None
        if where in self._places:
            self._drop(where)
        if len(self._places) >= MAX_NODES or self._bytes + size > MAX_BYTES:
            return None
        id = told.instance.removesuffix(f".{record.name}")
        record = replace(record, nodes=(Node(id, told.address, record.metadata),), metadata={})
        known = Known(record, (record.name, id), size, now)
        place = self._places[where] = Place(known, link, told.domain, told.instance, told.text, now)
        self._bytes += size
        self.version += 1
        return place

    def _drop(self, where: tuple[str, str]) -> None:
        self._bytes -= self._places.pop(where).known.size
        self.version += 1

    def poll(self, now: float) -> Iterator[Out]:
        """The questions that are due."""
        if self._sweep_due <= now:
            self._sweep(now)
        for name, known in self._names.items():
            if known.due <= now and self._links:
                self._asked(name, known, now)
                yield from self._ask([f"{LIST if name is None else name}.{domain}." for domain in DOMAINS], PTR)
        if self._check_due <= now:
            for where, place in list(self._places.items()):
                if place.check <= now:
                    yield from self._check(where, place, now)
            self._check_due = min((place.check for place in self._places.values()), default=NEVER)

    def _asked(self, name: str | None, known: Name, now: float) -> None:
        known.asked, known.stage = now, known.stage + 1
        of_name = [place for place in self._places.values() if name in (None, place.known.record.name)]
        if known.stage < len(FIRST_ASKS):
            known.due = now + FIRST_ASKS[known.stage]
        else:
            known.due = now + (ASK if of_name else QUIET_ASK) * self._rng.uniform(0.9, 1.1)
        self._check_due = min(self._check_due, now + ANSWERED)
        for place in of_name:
            if name is not None or place.known.record.name not in self._names:
                place.check = min(place.check, now + ANSWERED)

    def _ask(self, names: Iterable[str], kind: int, links: Collection[str] | None = None) -> Iterator[Out]:
        for name in names:
            packet = question(name, kind, self._rng.randrange(1, 65536), beats=self._beats)
            yield from (Out(link, packet, None, True) for link in sorted(self._links if links is None else links))

    def _check(self, where: tuple[str, str], place: Place, now: float) -> Iterator[Out]:
        """Asks a node that was silent by its name, and drops it when that happened often enough."""
        if place.checks >= CHECKS:
            self._drop(where)
            return
        place.checks += 1
        place.check = now + CHECK
        yield from self._ask([f"{place.instance}.{place.domain}."], ANY, self._links & {place.link})

    def _sweep(self, now: float) -> None:
        """Forgets names that nobody wants any more, and their nodes."""
        self._sweep_due = now + LOOKUP if self._names else NEVER
        for name in [name for name, known in self._names.items() if not known.watchers and known.until <= now]:
            del self._names[name]
        for where in [where for where, place in self._places.items() if self._wanted(place.instance) is None]:
            self._drop(where)

    def next_due(self) -> float:
        """When `poll` has something to do."""
        asks = min((known.due for known in self._names.values()), default=NEVER) if self._links else NEVER
        return min(self._sweep_due, asks, self._check_due)

    def nodes(self) -> dict[Key, Known]:
        """Every node that is listed; of several addresses that claim one, the first keeps it."""
        found: dict[Key, Known] = {}
        for (source, _), place in self._places.items():
            if self._local(source) or not packets.is_loopback(host_of(place.known)):
                found.setdefault(place.known.key, place.known)
        return found


def host_of(known: Known) -> str:
    """Where a node is served."""
    return packets.host_of(known.record.nodes[0].address)
