from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from micro_core import Message
from micro_messaging import Blocked, DeadLetter, Delivery, Lane, Letter, Limits, Redelivery, Tally, dead_letter, offer


def letter(body: bytes = b"x", topic: str = "t", tally: Tally | None = None) -> Letter:
    return Letter(topic, Message({"content-type": "text/plain"}, body), tally or Tally())


def lane(limits: Limits | None = None, policy: Redelivery | None = None) -> Lane:
    return Lane("t", "someone", limits or Limits(), policy or Redelivery(attempts=3, first=1.0), draw=lambda: 1.0)


@pytest.mark.parametrize(
    ("attempt", "draw", "seconds"),
    [(1, 0.0, 0.05), (1, 1.0, 0.1), (2, 1.0, 0.2), (5, 1.0, 1.6), (9, 1.0, 25.6), (10, 1.0, 30.0), (10_000, 0.0, 15.0)],
)
def test_waits_double_up_to_the_longest_with_jitter(attempt: int, draw: float, seconds: float) -> None:
    assert Redelivery().delay(attempt, draw) == pytest.approx(seconds)


def test_an_acknowledged_delivery_is_settled() -> None:
    one, tally = lane(), Tally()
    one.add(letter(tally=tally), 0.0)
    taken = one.take(0.0)
    assert taken is not None
    assert (taken.attempt, one.flying, tally.unsettled) == (1, 1, 1)
    one.ack(taken, 0.0)
    one.ack(taken, 0.0)
    assert (len(one), one.size, tally.unsettled) == (0, 0, 0)


def test_a_failure_comes_back_after_the_backoff_and_finally_dies() -> None:
    one = lane()
    one.add(letter(), 0.0)
    now, died = 0.0, None
    for attempt, wait in ((1, 1.0), (2, 2.0)):
        taken = one.take(now)
        assert taken is not None
        assert taken.attempt == attempt
        assert one.fail(taken, now, "no") is None
        assert one.next_due(now) == now + wait
        assert one.take(now + wait - 0.01) is None
        now += wait
    taken = one.take(now)
    assert taken is not None
    died = one.fail(taken, now, "no")
    assert isinstance(died, DeadLetter)
    assert (died.attempts, died.subscriber, died.reason, len(one)) == (3, "someone", "no", 0)


def test_nack_chooses_its_own_delay() -> None:
    one = lane()
    one.add(letter(), 0.0)
    one.fail(_take(one), 0.0, "later", delay=7.0)
    assert one.next_due(0.0) == 7.0


def test_what_was_put_back_has_used_no_attempt_and_keeps_its_turn() -> None:
    one = lane()
    first, second = letter(b"1"), letter(b"2")
    one.add(first, 0.0)
    one.add(second, 0.0)
    one.put_back(_take(one), 0.0)
    again = _take(one)
    assert (again.letter, again.attempt) == (first, 1)


def test_a_full_lane_blocks_until_it_counts_as_stalled_and_then_only_itself() -> None:
    slow, quick = lane(Limits(messages=1, stalled_after=2.0)), lane()
    assert offer(letter(), [slow, quick], 10.0) == []
    blocked = offer(letter(), [slow, quick], 11.0)
    assert blocked == Blocked(12.0, slow)
    assert len(quick) == 1, "a blocked letter enters no lane"
    overflow = offer(letter(), [slow, quick], 12.0)
    assert isinstance(overflow, list)
    assert [dead.attempts for dead in overflow] == [0]
    assert slow.stalled
    assert len(quick) == 2


def test_a_stalled_lane_that_acknowledges_takes_part_again() -> None:
    slow = lane(Limits(messages=1, stalled_after=2.0))
    offer(letter(), [slow], 0.0)
    offer(letter(), [slow], 5.0)
    slow.ack(_take(slow), 6.0)
    assert not slow.stalled
    assert offer(letter(), [slow], 6.0) == []
    assert isinstance(offer(letter(), [slow], 6.0), Blocked)


