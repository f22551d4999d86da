"""The sentences of `micro_core.Selector`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import ClassVar, TypeAlias

import pytest
from micro_core import Node, NodeSet, Outcome, Selector

from micro_conformance.suite import Suite

MakeSelector: TypeAlias = Callable[[], Selector]


def make_set(count: int, *, first: int = 0) -> NodeSet:
    """A set of so many nodes."""
    nodes = tuple(Node(f"greeter-{at}", f"127.0.0.1:{7001 + at}") for at in range(first, first + count))
    return NodeSet("greeter", nodes)


class SelectorConformance(Suite):
    """Every sentence of `Selector`, one test each.

    Attributes:
        even: whether first choices without a key are spread evenly over the nodes.
        affinity: whether equal keys go to the same node.
    """

    even: ClassVar[bool] = True
    affinity: ClassVar[bool] = False

    @pytest.fixture
    def make_selector(self) -> MakeSelector:
        """The factory that every plugin gives."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture make_selector")

    def take(self, selector: Selector, nodes: NodeSet, outcome: Outcome = Outcome.OK) -> Node:
        """One attempt, given back as it should be."""
        node = next(selector.select(nodes))
        selector.done(node, outcome, 0.001)
        return node

    def test_each_node_of_the_set_is_yielded_exactly_once(self, make_selector: MakeSelector) -> None:
        selector = make_selector()
        for count in (1, 2, 3, 10, 100):
            nodes = make_set(count)
            for _ in range(5):
                taken = list(selector.select(nodes))
                assert len(taken) == count
                assert set(taken) == set(nodes.nodes)
                for node in taken:
                    selector.done(node, Outcome.OK, 0.001)

    def test_nodes_are_told_apart_by_their_id(self, make_selector: MakeSelector) -> None:
        selector = make_selector()
        at_one_address = tuple(Node(f"greeter-{at}", "127.0.0.1:7001") for at in range(3))
        assert set(selector.select(NodeSet("greeter", at_one_address))) == set(at_one_address)
        for node in at_one_address:
            moved = Node(node.id, "127.0.0.1:7002", {"zone": "other"})
            selector.done(moved, Outcome.OK, 0.001)
        assert set(selector.select(NodeSet("greeter", at_one_address))) == set(at_one_address)

    def test_an_empty_set_yields_nothing(self, make_selector: MakeSelector) -> None:
        assert list(make_selector().select(make_set(0))) == []

    def test_it_is_lazy(self, make_selector: MakeSelector) -> None:
        """Nodes that were not taken do not count as chosen."""
        selector, nodes = make_selector(), make_set(2)
        selection = selector.select(nodes)
        assert iter(selection) is selection, "select returns an iterator"
        if self.even:
            counts = Counter(self._take_beside_untaken(selector, nodes) for _ in range(4000))
            assert all(1600 <= counts[node.id] <= 2400 for node in nodes.nodes), counts

    def _take_beside_untaken(self, selector: Selector, nodes: NodeSet) -> str:
        selector.select(nodes)
        return self.take(selector, nodes).id

    def test_first_choices_are_spread_evenly(self, make_selector: MakeSelector) -> None:
        if not self.even:
            pytest.skip("declared: not even")
        selector, nodes = make_selector(), make_set(5)
        counts = Counter(self.take(selector, nodes).id for _ in range(10_000))
        assert all(1800 <= counts[node.id] <= 2200 for node in nodes.nodes), counts

    def test_second_choices_are_spread_evenly_too(self, make_selector: MakeSelector) -> None:
        if not self.even:
            pytest.skip("declared: not even")
        selector, nodes = make_selector(), make_set(5)
        counts: Counter[str] = Counter()
        for _ in range(5000):
            taken = list(islice(selector.select(nodes), 2))
            counts[taken[1].id] += 1
            for node in taken:
                selector.done(node, Outcome.OK, 0.001)
        assert all(700 <= counts[node.id] <= 1300 for node in nodes.nodes), counts

    def test_a_set_that_changed_is_chosen_from_at_once(self, make_selector: MakeSelector) -> None:
        selector = make_selector()
        for first in (0, 3, 1):
            nodes = make_set(3, first=first)
            assert set(selector.select(nodes)) == set(nodes.nodes)
            chosen, ids = {self.take(selector, nodes).id for _ in range(200)}, {node.id for node in nodes.nodes}
            assert chosen == ids if self.even else chosen <= ids

    def test_selections_may_run_side_by_side(self, make_selector: MakeSelector) -> None:
        selector, nodes = make_selector(), make_set(4)
        one, other = selector.select(nodes), selector.select(nodes)
        taken: tuple[list[Node], list[Node]] = ([], [])
        for _ in range(4):
            taken[0].append(next(one))
            taken[1].append(next(other))
        assert set(taken[0]) == set(taken[1]) == set(nodes.nodes)
        assert [*one, *other] == []

    def test_a_key_is_accepted_by_every_selector(self, make_selector: MakeSelector) -> None:
        selector, nodes = make_selector(), make_set(5)
        for key in (b"", b"a", bytes(range(256))):
            assert set(selector.select(nodes, key=key)) == set(nodes.nodes)

    def test_equal_keys_go_to_the_same_node(self, make_selector: MakeSelector) -> None:
        if not self.affinity:
            pytest.skip("declared: knows no affinity")
        nodes = make_set(5)
        for at in range(50):
            key = b"key %d" % at
            chosen = {next(make_selector().select(nodes, key=key)).id for _ in range(5)}
            assert len(chosen) == 1

    def test_done_takes_every_outcome_and_never_raises(self, make_selector: MakeSelector) -> None:
        selector, nodes = make_selector(), make_set(3)
        for outcome in Outcome:
            for node in selector.select(nodes):
                selector.done(node, outcome, 0.0)
        assert set(selector.select(nodes)) == set(nodes.nodes)

    def test_done_never_raises_for_a_node_that_it_has_never_seen(self, make_selector: MakeSelector) -> None:
        selector = make_selector()
        for outcome in Outcome:
            selector.done(Node("nobody", "127.0.0.1:1"), outcome, 1.0)
        assert list(selector.select(make_set(1)))

    def test_a_selection_that_is_dropped_half_way_harms_nothing(self, make_selector: MakeSelector) -> None:
        selector, nodes = make_selector(), make_set(3)
        for _ in range(50):
            node = next(selector.select(nodes))
            selector.done(node, Outcome.CANCELLED, 0.0)
        assert set(selector.select(nodes)) == set(nodes.nodes)
