"""The subscriber's side: POSTs in, handlers run, acks out.

A handler does not run in the task of the POST that brought its event but in one of the broker: the same event posted
again, because the answer was lost or it asked how things are, joins it. What was acknowledged is remembered for a
while, by `Micro-Id` and body, and acknowledged again without running a handler.

Publishers of Go Micro do not wait for acks. Their events are accepted at once, and redelivered here.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import anyio
from micro_core import EventHandler, Head, Message, ServiceRecord, SubscribeOptions, Subscription
from micro_messaging import (
    DeadLetter,
    DuplicateFilter,
    HandledEvent,
    Letter,
    Redelivery,
    Tally,
    Verdict,
    handle,
    tell,
)

from micro_broker_http.wire import AFTER, ATTEMPT, WAIT, accepted, refusal, seconds

if TYPE_CHECKING:
    from micro_broker_http.broker import HTTPBroker

log = logging.getLogger("micro.broker.http")

_LONGEST_WAIT = 60.0
_UNSUBSCRIBED = "it unsubscribed"


class Work:
    """One event with a handler, or waiting for one; `verdict` is None until `done`, and where nothing was done."""

    __slots__ = ("done", "verdict")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.verdict: Verdict | None = None


class HTTPSubscription(Subscription):
    """One handler, and what it is registered as: a node for us and the current releases, one more for each older."""

    def __init__(
        self,
        broker: HTTPBroker,
        records: Sequence[ServiceRecord],
        topic: str,
        handler: EventHandler,
        options: SubscribeOptions,
    ) -> None:
        self.topic = topic
        self.records = tuple(records)
        self.ids = tuple(record.nodes[0].id for record in records)
        self._broker = broker
        self._handler = handler
        self._options = options
        self._policy: Redelivery = broker.policy
        self._slots = anyio.Semaphore(options.concurrency)
        self._work: dict[Hashable, Work] = {}
        self._done = DuplicateFilter(broker.options.duplicates, broker.options.duplicate_window)
        self._active: set[int] = set()
        self._ended = anyio.Event()
        self._closed = False
        self._left = anyio.Event()

    async def own(self, head: Head, message: Message) -> Message:
        """Answers a publisher of ours: whether the event was acknowledged, or is with a handler still."""
        key = _key(message)
        if self._done.seen(key, self._broker.clock()):
            return accepted()
        work = self._work.get(key)
        if work is None:
            if self._full() or self._closed:
                return _untaken("the subscription is closed" if self._closed else "too many events wait here")
            work = self._work[key] = Work()
            attempt = seconds(head, ATTEMPT)
            self._broker.tasks.start_soon(self._once, key, work, message, max(1, int(attempt or 1)))
        with anyio.move_on_after(min(seconds(head, WAIT) or 0.0, _LONGEST_WAIT)):
            await work.done.wait()
        return _answer(work)

    def foreign(self, message: Message) -> Message:
        """Answers a publisher of Go Micro, which does not redeliver: the event is dealt with from here on."""
        key = _key(message)
        if self._closed or key in self._work or self._done.seen(key, self._broker.clock()):
            return accepted()
        if self._full():
            log.error("an event on %r was refused: %d wait here already", self.topic, len(self._work))
            return refusal(503, "Too many events wait here")
        work = self._work[key] = Work()
        self._broker.tasks.start_soon(self._repeatedly, key, work, message)
        return accepted()

    def _full(self) -> bool:
        return len(self._work) >= self._broker.options.waiting

    async def _once(self, key: Hashable, work: Work, message: Message, attempt: int) -> None:
        try:
            work.verdict = await self._turn(message, attempt)
        finally:
            self._end(key, work)

    async def _repeatedly(self, key: Hashable, work: Work, message: Message) -> None:
        reason = _UNSUBSCRIBED
        attempt = 0
        try:
            while attempt < self._policy.attempts:
                verdict = await self._turn(_copy(message), attempt + 1)
                if verdict is None:
                    break
                attempt, reason, work.verdict = attempt + 1, verdict.reason, verdict
                if verdict.acked:
                    return
                delay = self._policy.delay(attempt, self._broker.draw()) if verdict.delay is None else verdict.delay
                await anyio.sleep(delay if attempt < self._policy.attempts else 0.0)
            letter = Letter(self.topic, message, Tally())
            self._broker.bury([DeadLetter(letter, f"node {self.ids[0]}", attempt, reason)])
        finally:
            self._end(key, work)

    async def _turn(self, message: Message, attempt: int) -> Verdict | None:
        async with self._slots:
            if self._closed:
                return None
            task = anyio.get_current_task().id
            self._active.add(task)
            try:
                event = HandledEvent(self.topic, message, attempt)
                verdict, error = await handle(self._handler, event, manual_ack=self._options.manual_ack)
            finally:
                self._active.discard(task)
                self._ended.set()
                self._ended = anyio.Event()
        if error is not None:
            tell(log, event, "a handler", error)
        return verdict

    def _end(self, key: Hashable, work: Work) -> None:
        self._work.pop(key, None)
        if work.verdict is not None and work.verdict.acked:
            self._done.add(key, self._broker.clock())
        work.done.set()

    async def aclose(self) -> None:  # noqa: D102
        if not self._closed:
            self._closed = True
            self._broker.forget(self, self._left.set)
        own = anyio.get_current_task().id
        try:
            await self._left.wait()
            while self._active - {own}:
                await self._ended.wait()
        finally:
            self._broker.end(self)


def _key(message: Message) -> Hashable:
    """Redeliveries are equal; an event that carries another's id on purpose, with another body, is not one."""
    name = message.head.get("micro-id")
    return (name, hash(message.body)) if name else object()


def _copy(message: Message) -> Message:
    return Message(dict(message.head), message.body)


def _answer(work: Work) -> Message:
    if not work.done.is_set():
        return accepted(202)
    if work.verdict is None:
        return _untaken("the subscription is closed")
    if work.verdict.acked:
        return accepted()
    reply = refusal(500, work.verdict.reason)
    if work.verdict.delay is not None:
        reply.head[AFTER] = f"{work.verdict.delay:g}"
    return reply


def _untaken(why: str) -> Message:
    reply = refusal(503, why)
    reply.head["micro-unprocessed"] = "1"
    return reply
