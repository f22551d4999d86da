"""Posts what lies in the lanes to the subscribers, and reads from their answers what became of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

import anyio
from anyio.abc import TaskGroup
from micro_core import Clock, Message, Reset, TransportError
from micro_http import HTTPClient
from micro_messaging import DeadLetter, Delivery, Waker

from micro_broker_http.routes import Destination, Member, Routes
from micro_broker_http.wire import (
    AFTER,
    ATTEMPT,
    OWN,
    OWN_VERSION,
    WAIT,
    encode_event,
    refusal_detail,
    request_path,
    seconds,
)

log = logging.getLogger("micro.broker.http")

_GRACE = 1.0
_TELL_AFTER = 3
_SILENCE = 10.0


class Fate(Enum):
    """What an answer means for the delivery."""

    ACKED = "acked"
    FAILED = "failed"
    RUNNING = "running"
    REFUSED = "refused"
    """Surely nothing was done: another member may have it, or this one later."""
    GONE = "gone"
    """Surely nothing was done, and this subscription is closed for good."""
    LOST = "lost"
    """The connection broke: it may have been handled or not, and asked again it would tell."""
    SILENT = "silent"
    """No answer in time, not even that a handler is at work."""
    NEVER = "never"
    """It will not be taken, however often it is sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, in words for the log; `delay` is what the handler asked for, in seconds."""

    fate: Fate
    reason: str = ""
    delay: float | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How the courier works; times are in seconds.

    Attributes:
        at_once: posts under way to one member.
        answer_within: until one of our own nodes has to say something.
        handled_within: until a node of Go Micro has to have dealt with an event.
        orphaned_for: how long events wait for a queue without members.
    """

    at_once: int
    answer_within: float
    handled_within: float
    orphaned_for: float


def read_answer(reply: Message, *, own: bool) -> Answer:
    """What a reply says about the event (see `wire`)."""
    status = reply.head.get(":status", "")
    if status == "200":
        return Answer(Fate.ACKED)
    text = f"status {status}: {refusal_detail(reply)}"
    if not own:
        return Answer(Fate.FAILED, text)
    if status == "202":
        return Answer(Fate.RUNNING)
    if status in ("404", "503"):
        return Answer(Fate.GONE if status == "404" else Fate.REFUSED, text)
    if status == "500":
        return Answer(Fate.FAILED, text, seconds(reply.head, AFTER))
    return Answer(Fate.NEVER, text)


