"""Each sentence of BrokerConformance has a quirk of the double that breaks it, and is caught by that sentence's test.

The double keeps one lane per subscription, which it works off by looking again every half millisecond; a quirk is the
name of the one thing that it does wrong.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest
import sniffio
from micro_conformance import BrokerConformance
from micro_core import Broker, BrokerUnavailable, Capability, ConfigurationError, Event, Message, Subscription

log = logging.getLogger("micro.broker.double")


async def look_again() -> None:
    await anyio.sleep(0.0005)


class DoubleEvent(Event):
    def __init__(self, lane: Lane, message: Message, attempt: int) -> None:
        self.topic = "somewhere" if lane.quirk == "forgets the topic" else lane.topic
        self.original = message.head
        self.message = Message(dict(message.head), message.body)
        if lane.quirk == "shares heads":
            self.message = message
        self.attempt = 1 if lane.quirk == "does not count" else attempt
        self.lane = lane
        self.answered = False

    async def ack(self) -> None:
        self.answered = True

    async def nack(self, delay: float = 0.0) -> None:
        if self.answered and self.lane.quirk != "nack after ack":
            return
        self.answered = True
        if self.lane.quirk == "knows no nack":
            return
        self.lane.again(self, 0.0 if self.lane.quirk == "no delay" else delay)


class Lane(Subscription):
    """One subscription, or one member of a queue."""

    def __init__(self, broker: Double, topic: str, handler: Any, options: Any) -> None:
        self.broker = broker
        self.quirk = broker.quirk
        self.topic = topic
        self.handler = handler
        self.options = options
        self.waiting: list[tuple[float, Message, int]] = []
        self.running = 0
        self.closed = False

    def again(self, event: DoubleEvent, delay: float) -> None:
        head = event.message.head if self.quirk == "redelivers what it gave" else event.original
        attempt = 1 if self.quirk == "counts for each member" and self.options.queue else event.attempt + 1
        self.waiting.append((anyio.current_time() + delay, Message(head, event.message.body), attempt))

    async def work(self) -> None:
        limit = {"ignores concurrency": 99, "one at a time": 1}.get(self.quirk, self.options.concurrency)
        async with anyio.create_task_group() as group:
            while not self.closed:
                due = [item for item in self.waiting if item[0] <= anyio.current_time()]
                if due and self.running < limit:
                    item = due[-1] if self.quirk == "last in, first out" else due[0]
                    self.waiting.remove(item)
                    self.running += 1
                    group.start_soon(self.handle, DoubleEvent(self, *item[1:]))
                else:
                    await look_again()

    async def handle(self, event: DoubleEvent) -> None:
        try:
            await self.handler(event)
            if (self.options.manual_ack and not event.answered and self.quirk != "ending is an ack") or (
                self.quirk == "returning is no ack" and event.attempt == 1 and not event.answered
            ):
                self.again(event, 0.01)
        except Exception:
            if self.quirk == "a failure ends the lane":
                self.closed = True
            if self.quirk != "fails in silence":
                log.exception("a handler failed")
            if self.quirk != "delivers once":
                self.again(event, 0.01)
        finally:
            self.running -= 1

    async def aclose(self) -> None:
        if self.closed and self.quirk == "closes once":
            raise RuntimeError("closed")
        if self.quirk == "cancelled aclose does nothing":
            await anyio.lowlevel.checkpoint()
        if self.quirk != "goes on after closing":
            self.closed = True
            if self in self.broker.hub:
                self.broker.hub.remove(self)
        while self.running and self.quirk != "closing does not wait":
            await look_again()
        others = [lane for lane in self.broker.hub if lane.options.queue == self.options.queue is not None]
        if others and self.quirk != "what a member had is lost":
            others[0].waiting += self.waiting


class Double(Broker):
    capabilities = frozenset({Capability.AT_LEAST_ONCE, Capability.NACK, Capability.ORDERED})

    def __init__(self, hub: list[Lane], quirk: str = "", *, reachable: bool = True) -> None:
        self.hub = hub
        self.quirk = quirk
        self.reachable = reachable
        if quirk in ("knows no nack", "nacks without a promise"):
            self.capabilities = Double.capabilities - {Capability.NACK}
        if quirk == "needs a loop":
            sniffio.current_async_library()
        self.turns: dict[str, int] = {}
        self.left = False
        self.lanes: list[Lane] = []
        self.group: Any = None

    async def __aenter__(self):
        self.group = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(self, kind, error, trace):
        if self.left and self.quirk == "leaves once":
            raise RuntimeError("left")
        if self.quirk == "hangs when cancelled" and kind is not None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)
        self.left = True
        for lane in self.lanes:
            lane.closed = True
            if lane in self.hub:
                self.hub.remove(lane)
        group, self.group = self.group, None
        if group is not None:
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)
        if self.quirk == "raises groups" and isinstance(error, LookupError):
            raise ExceptionGroup("unhandled", [error])

    def check(self, topic: str) -> None:
        if self.quirk != "any topic" and (not topic or any(ord(letter) < 32 or ord(letter) == 127 for letter in topic)):
            raise ValueError(f"no topic: {topic!r}")

    async def publish(self, topic: str, message: Message, *, deadline: float, key: bytes | None = None) -> None:
        self.check(topic)
        if not self.reachable:
            if self.quirk == "unreachable is fine":
                return
            raise BrokerUnavailable("nobody there")
        if sniffio.current_async_library() == "asyncio" and self.quirk == "anyio in a callback":
            await in_a_callback()
        if self.quirk == "one publisher" and self.busy:
            return
        self.busy = True
        await anyio.lowlevel.checkpoint()
        self.busy = False
        lanes = [lane for lane in self.hub if self.same(lane.topic, topic)]
        if not lanes and self.quirk == "nobody is an error":
            raise BrokerUnavailable("no subscribers")
        for lane in self.chosen(lanes):
            head = {} if self.quirk == "drops heads" else dict(message.head)
            if self.quirk == "shares heads":
                head = message.head
            lane.waiting.append((0.0, Message(head, message.body), 1))
        while self.quirk == "waits for the slowest" and any(lane.waiting for lane in lanes):
            await look_again()

    busy = False

    def same(self, subscribed: str, published: str) -> bool:
        if self.quirk == "prefixes match":
            return published.startswith(subscribed)
        return subscribed == published

    def chosen(self, lanes: list[Lane]) -> list[Lane]:
        if self.quirk == "queues are ignored":
            return lanes
        alone = [lane for lane in lanes if lane.options.queue is None]
        if self.quirk == "one gets it":
            alone = alone[:1]
        for queue in {lane.options.queue for lane in lanes} - {None}:
            members = [lane for lane in lanes if lane.options.queue == queue]
            alone.append(members[0 if self.quirk == "the first member" else self.turn(queue) % len(members)])
        return alone

    def turn(self, queue: str) -> int:
        self.turns[queue] = self.turns.get(queue, 0) + 1
        return self.turns[queue]

    async def subscribe(self, topic: str, handler: Any, options: Any) -> Subscription:
        self.check(topic)
        missing = options.requires - self.capabilities
        if missing and self.quirk != "promises everything":
            raise ConfigurationError(f"the double is not {min(one.value for one in missing)}")
        lane = Lane(self, topic, handler, options)
        self.hub.append(lane)
        self.lanes.append(lane)
        self.group.start_soon(lane.work)
        return lane

    async def flush(self, deadline: float) -> None:
        if self.quirk == "flush returns at once":
            return
        while any(lane.waiting or lane.running for lane in self.hub):
            if anyio.current_time() > deadline and self.quirk != "flush waits for ever":
                return
            await look_again()


async def in_a_callback() -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def now() -> None:
        try:
            ready.set_result(anyio.current_time())
        except Exception as error:
            ready.set_exception(error)

    loop.call_soon(now)
    await ready


class Suite(BrokerConformance):
    patience = 4.0
    settles_within = 0.4
    redelivers_within = 0.2


class Impatient(Suite):
    patience = 0.6


BROKEN = [
    ("nobody is an error", "publishing_to_a_topic_without_subscribers_is_no_error"),
    ("any topic", "a_topic_that_is_empty_or_has_control_characters_is_a_value_error"),
    ("unreachable is fine", "a_broker_that_cannot_be_reached_is_unavailable_by_the_deadline"),
    ("drops heads", "messages_published_from_when_it_returns_are_delivered_as_they_were"),
    ("forgets the topic", "messages_published_from_when_it_returns_are_delivered_as_they_were"),
    ("shares heads", "a_head_that_was_given_may_be_changed_by_whoever_got_it"),
    ("redelivers what it gave", "a_head_that_was_given_may_be_changed_by_whoever_got_it"),
    ("nacks without a promise", "without_the_capability_a_nack_counts_as_delivered"),
    ("ending is an ack", "a_handler_with_manual_ack_that_ended_with_neither_has_not_acknowledged"),
    ("counts for each member", "attempts_count_on_across_the_members_of_a_queue"),
    ("what a member had is lost", "attempts_count_on_across_the_members_of_a_queue"),
    ("needs a loop", "constructing_needs_no_event_loop"),
    ("prefixes match", "other_topics_are_not_delivered"),
    ("one gets it", "without_a_queue_every_subscriber_gets_each"),
    ("queues are ignored", "members_of_one_queue_share_the_messages"),
    ("the first member", "members_of_one_queue_share_the_messages"),
    ("promises everything", "a_missing_capability_is_a_configuration_error_that_names_it"),
    ("one publisher", "many_may_publish_at_once"),
    ("a failure ends the lane", "a_handler_that_raises_never_ends_the_broker_and_is_logged"),
    ("fails in silence", "a_handler_that_raises_never_ends_the_broker_and_is_logged"),
    ("delivers once", "a_message_that_failed_is_redelivered_and_counted"),
    ("does not count", "a_message_that_failed_is_redelivered_and_counted"),
    ("returning is no ack", "a_handler_that_returned_has_acknowledged"),
    ("ignores concurrency", "no_more_handlers_than_concurrency_run_at_once"),
    ("one at a time", "no_more_handlers_than_concurrency_run_at_once"),
    ("waits for the slowest", "a_slow_subscriber_does_not_hold_up_others"),
    ("last in, first out", "messages_of_one_publisher_and_key_arrive_in_order"),
    ("nack after ack", "ack_is_idempotent_and_nothing_follows_it"),
    ("no delay", "nack_delivers_again_after_the_delay"),
    ("goes on after closing", "a_closed_subscription_gets_no_new_events"),
    ("closes once", "a_closed_subscription_gets_no_new_events"),
    ("closing does not wait", "closing_a_subscription_returns_when_running_handlers_have"),
    ("cancelled aclose does nothing", "a_subscription_closes_also_when_cancelled"),
    ("flush returns at once", "flush_returns_when_everything_accepted_is_delivered"),
    ("flush waits for ever", "flush_returns_at_the_deadline"),
    ("anyio in a callback", "it_works_under_plain_asyncio"),
    ("leaves once", "leaving_twice_does_nothing"),
    ("hangs when cancelled", "leaving_releases_everything_also_when_cancelled"),
    ("raises groups", "an_exception_inside_the_block_comes_out_as_it_is"),
]


def fixtures(quirk):
    hub: list[Lane] = []
    make = lambda: Double(hub, quirk)  # noqa: E731
    unreachable = lambda: Double(hub, quirk, reachable=False)  # noqa: E731
    return {"make_broker": make, "make_component": make, "make_unreachable_broker": unreachable}


def test_a_right_double_passes(run_suite):
    assert run_suite(Suite, lambda: fixtures("")) == {}


def test_a_right_double_that_promises_less_passes(run_suite):
    assert run_suite(Suite, lambda: fixtures("knows no nack")) == {}


@pytest.mark.parametrize(("quirk", "sentence"), BROKEN)
def test_a_broken_double_is_caught(run_suite, quirk, sentence):
    assert run_suite(Impatient, lambda: fixtures(quirk), f"test_{sentence}")


def test_every_sentence_has_a_quirk_that_breaks_it(sentences):
    assert {sentence for _, sentence in BROKEN} == sentences(Suite)
