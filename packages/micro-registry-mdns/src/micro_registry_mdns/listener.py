"""What was heard of others, and what is to be asked; the rules are in `protocol`."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from micro_core import ServiceRecord

from micro_registry_mdns import packets
from micro_registry_mdns.left_out import LeftOut
from micro_registry_mdns.packets import Beat
from micro_registry_mdns.protocol import (
    ALONE,
    ASK_BEATS,
    ASK_SUSPECT,
    AT_MOST,
    FIRST_ASKS,
    JITTER,
    LEASE,
    MAX_NAMED,
    MAX_ORIGINS,
    MAX_ORIGINS_PER_ADDRESS,
    MAX_ORPHANS,
    MAX_OWN,
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    MAX_WANTED,
    QUESTIONS,
    QUIET,
    REASK,
    SETTLE,
    SPACING,
    SUSPECT,
    TOGETHER,
)
from micro_registry_mdns.record_text import BadRecord, decode_record, fingerprint
from micro_registry_mdns.responder import NEVER, Key


@dataclass(slots=True)
class Path:
    """One origin as heard from one address."""

    link: str
    address: str
    origin: str
    order: int
    sequence: int
    expires: float
    suspect: float
    present: frozenset[bytes]


@dataclass(slots=True)
class Known:
    """A record that was heard."""

    record: ServiceRecord
    key: Key
    size: int
    heard: float


@dataclass(slots=True)
class Wanted:
    """A record that is missing, and how often it was asked for."""

    link: str
    due: float
    tries: int = 0


class Listener:
    """Origins, records and open questions. `version` changes with every change of what is listed."""

    def __init__(self, rng: random.Random, version: int = 0) -> None:
        self.version = version
        self.paths: dict[tuple[str, str], Path] = {}
        self.departures: list[Key] = []
        self.began: float | None = None
        self._records: dict[bytes, Known] = {}
        self._orphans: set[bytes] = set()
        self._bytes = 0
        self._wanted: dict[bytes, Wanted] = {}
        self._bad = LeftOut()
        self._asks: dict[str, tuple[int, float]] = {}
        self._owner: dict[Key, str] = {}
        self._news = 0.0
        self._asked = -NEVER
        self._order = 0
        self._settled = False
        self._rng = rng
        self._sweep_due = NEVER

    def begin(self, links: Collection[str], now: float) -> None:
        """Somebody listens: ask."""
        self.began = self._news = now
        self._settled = False
        self._asks = dict.fromkeys(links, (0, now))
        self._sweep_due = now + 1.0

    def add_link(self, link: str, now: float) -> None:
        """A link came up."""
        if self.began is not None:
            self._asks[link] = (0, now)

    def remove_link(self, link: str) -> None:
        """A link went down: its questions are dropped; what it told lives as long as it was to live."""
        self._asks.pop(link, None)

    def ask_now(self, now: float) -> None:
        """Asks for beats at once, on every link, unless that was done just now."""
        if now - self._asked >= SPACING:
            self._asks = {link: (stage, now) for link, (stage, _) in self._asks.items()}

    def extend(self, seconds: float) -> None:
        """We were held up ourselves: everybody gets that time in addition."""
        for path in self.paths.values():
            path.expires += seconds
            path.suspect += seconds

    def revive(self, until: float) -> None:
        """The links were down, so that silence said nothing: everybody lives until then at least."""
        for path in self.paths.values():
            path.expires = max(path.expires, until)

    def settled(self, now: float) -> bool:
        """Whether those who are there have answered, as far as can be known."""
        if not self._settled and self.began is not None:
            waited = now - self.began
            pending = any(want.tries < 5 for want in self._wanted.values())
            enough = SETTLE if self.paths else ALONE
            quiet = waited >= enough and now - self._news >= QUIET and not pending
            self._settled = quiet or waited >= AT_MOST
        return self._settled

    def heard_question(self, link: str, name: str, now: float) -> None:
        """Another asked: our own question can wait, the answer is for all."""
        if name == packets.BEATS and link in self._asks:
            stage, due = self._asks[link]
            if stage >= len(FIRST_ASKS):
                self._asks[link] = (stage, max(due, now + self._rng.uniform(1.0, 1.2) * ASK_BEATS))
        elif name.endswith(packets.RECORDS):
            self._put_off(name.removesuffix("." + packets.RECORDS), now)
        elif name.endswith(packets.BEATS):
            for path in self._of_origin(name.removesuffix("." + packets.BEATS)):
                path.suspect = max(path.suspect, now + ASK_SUSPECT * 0.7)

    def _put_off(self, wanted: str, now: float) -> None:
        try:
            want = self._wanted.get(bytes.fromhex(wanted))
        except ValueError:
            return
        if want is not None:
            want.due = max(want.due, now + REASK[0])

    def _of_origin(self, origin: str) -> list[Path]:
        return [path for path in self.paths.values() if path.origin == origin]

    def heard_text(self, address: str, text: bytes, now: float) -> None:
        """A node's text; kept when a beat names it, or until one does."""
        name = fingerprint(text)
        if name in self._records or name in self._bad:
            return
        try:
            record, size = decode_record(text)
        except BadRecord as error:
            self._wanted.pop(name, None)
            self._bad.add(name, "a record", address, error)
            return
        self._keep(name, Known(record, (record.name, record.nodes[0].id), size, now), now)

    def _keep(self, name: bytes, known: Known, now: float) -> None:
        orphan = name not in self._wanted
        if orphan and len(self._orphans) >= MAX_ORPHANS:
            return
        if len(self._records) >= MAX_RECORDS or self._bytes + known.size > MAX_RECORD_BYTES:
            return
        self._records[name] = known
        self._bytes += known.size
        if orphan:
            self._orphans.add(name)
        else:
            del self._wanted[name]
            self._changed(now)

    def _changed(self, now: float) -> None:
        self.version += 1
        self._news = now

    def heard_beat(self, link: str, address: str, beat: Beat, now: float) -> None:
        """An origin lives and says what it holds."""
        if len(beat.present) > MAX_OWN:
            return
        path = self.paths.get((address, beat.origin)) or self._new_path(link, address, beat, now)
        if path is None or beat.sequence <= path.sequence or not self._has_room(path, beat):
            return
        before, path.sequence, path.link = path.present, beat.sequence, link
        lease = min(beat.ttl, 60) or LEASE
        path.expires, path.suspect = now + lease, now + lease * SUSPECT / LEASE
        path.present = beat.present if beat.ttl else frozenset()
        if path.present != before:
            self._compare(path, before, beat, now)

    def _new_path(self, link: str, address: str, beat: Beat, now: float) -> Path | None:
        of_address = sum(1 for known, _ in self.paths if known == address)
        if not beat.ttl or len(self.paths) >= MAX_ORIGINS or of_address >= MAX_ORIGINS_PER_ADDRESS:
            return None
        self._order += 1
        path = Path(link, address, beat.origin, self._order, -1, now, now, frozenset())
        self.paths[address, beat.origin] = path
        return path

    def _has_room(self, path: Path, beat: Beat) -> bool:
        more = len(beat.present) - len(path.present)
        if more <= 0:
            return True
        all_named = sum(len(known.present) for known in self.paths.values())
        its_own = sum(len(known.present) for known in self.paths.values() if known.address == path.address)
        return all_named + more <= MAX_NAMED and its_own + more <= MAX_RECORDS

    def _compare(self, path: Path, before: frozenset[bytes], beat: Beat, now: float) -> None:
        due = now + self._rng.uniform(0, JITTER)
        for name in path.present - before:
            self._orphans.discard(name)
            self._want(name, path, due)
        for name in before & beat.gone:
            if name in self._records:
                self.departures.append(self._records[name].key)
        self._changed(now)

    def _want(self, name: bytes, path: Path, due: float) -> None:
        known = name in self._records or name in self._bad or name in self._wanted
        if not known and len(self._wanted) < MAX_WANTED:
            self._wanted[name] = Wanted(path.link, due)

    def poll(self, now: float) -> Iterator[tuple[str, bytes]]:
        """The questions that are due, each packet with its link."""
        if self.began is None:
            return
        self._sweep(now)
        for link in list(self._asks):
            names = [*self._due_beats(link, now), *self._due_records(link, now)]
            for start in range(0, len(names), QUESTIONS):
                yield link, packets.ask(names[start : start + QUESTIONS])

    def _due_beats(self, link: str, now: float) -> Iterator[tuple[str, int]]:
        stage, due = self._asks[link]
        if due <= now and self.began is not None:
            self._asked = now
            self._asks[link] = (stage + 1, self._next_ask(stage + 1, now))
            yield packets.BEATS, packets.TXT
        for path in self.paths.values():
            if path.link == link and path.suspect <= now and path.present:
                path.suspect = now + ASK_SUSPECT
                yield f"{path.origin}.{packets.BEATS}", packets.TXT

    def _next_ask(self, stage: int, now: float) -> float:
        if stage < len(FIRST_ASKS):
            return now + FIRST_ASKS[stage] - FIRST_ASKS[stage - 1]
        return now + self._rng.uniform(0.9, 1.1) * ASK_BEATS

    def _due_records(self, link: str, now: float) -> Iterator[tuple[str, int]]:
        of_link = [(name, want) for name, want in self._wanted.items() if want.link == link]
        if all(want.due > now for _, want in of_link):
            return
        for name, want in of_link:
            if want.due <= now + TOGETHER:
                want.due = now + REASK[min(want.tries, len(REASK) - 1)]
                want.tries += 1
                yield f"{name.hex()}.{packets.RECORDS}", packets.TXT

    def _sweep(self, now: float) -> None:
        """Drops origins whose time is over; once a second also records that nobody names."""
        lapsed = [place for place, path in self.paths.items() if path.expires <= now]
        for place in lapsed:
            if self.paths.pop(place).present:
                self._changed(now)
        if self._sweep_due <= now or lapsed:
            self._sweep_due = now + 1.0
            self._tidy(now)

    def _tidy(self, now: float) -> None:
        """Drops records and questions that no origin names, and takes up those that had to wait."""
        named = frozenset[bytes]().union(*(path.present for path in self.paths.values()))
        for name in [name for name in self._wanted if name not in named]:
            del self._wanted[name]
        for path in self.paths.values():
            for name in path.present:
                self._want(name, path, now)
        for name, known in list(self._records.items()):
            if name not in named and known.heard + LEASE <= now:
                self._bytes -= self._records.pop(name).size
        self._orphans.intersection_update(self._records)

    def next_due(self) -> float:
        """When `poll` has something to do."""
        if self.began is None:
            return NEVER
        return min(
            self._sweep_due,
            min((due for _, due in self._asks.values()), default=NEVER),
            min((want.due for want in self._wanted.values() if want.link in self._asks), default=NEVER),
            min((self._next_look(path) for path in self.paths.values() if path.present), default=NEVER),
        )

    def _next_look(self, path: Path) -> float:
        return min(path.suspect, path.expires) if path.link in self._asks else path.expires

    def nodes(self, own_addresses: Collection[str]) -> dict[Key, Known]:
        """Every node that is listed, as a record with this one node."""
        claims: dict[Key, dict[str, Known]] = {}
        for path in sorted(self.paths.values(), key=lambda path: path.order):
            near = path.address in own_addresses or packets.is_loopback(path.address)
            for name in path.present:
                known = self._records.get(name)
                if known is not None and (near or not _loopback(known.record)):
                    claims.setdefault(known.key, {})[path.address] = known
        self._owner = {key: self._keeper(key, claim) for key, claim in claims.items()}
        return {key: claim[self._owner[key]] for key, claim in claims.items()}

    def _keeper(self, key: Key, claim: dict[str, Known]) -> str:
        owner = self._owner.get(key)
        return owner if owner in claim else next(iter(claim))


def _loopback(record: ServiceRecord) -> bool:
    return packets.is_loopback(packets.host_of(record.nodes[0].address))
