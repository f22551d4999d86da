"""Who gets the events, from snapshots alone; no socket, no sleep."""

from __future__ import annotations

import pytest
from micro_broker_http.courier import Answer, Fate, read_answer
from micro_broker_http.routes import Destination, Routes
from micro_core import Message, Node, ServiceRecord, Snapshot
from micro_messaging import Lane, Letter, Limits, Redelivery, Tally

HOST = "here"


def routes() -> Routes:
    return Routes(lambda topic, name: Lane(topic, name, Limits(), Redelivery()), HOST)


def node(name: str, topic: str = "t", address: str = "127.0.0.1:1", **metadata: str) -> Node:
    return Node(name, address, {"broker": "http", "topic": topic, **metadata})


def record(queue: str, *nodes: Node) -> ServiceRecord:
    return ServiceRecord("micro.http.broker", queue, nodes)


def listed(*records: ServiceRecord, departed: tuple[str, ...] = ()) -> Snapshot:
    return Snapshot(records, frozenset(departed))


def members(destinations: list[Destination]) -> list[list[str]]:
    return sorted(sorted(destination.members) for destination in destinations)


def test_a_lane_per_broadcast_subscriber_and_one_per_queue_of_the_topic() -> None:
    known = routes()
    new = known.update(
        listed(
            record("ff.http.broadcast", node("a"), node("b"), node("other", topic="u")),
            record("q", node("c"), node("d")),
            record("r", node("e")),
        ),
        0.0,
    )
    assert len(new) == 5
    assert members(known.of("t")) == [["a"], ["b"], ["c", "d"], ["e"]]
    assert members(known.of("u")) == [["other"]]
    assert known.of("nobody") == []


@pytest.mark.parametrize(
    "stranger",
    [
        node("x", address="nonsense"),
        node("x", address="127.0.0.1:0"),
        node("x", topic=""),
        node("x", topic="a\nb"),
        node("x", broker="nats"),
        node("x", secure="true"),
        node("x", **{"micro-host": "elsewhere"}),
        node(""),
    ],
)
def test_records_that_cannot_be_posted_to_are_left_out(stranger: Node) -> None:
    known = routes()
    known.update(listed(record("ff.http.broadcast", stranger, node("good"))), 0.0)
    assert members(list(known)) == [["good"]]


def test_a_goodbye_is_believed_at_once_and_absence_only_with_a_refused_dial() -> None:
    known = routes()
    known.update(listed(record("q", node("a"), node("b"), node("c"))), 0.0)
    (queue,) = known.of("t")
    known.update(listed(departed=("a",)), 1.0)
    assert sorted(queue.members) == ["b", "c"]
    queue.members["b"].refused(1.0)
    known.update(listed(), 2.0)
    assert sorted(queue.members) == ["c"]
    orphaned = [queue.orphaned]
    member = queue.members["c"]
    member.refused(3.0)
    assert member.lost
    known.remove(queue, member, 3.0)
    orphaned.append(queue.orphaned)
    assert orphaned == [None, 3.0]
    assert known.of("t") == [queue], "a queue is remembered for the next member"
    known.update(listed(record("q", node("d"))), 4.0)
    assert (sorted(queue.members), queue.orphaned) == (["d"], None)


def test_a_broadcast_subscriber_that_leaves_closes_its_destination() -> None:
    known = routes()
    known.update(listed(record("ff.http.broadcast", node("a"))), 0.0)
    (destination,) = known.of("t")
    known.update(listed(departed=("a",)), 1.0)
    assert destination.closed
    assert known.of("t") == []


def test_a_subscription_that_said_it_is_closed_is_not_taken_up_again() -> None:
    known = routes()
    snapshot = listed(record("ff.http.broadcast", node("a")))
    known.update(snapshot, 0.0)
    (destination,) = known.of("t")
    known.departed(destination, destination.members["a"], 1.0)
    assert known.update(snapshot, 2.0) == []
    assert known.of("t") == []


def test_a_local_subscription_is_known_whatever_the_registry_says() -> None:
    known = routes()
    known.add_local(None, "t", node("mine"), 0.0)
    known.update(listed(), 1.0)
    assert members(known.of("t")) == [["mine"]]
    known.update(listed(record("ff.http.broadcast", node("mine", address="10.0.0.1:5"))), 2.0)
    assert known.of("t")[0].members["mine"].node.address == "127.0.0.1:1"
    known.remove_local("mine", 3.0)
    assert known.of("t") == []


def test_a_node_that_moves_is_followed() -> None:
    known = routes()
    known.update(listed(record("q", node("a"))), 0.0)
    known.update(listed(record("q", node("a", address="127.0.0.1:2"))), 1.0)
    assert known.of("t")[0].members["a"].node.address == "127.0.0.1:2"
    known.update(listed(record("ff.http.broadcast", node("a"))), 2.0)
    assert [len(destination.members) for destination in known.of("t")] == [0, 1]


def test_who_subscribed_before_an_event_gets_it_though_the_registry_tells_later() -> None:
    known = routes()
    letter = Letter("t", Message({}), Tally(), accepted=100.0)
    known.published(letter, 0.0)
    early, late, foreign = "100000000", "100000001", "nonsense"
    for name, since in (("early", early), ("late", late), ("foreign", foreign)):
        known.update(listed(record("ff.http.broadcast", node(name, **{"micro-since": since}))), 1.0)
        (destination,) = [one for one in known.of("t") if name in one.members]
        assert len(destination.lane) == (name == "early")
    known.update(listed(record("q", node("x", **{"micro-since": early}))), 4.0)
    assert all(len(one.lane) == 0 for one in known.of("t") if one.key.queue), "too long ago"


def test_the_member_with_the_least_to_do_is_picked_and_resting_ones_are_not() -> None:
    known = routes()
    known.update(listed(record("q", node("a"), node("b"))), 0.0)
    (queue,) = known.of("t")
    a, b = queue.members["a"], queue.members["b"]
    a.flying = 1
    assert queue.pick(0.0, 2) is b
    b.refused(0.0)
    assert queue.pick(0.0, 2) is a
    a.flying = 2
    assert queue.pick(0.0, 2) is None
    at = queue.next_able(0.0, 2)
    assert at is not None
    assert 0.0 < at <= 0.1
    assert queue.pick(at, 2) is b


@pytest.mark.parametrize(
    ("status", "own", "fate"),
    [
        ("200", True, Fate.ACKED),
        ("202", True, Fate.RUNNING),
        ("404", True, Fate.GONE),
        ("503", True, Fate.REFUSED),
        ("500", True, Fate.FAILED),
        ("413", True, Fate.NEVER),
        ("200", False, Fate.ACKED),
        ("202", False, Fate.FAILED),
        ("404", False, Fate.FAILED),
        ("500", False, Fate.FAILED),
    ],
)
def test_what_an_answer_means(status: str, own: bool, fate: Fate) -> None:
    assert read_answer(Message({":status": status}), own=own).fate is fate


def test_the_delay_of_a_nack_is_read() -> None:
    reply = Message({":status": "500", "micro-redeliver-after": "2.5"})
    assert read_answer(reply, own=True) == Answer(Fate.FAILED, "status 500: ", 2.5)
