"""The sentences of `micro_core.Broker` and `Subscription`; those about acknowledging are in `acks`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

import anyio
import pytest
from micro_core import BrokerUnavailable, Capability, ConfigurationError, Event, Message, SubscribeOptions

from micro_conformance.acks import HEAD, AckConformance, MakeBroker
from micro_conformance.inbox import Inbox, Most
from micro_conformance.polling import eventually, steadily
from micro_conformance.suite import bounded, logged, under_plain_asyncio, unique

__all__ = ["AckConformance", "BrokerConformance", "Inbox", "MakeBroker", "Most"]

BAD_TOPICS = ("", "line\nbreak", "nul\0", "tab\t", "\x7f")


class BrokerConformance(AckConformance):
    """Every sentence of `Broker`, one test each; see `AckConformance` for what is declared.

    What a capability promises is tested where the broker has it.
    """

    # publish

    @bounded
    async def test_publishing_to_a_topic_without_subscribers_is_no_error(self, make_broker: MakeBroker) -> None:
        async with make_broker() as broker:
            await self.publish(broker, unique("nobody"), b"1", b"2")

    @bounded
    async def test_a_topic_that_is_empty_or_has_control_characters_is_a_value_error(
        self, make_broker: MakeBroker
    ) -> None:
        async with make_broker() as broker:
            for topic in BAD_TOPICS:
                with pytest.raises(ValueError, match=r"\S"):
                    await self.publish(broker, topic, b"x")
                with pytest.raises(ValueError, match=r"\S"):
                    await broker.subscribe(topic, Inbox(), SubscribeOptions())

    @bounded
    async def test_a_broker_that_cannot_be_reached_is_unavailable_by_the_deadline(
        self, make_unreachable_broker: MakeBroker | None
    ) -> None:
        if make_unreachable_broker is None:
            pytest.skip("declared: there is nothing to be reached (make_unreachable_broker)")
        with pytest.raises(BrokerUnavailable, match=r"\S"):
            async with make_unreachable_broker() as broker:
                await broker.publish(unique("topic"), Message({}, b"x"), deadline=anyio.current_time() + 0.5)

    # subscribe

    @bounded
    async def test_messages_published_from_when_it_returns_are_delivered_as_they_were(
        self, make_broker: MakeBroker
    ) -> None:
        topic, inbox = unique("users"), Inbox()
        body = bytes(range(256))
        async with make_broker() as one, make_broker() as other:
            await other.subscribe(topic, inbox, SubscribeOptions())
            await self.publish(one, topic, body)
            await inbox.has(body, within=self.settles_within)
        event = inbox.events[0]
        assert (event.topic, event.attempt) == (topic, 1)
        assert event.message.head.items() >= HEAD.items()

    @bounded
    async def test_a_head_that_was_given_may_be_changed_by_whoever_got_it(self, make_broker: MakeBroker) -> None:
        topic, inbox, heads = unique("users"), Inbox(), list[dict[str, str]]()

        async def spoil(event: Event) -> None:
            heads.append(dict(event.message.head))
            event.message.head["x-spoiled"] = "1"
            if event.attempt == 1:
                raise LookupError("once more")

        message = Message(dict(HEAD), b"x")
        async with make_broker() as one:
            await one.subscribe(topic, spoil, SubscribeOptions())
            await one.subscribe(topic, inbox, SubscribeOptions())
            await one.publish(topic, message, deadline=anyio.current_time() + 5)
            await inbox.has(b"x", within=self.settles_within)
            expected = 2 if Capability.AT_LEAST_ONCE in one.capabilities else 1
            within = self.settles_within + self.redelivers_within
            await eventually(lambda: len(heads) == expected, within=within)
        heads.append(inbox.events[0].message.head)
        assert not any("x-spoiled" in head for head in heads)
        assert message.head == HEAD

    @bounded
    async def test_other_topics_are_not_delivered(self, make_broker: MakeBroker) -> None:
        topic, inbox = unique("users"), Inbox()
        async with make_broker() as one, make_broker() as other:
            await other.subscribe(topic, inbox, SubscribeOptions())
            await self.publish(one, f"{topic}.x", b"no")
            await self.publish(one, topic.upper(), b"no")
            await self.publish(one, topic, b"yes")
            await inbox.has(b"yes", within=self.settles_within)
            await steadily(lambda: set(inbox.bodies) == {b"yes"}, during=0.1)

    @bounded
    async def test_without_a_queue_every_subscriber_gets_each(self, make_broker: MakeBroker) -> None:
        topic, inboxes = unique("users"), [Inbox(), Inbox(), Inbox()]
        bodies = [b"%d" % at for at in range(10)]
        async with make_broker() as one, make_broker() as other:
            for broker, inbox in zip((one, other, other), inboxes, strict=True):
                await broker.subscribe(topic, inbox, SubscribeOptions())
            await self.publish(one, topic, *bodies)
            for inbox in inboxes:
                await inbox.has(*bodies, within=self.settles_within)

    @bounded
    async def test_members_of_one_queue_share_the_messages(self, make_broker: MakeBroker) -> None:
        topic, inboxes, audit = unique("users"), [Inbox(), Inbox()], Inbox()
        bodies = [b"%d" % at for at in range(40)]
        async with make_broker() as one, make_broker() as other:
            for broker, inbox in zip((one, other), inboxes, strict=True):
                await broker.subscribe(topic, inbox, SubscribeOptions(queue="mailer"))
            await other.subscribe(topic, audit, SubscribeOptions(queue="audit"))
            await self.publish(one, topic, *bodies)
            await audit.has(*bodies, within=self.settles_within)

            def shared() -> bool:
                assert sorted(inboxes[0].bodies + inboxes[1].bodies) == sorted(bodies)
                return True

            await eventually(shared, within=self.settles_within)
            await steadily(shared, during=0.1)
        assert all(inbox.bodies for inbox in inboxes), "one member got everything"

    @bounded
    async def test_a_missing_capability_is_a_configuration_error_that_names_it(self, make_broker: MakeBroker) -> None:
        async with make_broker() as broker:
            for capability in Capability:
                options = SubscribeOptions(requires=frozenset({capability}))
                if capability in broker.capabilities:
                    await broker.subscribe(unique("users"), Inbox(), options)
                else:
                    with pytest.raises(ConfigurationError, match=f"(?i){capability.value}"):
                        await broker.subscribe(unique("users"), Inbox(), options)

    @bounded
    async def test_many_may_publish_at_once(self, make_broker: MakeBroker) -> None:
        topic, inbox = unique("users"), Inbox()
        bodies = [b"%d" % at for at in range(100)]
        async with make_broker() as one, make_broker() as other:
            await other.subscribe(topic, inbox, SubscribeOptions(concurrency=10))
            async with anyio.create_task_group() as group:
                for body in bodies:
                    group.start_soon(self.publish, one, topic, body)
            await inbox.has(*bodies, within=self.settles_within)

    # handlers

    @bounded
    async def test_a_handler_that_raises_never_ends_the_broker_and_is_logged(self, make_broker: MakeBroker) -> None:
        topic, inbox = unique("users"), Inbox(failures=1)
        with logged() as records:
            async with make_broker() as one, make_broker() as other:
                await other.subscribe(topic, inbox, SubscribeOptions())
                await self.publish(one, topic, b"bad")
                await inbox.has(b"bad", within=self.settles_within)
                await self.publish(one, topic, b"good")
                await inbox.has(b"good", within=self.settles_within + self.redelivers_within)
        assert records, "the failure is not logged"

    @bounded
    async def test_a_message_that_failed_is_redelivered_and_counted(self, make_broker: MakeBroker) -> None:
        topic, inbox = unique("users"), Inbox(failures=1)
        async with make_broker() as one, make_broker() as other:
            self.need(one, Capability.AT_LEAST_ONCE)
            await other.subscribe(topic, inbox, SubscribeOptions())
            await self.publish(one, topic, b"x")
            await eventually(lambda: len(inbox.events) >= 2, within=self.settles_within + self.redelivers_within)
        assert [event.attempt for event in inbox.events] == [1, 2]
        assert inbox.bodies == [b"x", b"x"]

    @bounded
    async def test_a_handler_that_returned_has_acknowledged(self, make_broker: MakeBroker) -> None:
        topic, inbox = unique("users"), Inbox()
        async with make_broker() as one, make_broker() as other:
            await other.subscribe(topic, inbox, SubscribeOptions())
            await self.publish(one, topic, b"x")
            await inbox.has(b"x", within=self.settles_within)
            await steadily(lambda: len(inbox.events) == 1, during=0.3)

    @bounded
    async def test_no_more_handlers_than_concurrency_run_at_once(self, make_broker: MakeBroker) -> None:
        for concurrency in (1, 3):
            topic, most = unique("users"), Most()
            async with make_broker() as one, make_broker() as other:
                await other.subscribe(topic, most, SubscribeOptions(concurrency=concurrency))
                async with anyio.create_task_group() as group:
                    for at in range(12):
                        group.start_soon(self.publish, one, topic, b"%d" % at)
                await most.has_done(12, within=self.settles_within + 2)
            assert most.most == concurrency

    @bounded
    async def test_a_slow_subscriber_does_not_hold_up_others(self, make_broker: MakeBroker) -> None:
        topic, inbox, release = unique("users"), Inbox(), anyio.Event()
        bodies = [b"%d" % at for at in range(20)]

        async def slow(event: Event) -> None:
            await release.wait()

        async with make_broker() as one, make_broker() as other:
            await other.subscribe(topic, slow, SubscribeOptions())
            await other.subscribe(topic, inbox, SubscribeOptions())
            await self.publish(one, topic, *bodies)
            await inbox.has(*bodies, within=self.settles_within)
            release.set()

    @bounded
    async def test_messages_of_one_publisher_and_key_arrive_in_order(self, make_broker: MakeBroker) -> None:
        topic, inbox = unique("users"), Inbox()
        bodies = [b"%03d" % at for at in range(50)]
        async with make_broker() as one, make_broker() as other:
            self.need(one, Capability.ORDERED)
            await other.subscribe(topic, inbox, SubscribeOptions())
            await self.publish(one, topic, *bodies, key=b"ada")
            await inbox.has(*bodies, within=self.settles_within)
        assert inbox.bodies == bodies

    # subscription

    @bounded
    async def test_a_closed_subscription_gets_no_new_events(self, make_broker: MakeBroker) -> None:
        topic, inbox, other_inbox = unique("users"), Inbox(), Inbox()
        async with make_broker() as one, make_broker() as other:
            subscription = await other.subscribe(topic, inbox, SubscribeOptions())
            await other.subscribe(topic, other_inbox, SubscribeOptions())
            await self.publish(one, topic, b"before")
            await inbox.has(b"before", within=self.settles_within)
            for _ in range(2):
                await subscription.aclose()
            await self.publish(one, topic, b"after")
            await other_inbox.has(b"after", within=self.settles_within)
            await steadily(lambda: inbox.bodies == [b"before"], during=0.1)

    @bounded
    async def test_closing_a_subscription_returns_when_running_handlers_have(self, make_broker: MakeBroker) -> None:
        topic, most = unique("users"), Most(0.2)
        async with make_broker() as one, make_broker() as other:
            subscription = await other.subscribe(topic, most, SubscribeOptions())
            await self.publish(one, topic, b"x")
            await eventually(lambda: most.running == 1, within=self.settles_within)
            await subscription.aclose()
            assert most.done == 1

    @bounded
    async def test_a_subscription_closes_also_when_cancelled(self, make_broker: MakeBroker) -> None:
        topic, inbox, other_inbox = unique("users"), Inbox(), Inbox()
        async with make_broker() as one, make_broker() as other:
            subscription = await other.subscribe(topic, inbox, SubscribeOptions())
            await other.subscribe(topic, other_inbox, SubscribeOptions())
            with anyio.CancelScope() as scope:
                scope.cancel()
                await subscription.aclose()
            await self.publish(one, topic, b"after")
            await other_inbox.has(b"after", within=self.settles_within)
            await steadily(lambda: not inbox.events, during=0.1)

    # flush

    @bounded
    async def test_flush_returns_when_everything_accepted_is_delivered(self, make_broker: MakeBroker) -> None:
        topic, most = unique("users"), Most(0.02)
        async with make_broker() as one:
            await one.subscribe(topic, most, SubscribeOptions())
            await self.publish(one, topic, *(b"%d" % at for at in range(5)))
            await one.flush(anyio.current_time() + 5)
            assert most.done == 5

    @bounded
    async def test_flush_returns_at_the_deadline(self, make_broker: MakeBroker) -> None:
        topic, release = unique("users"), anyio.Event()

        async def slow(event: Event) -> None:
            await release.wait()

        async with make_broker() as one:
            await one.subscribe(topic, slow, SubscribeOptions())
            await self.publish(one, topic, b"x")
            started = anyio.current_time()
            await one.flush(started + 0.2)
            assert anyio.current_time() - started < 2
            release.set()

    def test_it_works_under_plain_asyncio(self, make_broker: MakeBroker) -> None:
        async def scenario() -> None:
            topic, inbox = unique("users"), Inbox()
            async with make_broker() as one, make_broker() as other:
                await other.subscribe(topic, inbox, SubscribeOptions())
                await self.publish(one, topic, b"x")
                await inbox.has(b"x", within=self.settles_within)

        if "asyncio" in self.backends:
            under_plain_asyncio(scenario, self.patience)
