"""The sentences of `micro_core.Event` about acknowledging and redelivery: a part of `BrokerConformance`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, TypeAlias

import anyio
import pytest
from micro_core import Broker, Capability, Event, Message, SubscribeOptions

from micro_conformance.inbox import Inbox
from micro_conformance.polling import eventually, steadily
from micro_conformance.suite import ComponentSuite, Make, bounded, unique

MakeBroker: TypeAlias = Callable[[], AbstractAsyncContextManager[Broker]]

HEAD = {"content-type": "application/json", "x-user": "ada"}


class AckConformance(ComponentSuite):
    """Every sentence about acknowledging, and what all suites of brokers share.

    Attributes:
        settles_within: seconds until a message that was published is delivered.
        redelivers_within: seconds until the first redelivery of a message that failed.
    """

    settles_within: ClassVar[float] = 2.0
    redelivers_within: ClassVar[float] = 5.0

    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        """The factory that every plugin gives; brokers made one after another deliver to each other."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture make_broker")

    @pytest.fixture
    def make_unreachable_broker(self) -> MakeBroker | None:
        """A factory of brokers whose server does not answer; None for brokers that need none."""
        return None

    @pytest.fixture
    def make_component(self, make_broker: MakeBroker) -> Make:
        return make_broker

    async def publish(self, broker: Broker, topic: str, *bodies: bytes, key: bytes | None = None) -> None:
        """Publishes one after another."""
        for body in bodies:
            await broker.publish(topic, Message(dict(HEAD), body), deadline=anyio.current_time() + 5, key=key)

    def need(self, broker: Broker, capability: Capability) -> None:
        """Leaves the test out for a broker that does not promise it."""
        if capability not in broker.capabilities:
            pytest.skip(f"declared: not {capability.value}")

    @bounded
    async def test_ack_is_idempotent_and_nothing_follows_it(self, make_broker: MakeBroker) -> None:
        topic, inbox = unique("users"), Inbox(manual="aann")
        async with make_broker() as one, make_broker() as other:
            await other.subscribe(topic, inbox, SubscribeOptions(manual_ack=True))
            await self.publish(one, topic, b"x")
            await inbox.has(b"x", within=self.settles_within)
            await steadily(lambda: len(inbox.events) == 1, during=0.3)

    @bounded
    async def test_nack_delivers_again_after_the_delay(self, make_broker: MakeBroker) -> None:
        topic, inbox = unique("users"), Inbox(manual="nna", delay=0.2)
        async with make_broker() as one, make_broker() as other:
            self.need(one, Capability.NACK)
            await other.subscribe(topic, inbox, SubscribeOptions(manual_ack=True))
            await self.publish(one, topic, b"x")
            await eventually(lambda: len(inbox.events) >= 2, within=self.settles_within + self.redelivers_within)
            await steadily(lambda: len(inbox.events) == 2, during=0.3)
        assert [event.attempt for event in inbox.events] == [1, 2]
        assert inbox.times[1] - inbox.times[0] >= 0.15, "it came before the delay was over"

    @bounded
    async def test_without_the_capability_a_nack_counts_as_delivered(self, make_broker: MakeBroker) -> None:
        topic, inbox = unique("users"), Inbox(manual="n")
        async with make_broker() as one, make_broker() as other:
            if Capability.NACK in one.capabilities:
                pytest.skip("declared: nack")
            await other.subscribe(topic, inbox, SubscribeOptions(manual_ack=True))
            await self.publish(one, topic, b"x")
            await inbox.has(b"x", within=self.settles_within)
            await steadily(lambda: len(inbox.events) == 1, during=0.3)

    @bounded
    async def test_a_handler_with_manual_ack_that_ended_with_neither_has_not_acknowledged(
        self, make_broker: MakeBroker
    ) -> None:
        topic, attempts = unique("users"), list[int]()

        async def forgetful(event: Event) -> None:
            attempts.append(event.attempt)
            if event.attempt == 2:
                await event.ack()

        async with make_broker() as one, make_broker() as other:
            self.need(one, Capability.AT_LEAST_ONCE)
            await other.subscribe(topic, forgetful, SubscribeOptions(manual_ack=True))
            await self.publish(one, topic, b"x")
            await eventually(lambda: len(attempts) >= 2, within=self.settles_within + self.redelivers_within)
            await steadily(lambda: attempts == [1, 2], during=0.3)

    @bounded
    async def test_attempts_count_on_across_the_members_of_a_queue(self, make_broker: MakeBroker) -> None:
        topic, failed = unique("users"), anyio.Event()
        attempts: dict[bytes, list[int]] = {b"%d" % at: [] for at in range(4)}
        dealt_with: list[bytes] = []

        async def fail(event: Event) -> None:
            attempts[event.message.body].append(event.attempt)
            failed.set()
            raise LookupError("this member cannot")

        async def succeed(event: Event) -> None:
            attempts[event.message.body].append(event.attempt)
            dealt_with.append(event.message.body)

        async with make_broker() as one, make_broker() as other:
            self.need(one, Capability.AT_LEAST_ONCE)
            unable = await one.subscribe(topic, fail, SubscribeOptions(queue="mailer"))
            await other.subscribe(topic, succeed, SubscribeOptions(queue="mailer"))
            await self.publish(one, topic, *attempts)
            await failed.wait()
            await unable.aclose()
            within = self.settles_within + 3 * self.redelivers_within
            await eventually(lambda: set(dealt_with) == set(attempts), within=within)
        assert list(attempts.values()) == [list(range(1, len(counted) + 1)) for counted in attempts.values()]
        assert max(len(counted) for counted in attempts.values()) > 1
