from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from micro_broker_memory import MemoryBroker
from micro_conformance.polling import eventually
from micro_core import (
    BrokerUnavailable,
    Capability,
    ConfigurationError,
    Event,
    Message,
    Registry,
    SubscribeOptions,
    capture_clock,
)
from micro_core.loader import load

pytestmark = pytest.mark.anyio


def memory_broker(address: str = "", **options: Any) -> MemoryBroker:
    registry: Registry = load("registry", "memory").cls(load("registry", "memory").cls.Options())
    return MemoryBroker(registry, MemoryBroker.Options(address=address, **options))


def soon(seconds: float = 5.0) -> float:
    return capture_clock()() + seconds


def text(body: str) -> Message:
    return Message({"content-type": "text/plain"}, body.encode())


async def until(condition: Callable[[], Any]) -> None:
    await eventually(condition, within=5.0)


class Inbox:
    """A handler that keeps what it was given."""

    def __init__(self, before: Callable[[Event], Awaitable[None]] | None = None) -> None:
        self.events: list[Event] = []
        self._before = before

    @property
    def bodies(self) -> list[str]:
        return [event.message.body.decode() for event in self.events]

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self._before is not None:
            await self._before(event)


def test_the_loader_finds_it() -> None:
    assert load("broker", "memory").cls is MemoryBroker


async def test_every_broadcast_subscriber_and_one_member_of_each_queue_gets_an_event() -> None:
    one, two, first, second = Inbox(), Inbox(), Inbox(), Inbox()
    async with memory_broker() as a, memory_broker() as b:
        await a.subscribe("t", one, SubscribeOptions())
        await b.subscribe("t", two, SubscribeOptions())
        await a.subscribe("t", first, SubscribeOptions(queue="q"))
        await b.subscribe("t", second, SubscribeOptions(queue="q"))
        for number in range(50):
            await a.publish("t", text(str(number)), deadline=soon())
        await a.flush(soon())
    expected = sorted(map(str, range(50)))
    assert sorted(one.bodies) == sorted(two.bodies) == expected
    assert sorted(first.bodies + second.bodies) == expected
    assert one.events[0].message.head == {"content-type": "text/plain", "micro-topic": "t"}


async def test_stores_of_other_addresses_see_nothing_and_a_topic_without_subscribers_is_no_error() -> None:
    inbox = Inbox()
    async with memory_broker("one") as a, memory_broker("two") as b:
        await a.subscribe("t", inbox, SubscribeOptions())
        await b.publish("t", text("x"), deadline=soon())
        await b.flush(soon())
    assert inbox.events == []


async def test_a_handler_that_fails_gets_the_event_again_until_it_is_a_dead_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(_: Event) -> None:
        raise RuntimeError("broken")

    failing, dead, healthy = Inbox(fail), Inbox(), Inbox()
    async with memory_broker(attempts=3, backoff=0.001) as broker:
        await broker.subscribe("t", failing, SubscribeOptions())
        await broker.subscribe("t", healthy, SubscribeOptions())
        await broker.subscribe("t.dead", dead, SubscribeOptions())
        await broker.publish("t", text("x"), deadline=soon())
        await until(lambda: dead.events)
    assert [event.attempt for event in failing.events] == [1, 2, 3]
    assert len(healthy.events) == 1
    assert dead.events[0].message.head["micro-dead-reason"] == "RuntimeError: broken"
    assert "event on 't' for subscriber 1 is a dead letter after 3 attempts: RuntimeError: broken" in caplog.text


async def test_nack_redelivers_and_manual_ack_settles() -> None:
    async def second_time(event: Event) -> None:
        await (event.nack(0.001) if event.attempt == 1 else event.ack())

    inbox = Inbox(second_time)
    async with memory_broker() as broker:
        await broker.subscribe("t", inbox, SubscribeOptions(manual_ack=True))
        await broker.publish("t", text("x"), deadline=soon())
        await broker.flush(soon())
    assert [event.attempt for event in inbox.events] == [1, 2]


async def test_what_the_handler_leaves_undecided_comes_back() -> None:
    inbox = Inbox()
    async with memory_broker(backoff=0.001) as broker:
        await broker.subscribe("t", inbox, SubscribeOptions(manual_ack=True))
        await broker.publish("t", text("x"), deadline=soon())
        await until(lambda: len(inbox.events) > 1)


async def test_handlers_run_at_most_concurrency_at_once() -> None:
    running, most = 0, 0

    async def count(_: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.001)
        running -= 1

    inbox = Inbox(count)
    async with memory_broker() as broker:
        await broker.subscribe("t", inbox, SubscribeOptions(concurrency=3))
        for _ in range(20):
            await broker.publish("t", text("x"), deadline=soon())
        await broker.flush(soon())
    assert (most, len(inbox.events)) == (3, 20)


async def test_a_stalled_subscriber_is_told_in_the_log_and_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def never(_: Event) -> None:
        await anyio.sleep_forever()

    quick = Inbox()
    async with memory_broker(lane_messages=10, stalled_after=0.5) as broker:
        await broker.subscribe("t", Inbox(never), SubscribeOptions())
        await broker.subscribe("t", quick, SubscribeOptions())
        for number in range(200):
            await broker.publish("t", text(str(number)), deadline=soon())
        await until(lambda: len(quick.events) == 200)
    assert quick.bodies == [str(number) for number in range(200)]
    assert caplog.text.count("is stalled") == 1
    assert caplog.text.count("is a dead letter after 0 attempts") == 190