class Courier:
    """Serves the destinations of one broker. A lane is its own task, so a slow one holds up no other."""

    def __init__(
        self,
        routes: Routes,
        client: HTTPClient,
        clock: Clock,
        pace: Pace,
        bury: Callable[[Iterable[DeadLetter]], None],
        settled: Callable[[], None],
    ) -> None:
        self._routes = routes
        self._client = client
        self._clock = clock
        self._pace = pace
        self._bury = bury
        self._settled = settled

    async def serve(self, destination: Destination) -> None:
        """Delivers what lies in the lane until the destination is closed; what is with a handler then may end."""
        waker = Waker()
        destination.changed = waker.wake
        async with anyio.create_task_group() as posts:
            while not destination.closed and not self._expired(destination):
                self._post_all(destination, posts)
                self._complain(destination)
                await waker.wait(self._pause(destination))
        self._give_up(destination)

    def _post_all(self, destination: Destination, posts: TaskGroup) -> None:
        while (member := destination.pick(self._clock(), self._pace.at_once)) is not None:
            delivery = destination.lane.take(self._clock())
            if delivery is None:
                return
            member.flying += 1
            posts.start_soon(self._deliver, destination, member, delivery)

    def _pause(self, destination: Destination) -> float | None:
        now = self._clock()
        times = []
        due = destination.lane.next_due(now)
        able = destination.next_able(now, self._pace.at_once)
        if due is not None and able is not None:
            times.append(max(due, able))
        complaint = destination.lane.complaint_at(_SILENCE)
        if complaint is not None:
            times.append(complaint)
        if destination.orphaned is not None:
            times.append(destination.orphaned + self._pace.orphaned_for)
        return max(0.001, min(times) - now) if times else None

    def _complain(self, destination: Destination) -> None:
        lane = destination.lane
        at = lane.complaint_at(_SILENCE)
        if at is not None and self._clock() >= at:
            lane.told = True
            text = "%s of %r has acknowledged nothing for %g s; %d events wait"
            log.warning(text, lane.subscriber, lane.topic, _SILENCE, len(lane))

    def _expired(self, destination: Destination) -> bool:
        since = destination.orphaned
        over = since is not None and self._clock() >= since + self._pace.orphaned_for and not destination.lane.flying
        if over:
            self._routes.close(destination)
        return over

    def _give_up(self, destination: Destination) -> None:
        lane, key = destination.lane, destination.key
        if key.queue is None:
            if left := lane.abandon("it left"):
                log.warning("gave up %d events on %r for %s, which left", len(left), key.topic, lane.subscriber)
        else:
            self._bury(lane.abandon(f"its queue had no member for {self._pace.orphaned_for:g} s"))
        self._settled()

    async def _deliver(self, destination: Destination, member: Member, delivery: Delivery) -> None:
        answer: Answer | None = None
        try:
            answer = await self._ask(destination, member, delivery)
        except Exception as error:
            log.exception("posting an event on %r failed", destination.key.topic)
            answer = Answer(Fate.FAILED, f"{type(error).__name__}: {error}")
        finally:
            member.flying -= 1
            if answer is None:  # cancelled
                destination.lane.put_back(delivery, self._clock())
        self._settle(destination, member, delivery, answer)

    async def _ask(self, destination: Destination, member: Member, delivery: Delivery) -> Answer:
        running = lost = 0
        while True:
            asked = self._clock()
            answer = await self._post(member, delivery)
            if destination.closed and answer.fate in (Fate.RUNNING, Fate.LOST):
                return Answer(Fate.REFUSED, "it left")
            if answer.fate is Fate.RUNNING:
                running += 1
                await anyio.sleep(max(0.0, asked + self._pace.answer_within / 2 - self._clock()))
                if running == _TELL_AFTER:
                    where = f"{destination.lane.subscriber} at {member.node.address}"
                    log.warning("a handler of %s is at work on one event on %r", where, destination.key.topic)
            elif answer.fate is Fate.LOST and member.own and not lost:
                lost += 1  # asked again it tells what it did, where the process lives
            else:
                return answer if answer.fate is not Fate.REFUSED or not lost else Answer(Fate.LOST, answer.reason)

    async def _post(self, member: Member, delivery: Delivery) -> Answer:
        path = request_path(member.node.id, member.release.path)
        head = {":method": "POST", ":path": path, "content-type": "application/json"}
        within = self._pace.handled_within
        if member.own:
            within = self._pace.answer_within + max(_GRACE, self._pace.answer_within / 2)
            head |= {OWN: OWN_VERSION, ATTEMPT: str(delivery.attempt), WAIT: f"{self._pace.answer_within:g}"}
        request = Message(head, encode_event(delivery.letter.message, member.release.topic_header))
        try:
            deadline = self._clock() + within
            reply = await self._client.call(member.node.address, request, verify_name=member.name, deadline=deadline)
        except TransportError as error:
            if not error.processed or error.reason is Reset.REFUSED:
                return Answer(Fate.REFUSED, str(error))
            return Answer(Fate.SILENT if error.reason is Reset.DEADLINE else Fate.LOST, str(error))
        except ValueError as error:
            return Answer(Fate.REFUSED, str(error))
        return read_answer(reply, own=member.own)

    def _settle(self, destination: Destination, member: Member, delivery: Delivery, answer: Answer) -> None:
        lane, now = destination.lane, self._clock()
        dead: DeadLetter | None = None
        if answer.fate is Fate.GONE:
            self._routes.departed(destination, member, now)
        elif answer.fate in (Fate.REFUSED, Fate.LOST, Fate.SILENT):
            member.refused(now)
            if member.lost:
                self._routes.remove(destination, member, now)
        else:
            member.answered()
        if answer.fate is Fate.ACKED:
            lane.ack(delivery, now)
        elif answer.fate in (Fate.REFUSED, Fate.GONE):
            lane.put_back(delivery, now)
        elif answer.fate is Fate.NEVER:
            dead = lane.give_up(delivery, answer.reason)
        else:
            self._tell(destination, member, delivery, answer)
            delay = answer.delay if answer.fate is Fate.FAILED else 0.0
            dead = lane.fail(delivery, now, answer.reason, delay)
        if dead is not None:
            self._bury([dead])
        self._settled()
        destination.changed()

    def _tell(self, destination: Destination, member: Member, delivery: Delivery, answer: Answer) -> None:
        where = f"{destination.lane.subscriber} at {member.node.address}"
        text = "attempt %d of an event on %r for %s failed: %s"
        log.warning(text, delivery.attempt, destination.key.topic, where, answer.reason)
