"""A lane: what is on its way to one subscriber, or to one queue group. Sans-IO; the time is an argument.

An accepted message is a `Letter`. It lies in one lane per broadcast subscriber and one per queue group, as a `Delivery`
each, until that lane's subscriber acknowledged it or it became a dead letter:

    add ──▶ ready ──take──▶ in flight ──ack──▶ settled
              ▲                 │
              │                 ├─put_back──▶ ready or later (nobody was there: not an attempt)
              └── due ── later ◀┴─fail────▶ dead letter, once it failed as often as the policy allows

Lanes are bounded in messages and bytes. A full lane makes `publish` wait, so a slow subscriber slows its publisher down
rather than losing events. One that has acknowledged nothing for `stalled_after` seconds while its lane was full must
not hold up the others, though: it is stalled, what is offered to it becomes a dead letter at once, until it
acknowledges something and its lane has room again. So nothing is dropped without a dead letter, and memory is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import random

from micro_core import Message

from micro_messaging.redelivery import Redelivery

MEBIBYTE = 1 << 20
_OVERHEAD = 512


class Tally:
    """How many deliveries of one publisher are not settled."""

    __slots__ = ("unsettled",)

    def __init__(self) -> None:
        self.unsettled = 0


class Letter:
    """A message that was accepted. `accepted` is the time of acceptance in seconds since the epoch."""

    __slots__ = ("accepted", "message", "size", "tally", "topic")

    def __init__(self, topic: str, message: Message, tally: Tally, accepted: float = 0.0) -> None:
        self.topic = topic
        self.message = message
        self.tally = tally
        self.accepted = accepted
        self.size = len(message.body) + _OVERHEAD

    def copy(self) -> Message:
        """The message for one attempt: whoever is given a head may change it."""
        return Message(dict(self.message.head), self.message.body)


class Delivery:
    """One letter on its way to one subscriber; `attempt` counts from 1 at the first `take`."""

    __slots__ = ("attempt", "letter")

    def __init__(self, letter: Letter) -> None:
        self.letter = letter
        self.attempt = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter that a subscriber will not get, after so many attempts, and why."""

    letter: Letter
    subscriber: str
    attempts: int
    reason: str

    def __str__(self) -> str:
        tries = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return f"event on {self.letter.topic!r} for {self.subscriber} is a dead letter after {tries}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a lane: messages, bytes, and seconds without an acknowledgement that make a full lane stalled."""

    messages: int = 1000
    size: int = 16 * MEBIBYTE
    stalled_after: float = 2.0


