"""Who gets the events of a topic: registry snapshots in, destinations out. Sans-IO; the time is an argument.

A destination is one lane and the members that it may go to: a broadcast subscriber is its own only member, a queue's
members share. A member that said goodbye, or whose id is gone and whose address refuses, is no member any more; one
that is merely gone from the registry is doubted until a dial tells (D: an empty registry proves nothing).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import random

from micro_core import Node, Snapshot
from micro_discovery import usable
from micro_messaging import MEBIBYTE, DuplicateFilter, Lane, Letter, check_topic

from micro_broker_http.releases import Release, release_of
from micro_broker_http.wire import BROADCAST, OWN, SINCE, TLS_NAME

log = logging.getLogger("micro.broker.http")

_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_RECENT = 3.0
_RECENT_LETTERS = 1000
_RECENT_BYTES = 16 * MEBIBYTE


class Member:
    """One node that events are posted to.

    Attributes:
        node: as registered.
        release: whose way it is registered in, and posted to.
        own: whether its answers are acks.
        name: what it says that its certificate holds.
        local: it is a subscription of this broker, whatever the registry says.
        listed: whether the registry knows it.
        flying: events that were posted and not answered.
        failures: dials that failed in a row; until `retry_at` nothing is posted.
    """

    __slots__ = ("failures", "flying", "listed", "local", "name", "node", "own", "release", "retry_at")

    def __init__(self, node: Node, release: Release = Release.V2_5, *, local: bool = False) -> None:
        self.node = node
        self.release = release
        self.own = OWN in node.metadata
        self.name = node.metadata.get(TLS_NAME) or None
        self.local = local
        self.listed = True
        self.flying = 0
        self.failures = 0
        self.retry_at = 0.0

    def refused(self, now: float) -> None:
        """Nothing could be delivered there; it rests for a while."""
        self.failures += 1
        pause = min(_LONGEST_PAUSE, _PAUSE * 2.0 ** min(self.failures - 1, 10))
        self.retry_at = now + pause * (0.5 + 0.5 * random())  # noqa: S311

    def answered(self) -> None:
        """It is there."""
        self.failures = 0
        self.retry_at = 0.0

    @property
    def lost(self) -> bool:
        """Neither listed nor answering."""
        return not self.listed and not self.local and self.failures > 0


@dataclass(frozen=True, slots=True)
class Key:
    """What makes a destination: a topic, and a queue or the id of a broadcast subscriber."""

    topic: str
    queue: str | None
    node: str


class Destination:
    """A lane and its members. `orphaned` is since when there is no member; `closed`: it is forgotten."""

    __slots__ = ("changed", "closed", "key", "lane", "members", "orphaned")

    def __init__(self, key: Key, lane: Lane) -> None:
        self.key = key
        self.lane = lane
        self.members: dict[str, Member] = {}
        self.orphaned: float | None = None
        self.closed = False
        self.changed: Callable[[], None] = _nothing

    def pick(self, now: float, at_once: int) -> Member | None:
        """The member with the least to do that can take an event now; any of several alike."""
        able = [member for member in self.members.values() if member.retry_at <= now and member.flying < at_once]
        return min(able, key=lambda member: (member.flying, random())) if able else None  # noqa: S311

    def next_able(self, now: float, at_once: int) -> float | None:
        """When `pick` finds someone by the mere passing of time."""
        rested = [member.retry_at for member in self.members.values() if member.flying < at_once]
        return max(now, min(rested)) if rested else None


def _nothing() -> None:
    return


class Routes:
    """Every destination that is known, by topic.

    Subscribers that listen by TLS are for publishers that post by TLS, and the others for the others; who is left out
    is told in the log, once.
    """

    def __init__(
        self,
        new_lane: Callable[[str, str], Lane],
        host: str,
        *,
        secure: bool = False,
        older: frozenset[Release] = frozenset(),
    ) -> None:
        self._new_lane = new_lane
        self._host = host
        self._secure = secure
        self._older = older
        self._told = DuplicateFilter()
        self._topics: dict[str, dict[Key, Destination]] = {}
        self._recent: deque[tuple[float, Letter]] = deque()
        self._recent_bytes = 0
        self._departed = DuplicateFilter()

    def of(self, topic: str) -> list[Destination]:
        """Who gets what is published on the topic now."""
        return list(self._topics.get(topic, {}).values())

    def __iter__(self) -> Iterator[Destination]:
        for destinations in self._topics.values():
            yield from destinations.values()

    def published(self, letter: Letter, now: float) -> None:
        """Remembers a letter for subscribers who were there before it, but of whom the registry tells only later."""
        self._recent.append((now, letter))
        self._recent_bytes += letter.size
        self._forget_old(now)

    def update(self, snapshot: Snapshot, now: float) -> list[Destination]:
        """Believes a snapshot; returns the destinations that are new."""
        listed = {
            (key.topic, member.node.id): (key, member)
            for key, member in self._subscribers(snapshot)
            if self._reaches(member.node, now) and not self._departed.seen(member.node.id, now)
        }
        for destination in list(self):
            for member in list(destination.members.values()):
                known = listed.get((destination.key.topic, member.node.id))
                member.listed = known is not None and known[0] == destination.key
                moved = known is not None and not member.listed
                left = known is None and member.node.id in snapshot.departed
                if not member.local and (moved or left or member.lost):
                    self.remove(destination, member, now)
        new = [self._join(key, member, now) for key, member in listed.values()]
        return [destination for destination in new if destination is not None]

    def _subscribers(self, snapshot: Snapshot) -> Iterator[tuple[Key, Member]]:
        for name in sorted({record.name for record in snapshot.services}):
            release = release_of(name, self._older)
            if release is None:
                continue
            for record in usable(name, snapshot.services, self._host).records:
                queue = None if record.version == BROADCAST else record.version
                for node in record.nodes:
                    topic = _topic(release, name, node)
                    if topic and _valid(topic):
                        yield _key(topic, queue, node), Member(node, release)

    def _reaches(self, node: Node, now: float) -> bool:
        secure = node.metadata.get("secure") == "true"
        if secure is not self._secure and not self._told.seen(node.id, now):
            self._told.add(node.id, now)
            by, ours = ("by TLS", "without") if secure else ("without TLS", "by TLS")
            text = "subscriber %s of %r listens %s, this broker posts %s: it gets no events; see MICRO_BROKER_TLS_CA"
            log.warning(text, node.id, node.metadata.get("topic"), by, ours)
        return secure is self._secure

    def add_local(self, queue: str | None, topic: str, node: Node, now: float) -> Destination | None:
        """A subscription of this broker, known at once; returns its destination when that is new."""
        return self._join(_key(topic, queue, node), Member(node, local=True), now)

    def remove_local(self, node_id: str, now: float) -> None:
        """The subscription is closed."""
        for destination in list(self):
            member = destination.members.get(node_id)
            if member is not None:
                self.remove(destination, member, now)

    def remove(self, destination: Destination, member: Member, now: float) -> None:
        """Forgets a member; a broadcast subscriber's destination is closed with it, a queue's becomes an orphan."""
        if destination.members.get(member.node.id) is not member:
            return
        del destination.members[member.node.id]
        if destination.key.queue is None:
            self.close(destination)
        elif not destination.members:
            destination.orphaned = now
        destination.changed()

    def departed(self, destination: Destination, member: Member, now: float) -> None:
        """Forgets a member that said so itself, though the registry may list it for a while."""
        self._departed.add(member.node.id, now)
        self.remove(destination, member, now)

    def close(self, destination: Destination) -> None:
        """Forgets a destination; what is in its lane is for the caller to give up."""
        destination.closed = True
        destinations = self._topics.get(destination.key.topic, {})
        destinations.pop(destination.key, None)
        if not destinations:
            self._topics.pop(destination.key.topic, None)
        destination.changed()

    def _join(self, key: Key, member: Member, now: float) -> Destination | None:
        destinations = self._topics.setdefault(key.topic, {})
        destination = destinations.get(key)
        new = destination is None
        if destination is None:
            name = f"queue {key.queue!r}" if key.queue is not None else f"node {key.node}"
            destination = destinations[key] = Destination(key, self._new_lane(key.topic, name))
            self._catch_up(destination, member.node, now)
        known = destination.members.get(member.node.id)
        if known is None:
            destination.members[member.node.id] = member
        else:
            known.local = known.local or member.local
            if known.node != member.node and not known.local:
                known.node = member.node
        destination.orphaned = None
        destination.changed()
        return destination if new else None

    def _catch_up(self, destination: Destination, node: Node, now: float) -> None:
        since = node.metadata.get(SINCE, "")
        if not since.isascii() or not since.isdigit() or len(since) > 18:
            return
        self._forget_old(now)
        for _, letter in self._recent:
            if letter.topic == destination.key.topic and letter.accepted * 1_000_000 >= int(since):
                destination.lane.add(letter, now)

    def _forget_old(self, now: float) -> None:
        kept = self._recent
        while kept and (
            kept[0][0] < now - _RECENT or len(kept) > _RECENT_LETTERS or self._recent_bytes > _RECENT_BYTES
        ):
            self._recent_bytes -= kept.popleft()[1].size


def _key(topic: str, queue: str | None, node: Node) -> Key:
    return Key(topic, queue, "" if queue is not None else node.id)


def _topic(release: Release, name: str, node: Node) -> str:
    """The topic that a node subscribes to; empty for one that is no subscriber, or is found in a later way, too."""
    if node.metadata.get("broker", "http") != "http" or (release is not Release.V2_5 and OWN in node.metadata):
        return ""
    topic = name.removeprefix("topic:") if release is Release.V1_0 else node.metadata.get("topic", "")
    return topic if release.service(topic) == name else ""


def _valid(topic: str) -> bool:
    try:
        check_topic(topic)
    except ValueError:
        return False
    return True
