from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from micro_broker_http import HTTPBroker
from micro_core import (
    BrokerUnavailable,
    Capability,
    ConfigurationError,
    Event,
    Head,
    Message,
    Node,
    Registry,
    ServiceRecord,
    SubscribeOptions,
)
from micro_core.loader import load
from micro_http import HTTPClient

pytestmark = pytest.mark.anyio

ALL = SubscribeOptions()
QUEUE = SubscribeOptions(queue="q")


def test_the_loader_finds_it() -> None:
    assert load("broker", "http").cls is HTTPBroker


async def fail(_: Event) -> None:
    raise RuntimeError("broken")


async def never(_: Event) -> None:
    await anyio.sleep_forever()


async def test_every_broadcast_subscriber_and_one_member_of_each_queue_gets_an_event(make: Any, tools: Any) -> None:
    one, two, first, second = (tools.Inbox() for _ in range(4))
    async with make() as a, make() as b, make() as publisher:
        await a.subscribe("t", one, ALL)
        await b.subscribe("t", two, ALL)
        await a.subscribe("t", first, QUEUE)
        await b.subscribe("t", second, QUEUE)
        await b.subscribe("other", fail, ALL)
        for number in range(50):
            await publisher.publish("t", tools.text(str(number)), deadline=tools.soon())
        await publisher.flush(tools.soon())
    expected = sorted(map(str, range(50)))
    assert sorted(one.bodies) == sorted(two.bodies) == expected
    assert sorted(first.bodies + second.bodies) == expected
    assert len(first.bodies) > 5
    assert len(second.bodies) > 5
    assert one.events[0].message.head["content-type"] == "text/plain"
    assert one.events[0].message.head["micro-topic"] == "t"


async def test_the_first_event_of_a_fresh_publisher_reaches_who_is_registered(make: Any, tools: Any) -> None:
    inbox = tools.Inbox()
    async with make() as subscriber:
        await subscriber.subscribe("t", inbox, ALL)
        async with make() as publisher:
            await publisher.publish("t", tools.text("first"), deadline=tools.soon())
            await publisher.flush(tools.soon())
    assert inbox.bodies == ["first"]


async def test_what_is_published_before_the_registry_tells_of_a_subscriber_reaches_it_all_the_same(
    make: Any, tools: Any
) -> None:
    before, after = tools.Inbox(), tools.Inbox()
    async with make() as publisher, make() as other:
        await publisher.publish("t", tools.text("before anyone"), deadline=tools.soon())
        await publisher.flush(tools.soon())
        for number in range(5):
            await other.subscribe("t", after, ALL)
            await publisher.publish("t", tools.text(str(number)), deadline=tools.soon())
        await tools.until(lambda: len(after.events) == 15)
    assert "before anyone" not in before.bodies + after.bodies


async def test_an_event_that_fails_comes_back_until_it_is_a_dead_letter(
    make: Any, tools: Any, caplog: pytest.LogCaptureFixture
) -> None:
    failing, dead, healthy = tools.Inbox(fail), tools.Inbox(), tools.Inbox()
    async with make(attempts=3, backoff=0.001) as subscriber, make(attempts=3, backoff=0.001) as publisher:
        await subscriber.subscribe("t", failing, ALL)
        await subscriber.subscribe("t", healthy, ALL)
        await subscriber.subscribe("t.dead", dead, ALL)
        await publisher.publish("t", tools.text("x"), deadline=tools.soon())
        await tools.until(lambda: dead.events)
        await publisher.flush(tools.soon())
    assert [event.attempt for event in failing.events] == [1, 2, 3]
    assert len(healthy.events) == 1
    assert "RuntimeError: broken" in dead.events[0].message.head["micro-dead-reason"]
    assert "is a dead letter after 3 attempts" in caplog.text


async def test_nack_asks_for_its_own_delay(make: Any, tools: Any) -> None:
    async def second_time(event: Event) -> None:
        await (event.nack(0.01) if event.attempt == 1 else event.ack())

    inbox = tools.Inbox(second_time)
    async with make(backoff=30.0) as broker:
        await broker.subscribe("t", inbox, SubscribeOptions(manual_ack=True))
        await broker.publish("t", tools.text("x"), deadline=tools.soon())
        await broker.flush(tools.soon())
    assert [event.attempt for event in inbox.events] == [1, 2]


