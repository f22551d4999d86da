"""What selector `least-requests` counts, and whom it prefers."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_core import Node, NodeSet, Outcome
from micro_core.component import NoOptions
from micro_core.loader import load
from micro_selector_least_requests import LeastRequestsSelector


def node_set(count: int) -> NodeSet:
    return NodeSet("greeter", tuple(Node(f"n{i:04}", f"127.0.0.1:{i + 1}") for i in range(count)))


def selector() -> LeastRequestsSelector:
    return LeastRequestsSelector(NoOptions())


def test_it_is_found_by_name() -> None:
    assert load("selector", "least-requests").cls is LeastRequestsSelector


def test_of_two_nodes_the_idler_one_takes_the_attempt() -> None:
    chosen, nodes = selector(), node_set(2)
    busy = next(chosen.select(nodes))
    for _ in range(100):
        node = next(chosen.select(nodes))
        assert node is not busy
        chosen.done(node, Outcome.OK, 0.1)


def test_what_is_under_way_stays_level() -> None:
    chosen, nodes = selector(), node_set(100)
    for _ in range(10_000):
        next(chosen.select(nodes))
    counts = [chosen.outstanding(node) for node in nodes.nodes]
    assert sum(counts) == 10_000
    assert max(counts) <= 105, "two choices keep 100 nodes within a few of each other; one choice would not"


def test_a_slow_node_receives_less() -> None:
    """Each node has a queue of its own; one works at a fifth of the speed."""
    chosen, nodes = selector(), node_set(5)
    slow, under_way, taken = nodes.nodes[0], list[tuple[int, Node]](), Counter[str]()
    for now in range(5_000):
        for end, node in [each for each in under_way if each[0] <= now]:
            under_way.remove((end, node))
            chosen.done(node, Outcome.OK, 0.1)
        node = next(chosen.select(nodes))
        taken[node.id] += 1
        under_way.append((now + (50 if node is slow else 10), node))
    assert taken[slow.id] < 0.6 * min(taken[node.id] for node in nodes.nodes[1:])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.lists(st.tuples(st.integers(0, 9), st.sampled_from(Outcome)), max_size=30))
def test_counts_are_exact_through_done(count: int, calls: list[tuple[int, Outcome]]) -> None:
    chosen, nodes = selector(), node_set(count)
    under_way: list[tuple[Node, Outcome]] = []
    for attempts, outcome in calls:
        under_way += [(node, outcome) for node in islice(chosen.select(nodes), attempts)]
        expected = Counter(node.id for node, _ in under_way)
        assert {node.id: chosen.outstanding(node) for node in nodes.nodes if chosen.outstanding(node)} == expected
    for node, outcome in under_way:
        chosen.done(node, outcome, 0.0)
    assert chosen._outstanding == {}, "nothing is kept of nodes without requests"


def test_a_done_too_many_never_makes_a_node_look_idler_than_idle() -> None:
    chosen, nodes = selector(), node_set(1)
    node = nodes.nodes[0]
    chosen.done(node, Outcome.OK, 0.0)
    assert chosen.outstanding(node) == 0
    next(chosen.select(nodes))
    assert chosen.outstanding(node) == 1


def test_a_node_that_changes_its_labels_keeps_its_count() -> None:
    chosen = selector()
    next(chosen.select(NodeSet("greeter", (Node("a", "127.0.0.1:1"),))))
    assert chosen.outstanding(Node("a", "127.0.0.1:1", {"zone": "b"})) == 1
    assert chosen.outstanding(Node("a", "127.0.0.1:2")) == 0


@pytest.mark.parametrize("count", [2, 3, 7, 50])
def test_retries_prefer_idle_nodes_too(count: int) -> None:
    chosen, nodes = selector(), node_set(count)
    busy = nodes.nodes[0]
    for _ in range(20):
        chosen._taken(busy)
    lasts = Counter(list(chosen.select(nodes)).index(busy) for _ in range(200))
    assert sum(place * times for place, times in lasts.items()) / 200 > 0.6 * (count - 1), "half would be chance"