def test_a_lane_is_bounded_in_bytes_but_an_empty_one_takes_any_letter() -> None:
    one = lane(Limits(size=1000))
    assert offer(letter(b"x" * 5000), [one], 0.0) == []
    assert isinstance(offer(letter(b"x"), [one], 0.0), Blocked)


def test_a_long_silence_is_told_once() -> None:
    one = lane()
    assert one.complaint_at(10.0) is None
    one.add(letter(), 5.0)
    assert one.complaint_at(10.0) == 15.0
    one.told = True
    assert one.complaint_at(10.0) is None
    one.add(letter(), 16.0)
    one.ack(_take(one), 17.0)
    assert one.complaint_at(10.0) == 27.0


def test_abandoning_a_lane_tells_everything_that_was_in_it() -> None:
    one, tally = lane(), Tally()
    for body in (b"1", b"2", b"3"):
        one.add(letter(body, tally=tally), 0.0)
    _take(one)
    one.fail(_take(one), 0.0, "no")
    assert {dead.letter.message.body for dead in one.abandon("gone")} == {b"1", b"2", b"3"}
    assert (len(one), one.size, tally.unsettled) == (0, 0, 0)


def test_a_dead_letter_goes_to_the_topic_of_the_dead_and_no_further() -> None:
    answer = dead_letter(DeadLetter(letter(b"body"), "someone", 10, "be\ncause"))
    assert answer is not None
    topic, message = answer
    assert (topic, message.body, message.head["micro-dead-reason"]) == ("t.dead", b"body", "be cause")
    assert (message.head["micro-dead-topic"], message.head["micro-dead-attempts"]) == ("t", "10")
    assert dead_letter(DeadLetter(letter(topic="t.dead"), "someone", 10, "because")) is None


def _take(one: Lane) -> Delivery:
    taken = one.take(1e9)
    assert taken is not None
    return taken


class Lanes(RuleBasedStateMachine):
    """Whatever happens, every accepted letter is unsettled, acknowledged or dead, and only one of these."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.tally = 0.0, Tally()
        self.lane = Lane("t", "s", Limits(messages=5, stalled_after=1.0), Redelivery(attempts=2, first=0.5))
        self.flying: list[Delivery] = []
        self.accepted = self.acked = self.dead = 0

    @rule()
    def publish(self) -> None:
        answer = offer(letter(tally=self.tally), [self.lane], self.now)
        if not isinstance(answer, Blocked):
            self.accepted += 1
            self.dead += len(answer)

    @rule(seconds=st.floats(0.01, 2.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        if taken := self.lane.take(self.now):
            self.flying.append(taken)

    @rule(how=st.sampled_from(["ack", "fail", "put_back", "give_up"]), data=st.data())
    def end(self, how: str, data: Any) -> None:
        if not self.flying:
            return
        delivery = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        died: DeadLetter | None = None
        if how == "ack":
            self.lane.ack(delivery, self.now)
            self.acked += 1
        elif how == "put_back":
            self.lane.put_back(delivery, self.now, 0.1)
        else:
            died = self.lane.fail(delivery, self.now, "no") if how == "fail" else self.lane.give_up(delivery, "no")
        self.dead += died is not None

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.accepted == self.acked + self.dead + len(self.lane)
        assert self.tally.unsettled == len(self.lane) <= 5
        assert self.lane.flying == len(self.flying)
        assert (self.lane.size == 0) == (len(self.lane) == 0)
        due = self.lane.next_due(self.now)
        assert (due is None) == (len(self.lane) == len(self.flying))


TestLanes = Lanes.TestCase
TestLanes.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.integers(1, 100), st.floats(0, 1))
def test_a_wait_is_never_over_the_longest(attempt: int, draw: float) -> None:
    assert 0 < Redelivery(longest=3.0).delay(attempt, draw) <= 3.0
