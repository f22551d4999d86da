"""What the brokers of one process with the same `address` share. Thread-safe: they may live in different event loops.

Times are `time.monotonic()`, since the clocks of the event loops differ. Deliveries are pulled: every subscription
takes from its lane when it has a handler free, so the members of a queue share one lane and a slow one takes less.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from time import monotonic

from micro_core import Message
from micro_messaging import (
    Blocked,
    DeadLetter,
    Delivery,
    Lane,
    Letter,
    Limits,
    Redelivery,
    Tally,
    Verdict,
    Waker,
    dead_letter,
    offer,
)

log = logging.getLogger("micro.broker.memory")

_SILENCE = 10.0


class Group:
    """One lane and those who take from it: a queue's members, or one broadcast subscriber.

    `orphaned` is since when a queue has no member; None while it has, and for broadcast subscribers.
    """

    __slots__ = ("keep", "key", "lane", "members", "orphaned")

    def __init__(self, key: object, lane: Lane, keep: float) -> None:
        self.key = key
        self.lane = lane
        self.keep = keep
        self.members: set[Waker] = set()
        self.orphaned: float | None = None


class Store:
    """Topics, their groups, and who waits for room or for the end of deliveries."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.brokers: set[Waker] = set()
        self.waiting: set[Waker] = set()
        self._topics: dict[str, dict[object, Group]] = {}

    def accept(self, topic: str, message: Message, tally: Tally) -> float | None:
        """Puts a message into the lanes of the topic; seconds after which to try again when there is no room."""
        with self.lock:
            now = monotonic()
            groups = list(self._topics.get(topic, {}).values())
            fresh = [group for group in groups if not group.lane.stalled]
            answer = offer(Letter(topic, message, tally), [group.lane for group in groups], now)
            if isinstance(answer, Blocked):
                return max(0.001, answer.until - now)
            for group in fresh:
                if group.lane.stalled:
                    log.warning("%s of %r is stalled: its events become dead letters", group.lane.subscriber, topic)
            for group in groups:
                _complain(group.lane, now)
                _wake(group.members)
            self.bury(answer)
            return None

    def join(
        self, topic: str, queue: str | None, waker: Waker, limits: Limits, policy: Redelivery, keep: float
    ) -> Group:
        """Makes a subscription a member of its queue, or of a group of its own."""
        with self.lock:
            groups = self._topics.setdefault(topic, {})
            key: object = ("queue", queue) if queue is not None else waker
            group = groups.get(key)
            if group is None:
                name = f"queue {queue!r}" if queue is not None else f"subscriber {len(groups) + 1}"
                group = groups[key] = Group(key, Lane(topic, name, limits, policy), keep)
            group.members.add(waker)
            group.orphaned = None
            return group

    def leave(self, group: Group, waker: Waker) -> None:
        """Ends a membership: no new events. A queue without members keeps its events for a while. Idempotent."""
        with self.lock:
            if waker not in group.members:
                return
            group.members.discard(waker)
            if group.members:
                _wake(group.members)
            elif group.key is waker:
                self._forget(group)
            else:
                group.orphaned = monotonic()
                _wake(self.brokers)

    def finish(self, group: Group, waker: Waker) -> None:
        """Gives up what a broadcast subscriber that left has not dealt with; nothing for a queue. Idempotent."""
        with self.lock:
            if group.key is waker and (left := group.lane.abandon("it unsubscribed")):
                log.warning("%d events on %r were left by %s", len(left), group.lane.topic, group.lane.subscriber)
            _wake(self.waiting)

    def take(self, group: Group) -> tuple[Delivery | None, float | None]:
        """The next delivery, else the seconds after which there is one."""
        with self.lock:
            now = monotonic()
            delivery = group.lane.take(now)
            due = None if delivery is not None else group.lane.next_due(now)
            return delivery, None if due is None else max(0.001, due - now)

    def settle(self, group: Group, delivery: Delivery, verdict: Verdict) -> None:
        """What became of a delivery."""
        with self.lock:
            if verdict.acked:
                group.lane.ack(delivery, monotonic())
            elif dead := group.lane.fail(delivery, monotonic(), verdict.reason, verdict.delay):
                self.bury([dead])
            self._changed(group)

    def put_back(self, group: Group, delivery: Delivery) -> None:
        """The handler was cut short with its broker: another member's turn."""
        with self.lock:
            group.lane.put_back(delivery, monotonic())
            self._changed(group)

    def expire(self) -> float | None:
        """Gives up queues that have been without members for too long; seconds until there is more to give up."""
        with self.lock:
            now = monotonic()
            for group in [group for group in self._groups() if _over(group, now)]:
                self._forget(group)
                self.bury(group.lane.abandon(f"its queue had no member for {group.keep:g} s"))
                _wake(self.waiting)
            ends = [group.orphaned + group.keep for group in self._groups() if group.orphaned is not None]
            return max(0.1, min(ends) - now) if ends else None

    def bury(self, dead: Iterable[DeadLetter]) -> None:
        """Logs dead letters and hands them to the subscribers of the dead-letter topic that have room."""
        for one in dead:
            log.error("%s", one)
            if letter := dead_letter(one):
                self._bury(*letter)

    def undelivered(self) -> int:
        """How many deliveries are not settled."""
        with self.lock:
            return sum(len(group.lane) for group in self._groups())

    def _bury(self, topic: str, message: Message) -> None:
        for group in self._topics.get(topic, {}).values():
            letter = Letter(topic, message, Tally())
            if group.lane.full_for(letter):
                log.error("no room for a dead letter on %r for %s", topic, group.lane.subscriber)
                continue
            group.lane.add(letter, monotonic())
            _wake(group.members)

    def _forget(self, group: Group) -> None:
        groups = self._topics[group.lane.topic]
        del groups[group.key]
        if not groups:
            del self._topics[group.lane.topic]

    def _changed(self, group: Group) -> None:
        _wake(group.members)
        _wake(self.waiting)

    def _groups(self) -> Iterator[Group]:
        for groups in self._topics.values():
            yield from groups.values()


def _complain(lane: Lane, now: float) -> None:
    at = lane.complaint_at(_SILENCE)
    if at is not None and now >= at:
        lane.told = True
        text = "%s of %r has acknowledged nothing for %g s; %d events wait"
        log.warning(text, lane.subscriber, lane.topic, _SILENCE, len(lane))


def _over(group: Group, now: float) -> bool:
    return group.orphaned is not None and now >= group.orphaned + group.keep and not group.lane.flying


def _wake(wakers: Iterable[Waker]) -> None:
    for waker in wakers:
        waker.wake()


_STORES: dict[str, Store] = {}
_STORES_LOCK = threading.Lock()


def enter(address: str, waker: Waker) -> Store:
    """The store of that address, which lives as long as a broker uses it."""
    with _STORES_LOCK:
        store = _STORES.setdefault(address, Store())
        store.brokers.add(waker)
        return store


def leave(address: str, store: Store, waker: Waker) -> None:
    """Leaves a store; the last one ends it, and says what it held."""
    with _STORES_LOCK:
        store.brokers.discard(waker)
        if store.brokers:
            return
        _STORES.pop(address, None)
    if count := store.undelivered():
        log.warning("deliveries not made when the last broker of store %r closed: %d", address, count)
