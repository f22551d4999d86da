"""The turns of selector `roundrobin`."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from micro_core import Node, NodeSet, Outcome
from micro_core.component import NoOptions
from micro_core.loader import load
from micro_selector_roundrobin import MAX_SERVICES, RoundRobinSelector


def node_set(names: str, service: str = "greeter") -> NodeSet:
    return NodeSet(service, tuple(Node(name, "127.0.0.1:1") for name in names))


def selector() -> RoundRobinSelector:
    return RoundRobinSelector(NoOptions())


def take(chosen: RoundRobinSelector, nodes: NodeSet) -> str:
    return next(chosen.select(nodes)).id


def test_it_is_found_by_name() -> None:
    assert load("selector", "roundrobin").cls is RoundRobinSelector


@given(st.text("abcdefgh", min_size=1, max_size=8).map(lambda text: "".join(sorted(set(text)))), st.integers(1, 5))
def test_calls_take_the_nodes_in_turn(names: str, rounds: int) -> None:
    nodes, chosen = node_set(names), selector()
    taken = "".join(take(chosen, nodes) for _ in range(len(names) * rounds))
    assert taken == taken[: len(names)] * rounds
    assert taken[0] + taken[1 : len(names)] in names + names


def test_clients_start_at_different_nodes() -> None:
    starts = Counter(take(selector(), node_set("abcde")) for _ in range(1_000))
    assert all(130 <= starts[name] <= 270 for name in "abcde"), starts


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=1), min_size=2, max_size=6), st.integers(1, 9))
def test_a_changed_set_continues_after_the_last_node(sets: list[set[str]], calls: int) -> None:
    chosen = selector()
    before = sorted(sets[0])
    nodes = node_set("".join(before))
    last = [take(chosen, nodes) for _ in range(calls)][-1]
    for names in sets[1:]:
        after = sorted(names)
        place = before.index(last)
        expected = next((name for name in before[place + 1 :] + before[: place + 1] if name in names), None)
        last = take(chosen, node_set("".join(after)))
        assert expected in (None, last)
        before = after


def test_a_set_that_flickers_stays_even() -> None:
    chosen = selector()
    seen = Counter(take(chosen, node_set("abcde")) for _ in range(1_000))
    assert set(seen.values()) == {200}


def test_services_have_turns_of_their_own() -> None:
    chosen, one, two = selector(), node_set("abc", "one"), node_set("abc", "two")
    taken = [(take(chosen, one), take(chosen, two)) for _ in range(3)]
    assert {first for first, _ in taken} == {second for _, second in taken} == set("abc")


@given(st.integers(2, 9), st.integers(1, 30))
def test_a_retry_takes_nobodys_turn(count: int, calls: int) -> None:
    nodes, chosen = node_set("abcdefghi"[:count]), selector()
    pairs = [list(islice(chosen.select(nodes), 2)) for _ in range(count * calls)]
    firsts = [first.id for first, _ in pairs]
    assert firsts == firsts[:count] * calls


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
def test_what_a_dead_node_leaves_is_shared_by_all_others(count: int) -> None:
    nodes, chosen = node_set("abcdefgh"[:count]), selector()
    answered: Counter[str] = Counter()
    failed = 0
    for _ in range(count * (count - 1) * 10):
        for node in chosen.select(nodes):
            if node.id != "b":
                answered[node.id] += 1
                break
            failed += 1
    assert failed == (count - 1) * 10
    assert set(answered.values()) == {count * 10}


def test_retries_among_other_calls_yield_each_node_once() -> None:
    nodes, chosen = node_set("abc"), selector()
    retrying = chosen.select(nodes)
    taken = []
    for node in retrying:
        taken.append(node.id)
        take(chosen, nodes)
    assert sorted(taken) == list("abc")


def test_an_empty_set_yields_nothing() -> None:
    assert list(selector().select(node_set(""))) == []


def test_threads_take_even_turns() -> None:
    nodes, chosen, seen = node_set("abcde"), selector(), Counter[str]()

    def work() -> None:
        mine = Counter(take(chosen, nodes) for _ in range(1_000))
        seen.update(mine)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen.values()) == {800}


def test_what_it_remembers_is_bounded() -> None:
    chosen = selector()
    for number in range(MAX_SERVICES + 50):
        take(chosen, node_set("abc", f"service-{number}"))
    assert len(chosen._latest) == MAX_SERVICES
    assert len(chosen._turns) <= 1


def test_done_never_raises_for_a_stranger() -> None:
    selector().done(Node("stranger", "h:1"), Outcome.UNKNOWN, 0.1)
