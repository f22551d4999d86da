"""Each sentence of SelectorConformance has a double that breaks it, and is caught by that sentence's test."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator

import pytest
from micro_conformance import SelectorConformance
from micro_core import Node, NodeSet, Outcome, Selector


class Double(Selector):
    def select(self, nodes: NodeSet, *, key: bytes | None = None) -> Iterator[Node]:
        rest = list(nodes.nodes)
        if key is not None and rest:
            yield rest.pop(zlib.crc32(key) % len(rest))
        while rest:
            yield rest.pop(random.randrange(len(rest)))

    def done(self, node: Node, outcome: Outcome, seconds: float) -> None:
        pass


class Suite(SelectorConformance):
    affinity = True


class Repeats(Double):
    def select(self, nodes, *, key=None):
        taken = list(super().select(nodes, key=key))
        yield from [*taken, *taken[:1]]


class Skips(Double):
    def select(self, nodes, *, key=None):
        yield from list(super().select(nodes, key=key))[: max(1, len(nodes.nodes) - 1)]


class AddressesAlone(Double):
    def select(self, nodes, *, key=None):
        yield from {node.address: node for node in super().select(nodes, key=key)}.values()


class KnowsWholeNodes(Double):
    def __init__(self):
        self.taken = {}

    def select(self, nodes, *, key=None):
        for node in super().select(nodes, key=key):
            self.taken[node.id] = node
            yield node

    def done(self, node, outcome, seconds):
        assert self.taken.get(node.id, node) == node


class EmptyFails(Double):
    def select(self, nodes, *, key=None):
        yield random.choice(nodes.nodes)
        yield from ()


class CountsWhenAsked(Double):
    """Round robin that moves on when a selection is made, not when a node is taken."""

    def __init__(self):
        self.at = 0

    def select(self, nodes, *, key=None):
        self.at += 1
        nodes = nodes.nodes[self.at % len(nodes.nodes) :] + nodes.nodes[: self.at % len(nodes.nodes)]
        return iter(nodes)


class List(Double):
    def select(self, nodes, *, key=None):
        return [*super().select(nodes, key=key)]


class FirstFirst(Double):
    def select(self, nodes, *, key=None):
        yield from nodes.nodes


class SameSecond(Double):
    def select(self, nodes, *, key=None):
        first, *rest = super().select(nodes, key=key) if nodes.nodes else (None,)
        if first is not None:
            yield first
            yield from sorted(rest, key=lambda node: node.id)


class Remembers(Double):
    def __init__(self):
        self.nodes = None

    def select(self, nodes, *, key=None):
        self.nodes = self.nodes or nodes
        return super().select(self.nodes, key=key)


class OneAtATime(Double):
    def __init__(self):
        self.rest = []

    def select(self, nodes, *, key=None):
        self.rest = list(super().select(nodes, key=key))
        while self.rest:
            yield self.rest.pop()


class RefusesKeys(Double):
    def select(self, nodes, *, key=None):
        if key is not None:
            raise TypeError("no keys here")
        return super().select(nodes)


class NoAffinity(Double):
    def select(self, nodes, *, key=None):
        return super().select(nodes)


class OutcomesMatter(Double):
    def done(self, node, outcome, seconds):
        {Outcome.OK: 1, Outcome.ANSWERED: 2, Outcome.CANCELLED: 3}[outcome]


class KnowsItsNodes(Double):
    def __init__(self):
        self.taken = {}

    def select(self, nodes, *, key=None):
        for node in super().select(nodes, key=key):
            self.taken[node.id] = 1
            yield node

    def done(self, node, outcome, seconds):
        self.taken[node.id] += 1


class HoldsTheDropped(Double):
    """A node is free again only when its attempt was not cancelled."""

    def __init__(self):
        self.busy = set()

    def select(self, nodes, *, key=None):
        for node in super().select(nodes, key=key):
            if node.id not in self.busy:
                self.busy.add(node.id)
                yield node

    def done(self, node, outcome, seconds):
        if outcome is not Outcome.CANCELLED:
            self.busy.discard(node.id)


BROKEN = [
    (Repeats, "each_node_of_the_set_is_yielded_exactly_once"),
    (Skips, "each_node_of_the_set_is_yielded_exactly_once"),
    (AddressesAlone, "nodes_are_told_apart_by_their_id"),
    (KnowsWholeNodes, "nodes_are_told_apart_by_their_id"),
    (EmptyFails, "an_empty_set_yields_nothing"),
    (CountsWhenAsked, "it_is_lazy"),
    (List, "it_is_lazy"),
    (FirstFirst, "first_choices_are_spread_evenly"),
    (SameSecond, "second_choices_are_spread_evenly_too"),
    (Remembers, "a_set_that_changed_is_chosen_from_at_once"),
    (OneAtATime, "selections_may_run_side_by_side"),
    (RefusesKeys, "a_key_is_accepted_by_every_selector"),
    (NoAffinity, "equal_keys_go_to_the_same_node"),
    (OutcomesMatter, "done_takes_every_outcome_and_never_raises"),
    (KnowsItsNodes, "done_never_raises_for_a_node_that_it_has_never_seen"),
    (HoldsTheDropped, "a_selection_that_is_dropped_half_way_harms_nothing"),
]


def fixtures(double):
    return {"make_selector": double}


def test_a_right_double_passes(run_suite):
    assert run_suite(Suite, lambda: fixtures(Double)) == {}


class SuiteOfUneven(Suite):
    even = False


class InOrder(Double):
    def select(self, nodes, *, key=None):
        yield from nodes.nodes


def test_one_that_declares_itself_uneven_need_not_spread(run_suite):
    assert run_suite(SuiteOfUneven, lambda: fixtures(InOrder)) == {}


def test_one_that_declares_itself_uneven_sees_a_changed_set(run_suite):
    assert run_suite(SuiteOfUneven, lambda: fixtures(Remembers), "test_a_set_that_changed_is_chosen_from_at_once")


@pytest.mark.parametrize(("double", "sentence"), BROKEN)
def test_a_broken_double_is_caught(run_suite, double, sentence):
    assert run_suite(Suite, lambda: fixtures(double), f"test_{sentence}")


def test_every_sentence_has_a_double_that_breaks_it(sentences):
    assert {sentence for _, sentence in BROKEN} == sentences(Suite)
