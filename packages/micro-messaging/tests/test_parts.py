from __future__ import annotations

import logging
import threading

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from micro_core import Capability, ConfigurationError, Event, EventHandler, Message, SubscribeOptions
from micro_messaging import (
    ACKED,
    DuplicateFilter,
    HandledEvent,
    Verdict,
    Waker,
    check_options,
    check_topic,
    handle,
    supervise,
)


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


async def leaves(_: Event) -> None: ...


async def raises(_: Event) -> None:
    raise KeyError("k")


async def decides_twice(given: Event) -> None:
    await given.nack(3.0)
    await given.ack()


async def acks_and_raises(given: Event) -> None:
    await given.ack()
    raise KeyError("k")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("handler", "manual_ack", "verdict"),
    [
        (leaves, False, ACKED),
        (leaves, True, Verdict(False, "the handler ended with neither ack nor nack")),
        (raises, False, Verdict(False, "KeyError: 'k'")),
        (raises, True, Verdict(False, "KeyError: 'k'")),
        (decides_twice, False, Verdict(False, "the handler refused it by nack", 3.0)),
        (decides_twice, True, Verdict(False, "the handler refused it by nack", 3.0)),
        (acks_and_raises, True, ACKED),
    ],
)
async def test_what_a_handler_decides(handler: EventHandler, manual_ack: bool, verdict: Verdict) -> None:
    decided, error = await handle(handler, event(), manual_ack=manual_ack)
    assert decided == verdict
    assert isinstance(error, KeyError) == (handler in (raises, acks_and_raises))


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