async def test_a_long_handler_is_asked_after_and_runs_once(make: Any, tools: Any) -> None:
    async def long(_: Event) -> None:
        await anyio.sleep(0.3)

    inbox = tools.Inbox(long)
    async with make() as subscriber, make(answer_within=0.05) as publisher:
        await subscriber.subscribe("t", inbox, ALL)
        await publisher.publish("t", tools.text("x"), deadline=tools.soon())
        await publisher.flush(tools.soon())
        assert inbox.ended == len(inbox.events) == 1


async def test_handlers_run_at_most_concurrency_at_once(make: Any, tools: Any) -> None:
    running, most = 0, 0

    async def count(_: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.002)
        running -= 1

    async with make() as broker:
        await broker.subscribe("t", count, SubscribeOptions(concurrency=3))
        for _ in range(20):
            await broker.publish("t", tools.text("x"), deadline=tools.soon())
        await broker.flush(tools.soon())
    assert most == 3


async def test_a_stalled_subscriber_is_told_in_the_log_and_holds_up_nobody(
    make: Any, tools: Any, caplog: pytest.LogCaptureFixture
) -> None:
    quick = tools.Inbox()
    async with make() as subscriber, make(lane_messages=40, stalled_after=0.1) as publisher:
        await subscriber.subscribe("t", never, ALL)
        await subscriber.subscribe("t", quick, ALL)
        for number in range(100):
            await publisher.publish("t", tools.text(str(number)), deadline=tools.soon())
        await tools.until(lambda: len(quick.events) == 100)
    assert caplog.text.count("is stalled") == 1
    assert caplog.text.count("is a dead letter after 0 attempts") == 60


async def test_a_stalled_member_does_not_hold_up_its_queue(make: Any, tools: Any) -> None:
    quick = tools.Inbox()
    async with make() as a, make() as b, make(at_once=2) as publisher:
        await a.subscribe("t", never, QUEUE)
        await b.subscribe("t", quick, QUEUE)
        for number in range(50):
            await publisher.publish("t", tools.text(str(number)), deadline=tools.soon())
        await tools.until(lambda: len(quick.events) == 48)


async def test_a_member_that_is_gone_leaves_its_events_to_another(make: Any, tools: Any, registry: Registry) -> None:
    heir = tools.Inbox()
    async with make() as broker, make() as publisher:
        async with tools.peer(_ok) as listener:
            address = listener.address
        node = Node("t-dead", address, {"broker": "http", "topic": "t", "micro-py": "0.1"})
        await registry.register(ServiceRecord("micro.http.broker", "q", (node,)), ttl=60)
        await broker.subscribe("t", heir, QUEUE)
        for number in range(20):
            await publisher.publish("t", tools.text(str(number)), deadline=tools.soon())
        await publisher.flush(tools.soon(2.0))
    assert sorted(heir.bodies, key=int) == [str(number) for number in range(20)]


async def test_a_member_that_says_nothing_leaves_its_events_to_another(
    make: Any, tools: Any, registry: Registry
) -> None:
    heir = tools.Inbox()

    async def hang(head: Head, body: bytes) -> Message | None:
        await anyio.sleep(4.0)
        return None

    async with tools.peer(hang) as listener, make() as broker, make(answer_within=0.05, at_once=2) as publisher:
        node = Node("t-hangs", listener.address, {"broker": "http", "topic": "t", "micro-py": "0.1"})
        await registry.register(ServiceRecord("micro.http.broker", "q", (node,)), ttl=60)
        await broker.subscribe("t", heir, QUEUE)
        for number in range(10):
            await publisher.publish("t", tools.text(str(number)), deadline=tools.soon())
        await tools.until(lambda: len(heir.events) >= 8)
        await tools.until(lambda: len(set(heir.bodies)) == 10)