async def test_publish_waits_for_room_and_gives_up_at_its_deadline() -> None:
    gate = anyio.Event()

    async def wait(_: Event) -> None:
        await gate.wait()

    inbox = Inbox(wait)
    async with memory_broker(lane_messages=2, stalled_after=60.0) as broker:
        await broker.subscribe("t", inbox, SubscribeOptions())
        for _ in range(2):
            await broker.publish("t", text("x"), deadline=soon())
        with pytest.raises(BrokerUnavailable, match="no room"):
            await broker.publish("t", text("late"), deadline=soon(0.02))
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: broker.publish("t", text("patient"), deadline=soon()))
            await anyio.sleep(0.01)
            gate.set()
        await broker.flush(soon())
    assert inbox.bodies == ["x", "x", "patient"]


async def test_closing_a_subscription_waits_for_running_handlers_but_not_for_the_one_that_closes() -> None:
    log: list[str] = []
    started = anyio.Event()

    async def slow(_: Event) -> None:
        started.set()
        await anyio.sleep(0.02)
        log.append("handled")

    async def closes_itself(_: Event) -> None:
        await own.aclose()
        log.append("own")

    async with memory_broker() as broker:
        subscription = await broker.subscribe("slow", slow, SubscribeOptions())
        own = await broker.subscribe("own", closes_itself, SubscribeOptions())
        await broker.publish("slow", text("1"), deadline=soon())
        await broker.publish("slow", text("2"), deadline=soon())
        await started.wait()
        await subscription.aclose()
        assert log == ["handled"], "the second is not begun any more"
        await subscription.aclose()
        await broker.publish("own", text("x"), deadline=soon())
        await until(lambda: log == ["handled", "own"])
        await broker.publish("own", text("x"), deadline=soon())
        await broker.flush(soon())
    assert log == ["handled", "own"]


async def test_a_queue_without_members_keeps_its_events_for_the_next_one() -> None:
    inbox = Inbox()
    async with memory_broker() as broker:
        gone = await broker.subscribe("t", Inbox(), SubscribeOptions(queue="q"))
        await gone.aclose()
        await broker.publish("t", text("x"), deadline=soon())
        await broker.subscribe("t", inbox, SubscribeOptions(queue="q"))
        await broker.flush(soon())
    assert inbox.bodies == ["x"]


async def test_a_queue_that_stays_without_members_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    async with memory_broker(orphaned_for=0.05) as broker:
        gone = await broker.subscribe("t", Inbox(), SubscribeOptions(queue="q"))
        await gone.aclose()
        await broker.publish("t", text("x"), deadline=soon())
        await until(lambda: "had no member" in caplog.text)
        await broker.flush(soon())


async def test_refusals() -> None:
    async with memory_broker(message_limit=10) as broker:
        for topic in ("", "a\r\nb"):
            with pytest.raises(ValueError, match="topic"):
                await broker.publish(topic, text("x"), deadline=soon())
            with pytest.raises(ValueError, match="topic"):
                await broker.subscribe(topic, Inbox(), SubscribeOptions())
        with pytest.raises(ValueError, match="11 bytes on 't' is over the limit of 10"):
            await broker.publish("t", text("x" * 11), deadline=soon())
        with pytest.raises(ConfigurationError, match="'memory' does not promise durable"):
            await broker.subscribe("t", Inbox(), SubscribeOptions(requires=frozenset({Capability.DURABLE})))


async def test_a_closed_broker_says_so_and_an_error_in_the_block_comes_out_as_it_is() -> None:
    broker = memory_broker()

    async def fails_inside() -> None:
        async with broker:
            await broker.subscribe("t", Inbox(), SubscribeOptions())
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fails_inside()
    await broker.__aexit__(None, None, None)
    with pytest.raises(BrokerUnavailable, match="not open"):
        await broker.publish("t", text("x"), deadline=soon())


async def test_a_handler_cut_short_with_its_broker_leaves_the_event_to_another_member() -> None:
    async def never(_: Event) -> None:
        await anyio.sleep_forever()

    stuck, heir = Inbox(never), Inbox()
    async with memory_broker() as publisher:
        async with memory_broker() as mortal:
            await mortal.subscribe("t", stuck, SubscribeOptions(queue="q"))
            await publisher.publish("t", text("x"), deadline=soon())
            await until(lambda: stuck.events)
            await publisher.subscribe("t", heir, SubscribeOptions(queue="q"))
        await until(lambda: heir.events)
        await publisher.flush(soon())


async def test_brokers_in_two_event_loops_share_a_store() -> None:
    here, there = Inbox(), Inbox()
    ready, over = threading.Event(), threading.Event()

    async def echo(event: Event) -> None:
        await broker_there[0].publish("pong", event.message, deadline=soon())

    broker_there: list[MemoryBroker] = []

    async def other() -> None:
        async with memory_broker("threads") as broker:
            broker_there.append(broker)
            there._before = echo
            await broker.subscribe("ping", there, SubscribeOptions(concurrency=4))
            ready.set()
            await eventually(over.is_set, within=5.0)

    thread = threading.Thread(target=lambda: anyio.run(other))
    async with memory_broker("threads") as broker:
        await broker.subscribe("pong", here, SubscribeOptions())
        thread.start()
        await until(ready.is_set)
        for number in range(100):
            await broker.publish("ping", text(str(number)), deadline=soon())
        await until(lambda: len(here.events) == 100)
        over.set()
        await until(lambda: not thread.is_alive())
    thread.join()
    async with memory_broker("threads") as fresh:
        await fresh.publish("pong", text("nobody is left of the old store"), deadline=soon())
    assert sorted(there.bodies, key=int) == [str(number) for number in range(100)]
