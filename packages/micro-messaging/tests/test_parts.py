from __future__ import annotations

import logging
import threading

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from micro_core import Capability, ConfigurationError, Event, Message, SubscribeOptions
from micro_messaging import ACKED, DuplicateFilter, HandledEvent, Waker, check_options, check_topic, handle, supervise


@pytest.mark.parametrize("topic", ["", "a\nb", "a\x00", "\x7f", "a\x85b", "x" * 1025, "\ud800"])
def test_a_topic_that_no_wire_may_hold_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="topic"):
        check_topic(topic)


@pytest.mark.parametrize("topic", ["a", "users.created", "Größe", "a b", "日本"])
def test_ordinary_topics_pass(topic: str) -> None:
    check_topic(topic)


def test_the_filter_forgets_after_the_window() -> None:
    known = DuplicateFilter(window=10.0)
    known.add("a", 0.0)
    assert known.seen("a", 9.9)
    assert not known.seen("a", 10.0)
    assert len(known) == 0


@given(st.lists(st.integers(0, 20)), st.integers(1, 5))
def test_the_filter_is_bounded_and_remembers_the_latest(keys: list[int], capacity: int) -> None:
    known = DuplicateFilter(capacity)
    for now, key in enumerate(keys):
        known.add(key, float(now))
    assert len(known) <= capacity
    for key in list(dict.fromkeys(reversed(keys)))[:capacity]:
        assert known.seen(key, float(len(keys)))


def test_a_missing_capability_is_named_with_the_broker() -> None:
    options = SubscribeOptions(requires=frozenset({Capability.DURABLE}))
    with pytest.raises(ConfigurationError, match="'memory' does not promise durable"):
        check_options("memory", frozenset({Capability.NACK}), options)


@pytest.mark.parametrize("options", [SubscribeOptions(concurrency=0), SubscribeOptions(queue="")])
def test_options_without_sense_are_refused(options: SubscribeOptions) -> None:
    with pytest.raises(ValueError, match=r"concurrency|queue"):
        check_options("memory", frozenset(), options)


def event() -> HandledEvent:
    return HandledEvent("t", Message({}), 1)


@pytest.mark.anyio
async def test_a_handler_that_returns_has_acknowledged_and_one_that_raises_has_not() -> None:
    async def well(_: Event) -> None: ...

    async def badly(_: Event) -> None:
        raise KeyError("k")

    good, bad = event(), event()
    assert await handle(well, good, manual_ack=False) is None
    assert good.verdict == ACKED
    assert isinstance(await handle(badly, bad, manual_ack=False), KeyError)
    assert bad.verdict is not None
    assert (bad.verdict.acked, bad.verdict.reason) == (False, "KeyError: 'k'")


@pytest.mark.anyio
async def test_the_first_decision_counts() -> None:
    async def both(given: Event) -> None:
        await given.nack(3.0)
        await given.ack()

    one = event()
    await handle(both, one, manual_ack=True)
    assert one.verdict is not None
    assert (one.verdict.acked, one.verdict.delay) == (False, 3.0)


@pytest.mark.anyio
async def test_a_manual_ack_may_come_after_the_handler_and_is_missed_when_it_does_not() -> None:
    async def leaves(_: Event) -> None: ...

    late, never = event(), event()
    await handle(leaves, late, manual_ack=True)
    await handle(leaves, never, manual_ack=True)
    assert late.verdict is None
    async with anyio.create_task_group() as group:
        group.start_soon(late.ack)
        assert await late.decision(5.0) == ACKED
    assert not (await never.decision(0.01)).acked


@pytest.mark.anyio
async def test_a_waker_wakes_from_another_thread_and_keeps_a_wake() -> None:
    waker = Waker()
    waker.wake()
    with anyio.fail_after(5):
        await waker.wait()
    thread = threading.Thread(target=waker.wake)
    thread.start()
    with anyio.fail_after(5):
        await waker.wait()
    thread.join()
    await waker.wait(0.01)


@pytest.mark.anyio
async def test_a_background_task_that_fails_is_logged_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    runs = []

    async def work() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise OSError("away")

    with anyio.fail_after(5):
        await supervise("the work", work, logging.getLogger("micro.messaging"))
    assert len(runs) == 3
    assert caplog.text.count("the work failed") == 2