async def test_a_broadcast_subscriber_that_is_gone_is_given_up_when_it_leaves_the_registry(
    make: Any, tools: Any, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    async with tools.peer(_ok) as listener:
        address = listener.address
    node = Node("t-dead", address, {"broker": "http", "topic": "t", "micro-py": "0.1"})
    record = ServiceRecord("micro.http.broker", "ff.http.broadcast", (node,))
    await registry.register(record, ttl=60)
    async with make() as publisher:
        await publisher.publish("t", tools.text("x"), deadline=tools.soon())
        await publisher.flush(tools.soon(0.05))
        await registry.deregister(record)
        await publisher.flush(tools.soon())
        assert "gave up 1 events on 't' for node t-dead" in caplog.text


async def test_a_subscriber_cut_off_in_the_middle_is_asked_again_and_acknowledges_once(
    make: Any, tools: Any, registry: Registry
) -> None:
    """The answer is lost on its way; the subscriber's filter keeps the handler from running twice."""
    inbox = tools.Inbox()
    async with make() as subscriber, make(backoff=0.001) as publisher, HTTPClient() as client:
        await subscriber.subscribe("t", inbox, ALL)
        (record,) = await registry.get_service("micro.http.broker")
        real = record.nodes[0]
        lost: list[int] = []

        async def lossy(head: Head, body: bytes) -> Message | None:
            reply = await client.call(real.address, Message(dict(head), body), deadline=tools.soon())
            lost.append(1)
            return reply if len(lost) > 2 else None

        async with tools.peer(lossy) as between:
            await registry.register(
                ServiceRecord(record.name, record.version, (Node(real.id, between.address, real.metadata),)), ttl=60
            )
            await publisher.publish("t", tools.text("x"), deadline=tools.soon())
            await publisher.flush(tools.soon())
    assert len(lost) == 3
    assert inbox.bodies == ["x"]


async def _ok(head: Head, body: bytes) -> Message:
    return Message({":status": "200"})


async def test_go_subscribers_get_what_go_publishers_send(make: Any, tools: Any, registry: Registry) -> None:
    seen: list[tuple[Head, dict[str, Any]]] = []

    async def go(head: Head, body: bytes) -> Message:
        seen.append((head, json.loads(body)))
        return Message({":status": "200"})

    async with tools.peer(go) as listener, make() as publisher:
        node = Node("events-1 2", listener.address, {"broker": "http", "topic": "events", "secure": "false"})
        await registry.register(ServiceRecord("micro.http.broker", "ff.http.broadcast", (node,)), ttl=60)
        event = Message({"content-type": "application/json", "micro-id": "id-1", "micro-from-service": "me"}, b"{}\n")
        await publisher.publish("events", event, deadline=tools.soon())
        await publisher.flush(tools.soon())
    ((head, body),) = seen
    assert (head[":method"], head[":path"]) == ("POST", "/?id=events-1+2")
    assert head["content-type"] == "application/json"
    assert not [name for name in head if name.startswith("micro")]
    assert body == {
        "Header": {
            "Content-Type": "application/json",
            "Micro-Id": "id-1",
            "Micro-From-Service": "me",
            "Micro-Topic": "events",
        },
        "Body": "e30K",
    }


async def test_registration_is_as_go_expects_and_ends_with_the_subscription(
    make: Any, tools: Any, registry: Registry
) -> None:
    async with make() as broker:
        queue = await broker.subscribe("users.created", _nothing, QUEUE)
        (record,) = await registry.get_service("micro.http.broker")
        (node,) = record.nodes
        assert (record.version, node.metadata["topic"], node.metadata["broker"]) == ("q", "users.created", "http")
        assert node.metadata["secure"] == "false"
        assert node.id.startswith("users.created-")
        assert node.address.startswith("127.0.0.1:")
        await queue.aclose()
        assert await registry.list_services() == ()
        await broker.subscribe("t", _nothing, ALL)
    assert await registry.list_services() == ()


async def _nothing(_: Event) -> None: ...


async def test_closing_waits_for_running_handlers_and_hands_on_what_has_not_begun(make: Any, tools: Any) -> None:
    release = anyio.Event()

    async def slow(_: Event) -> None:
        await release.wait()

    leaving, staying = tools.Inbox(slow), tools.Inbox()
    async with make() as a, make() as b, make() as publisher:
        subscription = await a.subscribe("t", leaving, QUEUE)
        for number in range(5):
            await publisher.publish("t", tools.text(str(number)), deadline=tools.soon())
        await tools.until(lambda: leaving.events)
        await b.subscribe("t", staying, QUEUE)
        async with anyio.create_task_group() as group:
            group.start_soon(subscription.aclose)
            await anyio.sleep(0.05)
            assert leaving.ended == 0
            release.set()
        assert leaving.ended == 1
        await publisher.flush(tools.soon())
        await subscription.aclose()
    assert sorted(leaving.bodies + staying.bodies) == list("01234")
    assert len(leaving.bodies) == 1


async def test_a_handler_may_close_its_own_subscription(make: Any, tools: Any) -> None:
    async def closes(_: Event) -> None:
        await own.aclose()

    inbox = tools.Inbox(closes)
    async with make() as broker:
        own = await broker.subscribe("t", inbox, ALL)
        await broker.publish("t", tools.text("x"), deadline=tools.soon())
        await tools.until(lambda: inbox.ended == 1)


async def test_a_queue_without_members_keeps_its_events_and_then_gives_up(
    make: Any, tools: Any, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = tools.Inbox()
    async with make() as a, make(orphaned_for=0.3) as publisher:
        first = await a.subscribe("t", _nothing, QUEUE)
        await publisher.publish("t", tools.text("0"), deadline=tools.soon())
        await publisher.flush(tools.soon())
        await first.aclose()
        await publisher.publish("t", tools.text("kept"), deadline=tools.soon())
        second = await a.subscribe("t", inbox, QUEUE)
        await publisher.flush(tools.soon())
        assert inbox.bodies == ["kept"]
        await second.aclose()
        await publisher.publish("t", tools.text("lost"), deadline=tools.soon())
        await publisher.flush(tools.soon())
        assert "its queue had no member for 0.3 s" in caplog.text


async def test_subscriptions_are_registered_when_the_registry_returns(
    registry: Registry, tools: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Moody(type(registry)):  # type: ignore[misc]
        away = True

        async def register(self, service: ServiceRecord, *, ttl: float) -> None:
            if self.away:
                from micro_core import RegistryUnavailable

                raise RegistryUnavailable("away")
            await super().register(service, ttl=ttl)

    moody = Moody(Moody.Options(address=registry_address(registry)))
    async with HTTPBroker(moody, HTTPBroker.Options()) as broker:
        await broker.subscribe("t", _nothing, ALL)
        assert "cannot be registered" in caplog.text
        moody.away = False
        await tools.until(lambda: _listed(registry))


def registry_address(registry: Registry) -> str:
    return registry.__repr__().split("'")[1]


async def _listed(registry: Registry) -> bool:
    return len(await registry.list_services()) == 1


async def test_publish_gives_up_at_its_deadline_when_the_registry_never_answers(tools: Any, registry: Registry) -> None:
    class Silent(type(registry)):  # type: ignore[misc]
        def watch(self, name: str | None) -> Any:
            return anyio.CancelScope()

    async with HTTPBroker(Silent(Silent.Options(address="silent")), HTTPBroker.Options()) as broker:
        with pytest.raises(BrokerUnavailable, match="the registry did not say"):
            await broker.publish("t", tools.text("x"), deadline=tools.soon(0.05))


async def test_refusals(make: Any, tools: Any) -> None:
    async with make(message_limit=10) as broker:
        for topic in ("", "a\r\nb"):
            with pytest.raises(ValueError, match="topic"):
                await broker.publish(topic, tools.text("x"), deadline=tools.soon())
            with pytest.raises(ValueError, match="topic"):
                await broker.subscribe(topic, _nothing, ALL)
        with pytest.raises(ValueError, match="limit of 10"):
            await broker.publish("t", tools.text("x" * 11), deadline=tools.soon())
        for head in ({"a": "b\r\nc"}, {"a\n": "b"}, {str(at): "" for at in range(100)}, {"a": "x" * 16_384}):
            with pytest.raises(ValueError, match="the head of an event"):
                await broker.publish("t", Message(head), deadline=tools.soon())
        with pytest.raises(ConfigurationError, match="'http' does not promise ordered"):
            await broker.subscribe("t", _nothing, SubscribeOptions(requires=frozenset({Capability.ORDERED})))
        with pytest.raises(ValueError, match=r"ff\.http\.broadcast"):
            await broker.subscribe("t", _nothing, SubscribeOptions(queue="ff.http.broadcast"))
    async with make(address="127.0.0.1:99999") as broker:
        with pytest.raises(ConfigurationError, match="99999"):
            await broker.subscribe("t", _nothing, ALL)
    with pytest.raises(BrokerUnavailable, match="not open"):
        await broker.publish("t", tools.text("x"), deadline=tools.soon())