class Lane:
    """What is on its way to one subscriber or queue group, whose name for people is `subscriber`."""

    __slots__ = (
        "_draw",
        "_flying",
        "_later",
        "_limits",
        "_policy",
        "_progress",
        "_ready",
        "_serial",
        "size",
        "stalled",
        "subscriber",
        "told",
        "topic",
    )

    def __init__(
        self, topic: str, subscriber: str, limits: Limits, policy: Redelivery, draw: Callable[[], float] = random
    ) -> None:
        self.topic = topic
        self.subscriber = subscriber
        self._limits = limits
        self._policy = policy
        self._draw = draw
        self.size = 0
        self.stalled = False
        self.told = False
        self._ready: deque[Delivery] = deque()
        self._later: list[tuple[float, int, Delivery]] = []
        self._flying: set[Delivery] = set()
        self._serial = 0
        self._progress = 0.0

    def __len__(self) -> int:
        return len(self._ready) + len(self._later) + len(self._flying)

    @property
    def flying(self) -> int:
        """How many deliveries were taken and are not settled."""
        return len(self._flying)

    def full_for(self, letter: Letter) -> bool:
        """Whether there is no room; an empty lane takes a letter of any size."""
        count = len(self)
        return count >= self._limits.messages or (count > 0 and self.size + letter.size > self._limits.size)

    def stalled_at(self) -> float:
        """The time at which a lane that stays full counts as stalled."""
        return self._progress + self._limits.stalled_after

    def complaint_at(self, after: float) -> float | None:
        """When it is worth a line in the log that nothing was acknowledged for `after` seconds; once per silence."""
        return self._progress + after if len(self) and not self.told else None

    def add(self, letter: Letter, now: float) -> None:
        """Takes the letter in, whether there is room or not."""
        if not len(self):
            self._progress = now
        self.size += letter.size
        letter.tally.unsettled += 1
        self._ready.append(Delivery(letter))

    def take(self, now: float) -> Delivery | None:
        """The next delivery that is due, now in flight and one attempt older; None while there is none."""
        while self._later and self._later[0][0] <= now:
            self._ready.append(heappop(self._later)[2])
        if not self._ready:
            return None
        delivery = self._ready.popleft()
        delivery.attempt += 1
        self._flying.add(delivery)
        return delivery

    def next_due(self, now: float) -> float | None:
        """When `take` has something: not later than `now` for at once, None for not before something changes."""
        if self._ready:
            return now
        return self._later[0][0] if self._later else None

    def ack(self, delivery: Delivery, now: float) -> None:
        """It is settled. Idempotent."""
        if self._settle(delivery):
            self._progress = now
            self.stalled = self.told = False

    def fail(self, delivery: Delivery, now: float, reason: str, delay: float | None = None) -> DeadLetter | None:
        """The attempt failed: it comes back after `delay` seconds, or the policy's, or it is a dead letter now."""
        if delivery.attempt >= self._policy.attempts:
            return self.give_up(delivery, reason)
        if delay is None:
            delay = self._policy.delay(delivery.attempt, self._draw())
        self._return(delivery, now, delay)
        return None

    def put_back(self, delivery: Delivery, now: float, delay: float = 0.0) -> None:
        """It was not tried after all: nobody was there to take it."""
        if delivery in self._flying:
            delivery.attempt -= 1
            self._return(delivery, now, delay)

    def give_up(self, delivery: Delivery, reason: str) -> DeadLetter | None:
        """It will not be tried again; None when it was settled before."""
        if not self._settle(delivery):
            return None
        return DeadLetter(delivery.letter, self.subscriber, delivery.attempt, reason)

    def abandon(self, reason: str) -> list[DeadLetter]:
        """Empties the lane, in flight or not."""
        waiting = [*self._flying, *self._ready, *(entry[2] for entry in sorted(self._later, key=lambda e: e[:2]))]
        self._ready.clear()
        self._later.clear()
        self._flying.update(waiting)
        return [dead for delivery in waiting if (dead := self.give_up(delivery, reason))]

    def _settle(self, delivery: Delivery) -> bool:
        if delivery not in self._flying:
            return False
        self._flying.discard(delivery)
        self.size -= delivery.letter.size
        delivery.letter.tally.unsettled -= 1
        return True

    def _return(self, delivery: Delivery, now: float, delay: float) -> None:
        if delivery not in self._flying:
            return
        self._flying.discard(delivery)
        if delay <= 0.0:
            self._ready.appendleft(delivery)
            return
        self._serial += 1
        heappush(self._later, (now + delay, self._serial, delivery))


@dataclass(frozen=True, slots=True)
class Blocked:
    """A letter was not accepted; without room it is worth another try at `until`."""

    until: float
    lane: Lane


def offer(letter: Letter, lanes: Iterable[Lane], now: float) -> Blocked | list[DeadLetter]:
    """Puts a letter into all of the lanes, or into none while one of them is full and not stalled.

    Returns the dead letters of lanes that are stalled; a lane whose `stalled` just became True deserves a line in the
    log.
    """
    full = [lane for lane in lanes if lane.full_for(letter)]
    for lane in full:
        if not lane.stalled and now < lane.stalled_at():
            return Blocked(lane.stalled_at(), lane)
    dead = []
    for lane in lanes:
        if lane not in full:
            lane.add(letter, now)
            continue
        lane.stalled = True
        reason = f"its lane is full with {len(lane)} events and nothing was acknowledged for a while"
        dead.append(DeadLetter(letter, lane.subscriber, 0, reason))
    return dead
