"""Subscribers and publishing, over the memory broker."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import anyio
import micro
import pytest
from micro_broker_memory import MemoryBroker
from micro_conformance.polling import eventually
from micro_core import Capability, ConfigurationError
from micro_registry_memory import MemoryRegistry

pytestmark = pytest.mark.anyio

Kinds = dict[str, Any]


@dataclass
class UserCreated:
    name: str


async def test_an_event_reaches_every_subscriber_and_one_of_each_queue(memory: Kinds) -> None:
    got: list[str] = []
    services = [micro.Service(name, **memory) for name in ("one", "two")]
    for service in services:

        @service.subscriber("users.created")
        async def each(event: UserCreated) -> None:
            got.append(f"each {event.name}")

        @service.subscriber("users.created", queue="mailer")
        def mail(event: UserCreated) -> None:
            got.append(f"mail {event.name} {threading.current_thread() is threading.main_thread()}")

    async with services[0], services[1], micro.Client(**memory) as client:
        await client.publish("users.created", UserCreated("Ada"), timeout=2, key="k")
        await eventually(lambda: len(got) == 3, within=5)
        assert sorted(got) == ["each Ada", "each Ada", "mail Ada False"]


async def test_an_event_carries_its_head_and_the_metadata_of_the_call_being_served(memory: Kinds) -> None:
    heads: list[dict[str, str]] = []
    contexts: list[micro.Context] = []
    service = micro.Service("greeter", **memory)

    @service.handler
    class Say:
        async def hello(self, name: str) -> str:
            await service.client.publish("greeted", UserCreated(name), metadata={"Mine": "2", "Micro-Error": "x"})
            return name

    @service.subscriber("greeted")
    async def on_greeted(event: micro.Event) -> None:
        heads.append(event.message.head)
        contexts.append(micro.context())

    async with service, micro.Client(**memory) as client:
        await client.call("greeter", "Say.Hello", "Ada", str, metadata={"Trace": "1"})
        await eventually(lambda: heads, within=5)
        (head,) = heads
        assert len(head.pop("micro-id")) == 36
        assert head == {
            "content-type": "application/json",
            "micro-topic": "greeted",
            "micro-from-service": "greeter",
            "trace": "1",
            "mine": "2",
        }
        assert contexts[0].metadata == {"trace": "1", "mine": "2"}
        assert (contexts[0].endpoint, contexts[0].caller) == ("OnGreeted", "greeter")


async def test_a_subscriber_is_registered_with_its_topic(memory: Kinds) -> None:
    service = micro.Service("mailer", **memory)

    @service.subscriber("users.created")
    async def on_user_created(event: UserCreated) -> None: ...

    async with service:
        (endpoint,) = service.record.endpoints
        assert (endpoint.name, endpoint.metadata) == (
            "OnUserCreated",
            {"topic": "users.created", "subscriber": "true"},
        )
        assert endpoint.request is not None
        assert (endpoint.request.type, endpoint.response) == ("UserCreated", None)


async def test_a_subscriber_that_raises_is_called_again(memory: Kinds) -> None:
    attempts: list[int] = []
    service = micro.Service("mailer", **memory)

    @service.subscriber("users.created")
    async def once_more(event: micro.Event) -> None:
        attempts.append(event.attempt)
        if event.attempt == 1:
            raise OSError("no mail today")

    async with service:
        await service.client.publish("users.created", UserCreated("Ada"))
        await eventually(lambda: attempts == [1, 2], within=5)


async def test_an_event_that_cannot_be_decoded_is_a_clear_failure_and_others_flow(
    memory: Kinds, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[str] = []
    service = micro.Service("mailer", **memory)

    @service.subscriber("users.created", concurrency=2)
    async def on_user(event: UserCreated) -> None:
        got.append(event.name)

    with caplog.at_level(logging.WARNING):
        async with service:
            await service.client.publish("users.created", 5)
            await service.client.publish("users.created", UserCreated("Ada"))
            await eventually(lambda: got == ["Ada"], within=5)
            await eventually(lambda: "cannot be decoded for subscriber" in caplog.text, within=5)
    assert "topic 'users.created'" in caplog.text
    assert "on_user (application/json, 1 bytes)" in caplog.text


async def test_subscriber_middleware_wraps_in_order(memory: Kinds) -> None:
    log: list[str] = []

    def noting(name: str) -> Any:
        async def around(event: micro.Event, call_next: Any) -> None:
            log.append(f"{name} {micro.context().metadata}")
            await call_next(event)
            log.append(f"{name} done")

        return around

    service = micro.Service("mailer", subscriber_middleware=[noting("one"), noting("two")], **memory)

    @service.subscriber("topic")
    async def handle(event: int) -> None:
        log.append(f"got {event}")

    async with service:
        await service.client.publish("topic", 5, metadata={"a": "b"})
        await eventually(lambda: len(log) == 5, within=5)
    assert log == ["one {'a': 'b'}", "two {'a': 'b'}", "got 5", "two done", "one done"]


async def no_annotation(event) -> None: ...  # type: ignore[no-untyped-def]  # what the test is about


async def two(event: int, other: int) -> None: ...


async def fine(event: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (no_annotation, {}, r"subscriber no_annotation must take one annotated event; write `async def no_annotation"),
        (two, {}, "subscriber two must take one annotated event"),
        (fine, {"requires": frozenset({Capability.DURABLE})}, "subscriber fine: .*durable"),
    ],
)
async def test_what_cannot_be_subscribed_is_an_error_at_start(
    memory: Kinds, function: Any, options: dict[str, Any], said: str
) -> None:
    service = micro.Service("mailer", **memory)
    service.subscriber("topic", **options)(function)
    with pytest.raises(ConfigurationError, match=said):
        async with service:
            raise AssertionError("it started")


async def test_publishing_says_what_is_wrong(memory: Kinds) -> None:
    async with micro.Client(**memory) as client:
        with pytest.raises(micro.errors.UnsupportedContentType, match="text/nope"):
            await client.publish("topic", 1, content_type="text/nope")
        with pytest.raises(micro.errors.UnsupportedType):
            await client.publish("topic", object())
        with pytest.raises(ValueError, match="topic"):
            await client.publish("", 1)


async def test_a_broker_that_is_away_at_start_is_tried_until_it_is_there(
    memory: Kinds, caplog: pytest.LogCaptureFixture
) -> None:
    class Shaky(MemoryBroker):
        away = True

        async def subscribe(self, topic: str, handler: Any, options: Any) -> Any:
            if self.away:
                raise micro.errors.BrokerUnavailable("it is away")
            return await super().subscribe(topic, handler, options)

    broker = Shaky(MemoryRegistry(MemoryRegistry.Options()), MemoryBroker.Options(address="shaky"))
    memory["options"]["register.wait"] = 0.1
    service = micro.Service("mailer", **{**memory, "broker": broker})
    got: list[int] = []

    @service.subscriber("topic")
    async def on_topic(event: int) -> None:
        got.append(event)

    with caplog.at_level(logging.INFO, "micro.service"), anyio.fail_after(5):
        async with service:
            assert caplog.text.count("1 subscribers wait for the broker (it is away); trying on") == 1
            broker.away = False
            await eventually(lambda: "every subscriber is subscribed" in caplog.text, within=5)
            await service.client.publish("topic", 1)
            await eventually(lambda: got == [1], within=5)


async def test_running_subscribers_finish_before_the_service_ends(memory: Kinds) -> None:
    started, done = anyio.Event(), anyio.Event()
    service = micro.Service("mailer", **memory)

    @service.subscriber("topic")
    async def slow(event: int) -> None:
        started.set()
        await anyio.sleep(0.2)
        done.set()

    async with service:
        await service.client.publish("topic", 1)
        await started.wait()
    assert done.is_set()
