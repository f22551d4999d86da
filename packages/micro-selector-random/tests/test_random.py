"""The spread of selector `random`."""

from __future__ import annotations

import os
import subprocess
import sys
import timeit
from collections import Counter
from itertools import islice
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_core import Node, NodeSet, Outcome, Selector
from micro_core.component import NoOptions
from micro_core.loader import load
from micro_selector_random import RandomSelector


def node_set(count: int) -> NodeSet:
    return NodeSet("greeter", tuple(Node(f"n{i:04}", f"127.0.0.1:{i + 1}") for i in range(count)))


def selector() -> Selector:
    return RandomSelector(NoOptions())


def firsts(chosen: Selector, nodes: NodeSet, calls: int) -> Counter[str]:
    return Counter(next(chosen.select(nodes)).id for _ in range(calls))


def test_it_is_found_by_name() -> None:
    assert load("selector", "random").cls is RandomSelector


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 400))
def test_takes_are_even_over_any_number_of_nodes(count: int, calls: int) -> None:
    seen = firsts(selector(), node_set(count), calls)
    assert max(seen.values()) - min(seen[node.id] for node in node_set(count).nodes) <= 1


def test_ten_thousand_takes_over_five_nodes() -> None:
    seen = firsts(selector(), node_set(5), 10_000)
    assert all(1_800 <= seen[node.id] <= 2_200 for node in node_set(5).nodes)


def test_the_order_is_random() -> None:
    nodes, chosen = node_set(5), selector()
    orders = {tuple(next(chosen.select(nodes)).id for _ in range(5)) for _ in range(200)}
    assert len(orders) > 60


def test_every_process_has_an_order_of_its_own() -> None:
    script = (
        "from micro_core import Node, NodeSet\n"
        "from micro_core.component import NoOptions\n"
        "from micro_selector_random import RandomSelector\n"
        "nodes = NodeSet('s', tuple(Node(str(i), f'h:{i + 1}') for i in range(5)))\n"
        "chosen = RandomSelector(NoOptions())\n"
        "print(''.join(next(chosen.select(nodes)).id for _ in range(100)))\n"
    )
    outputs = []
    for _ in range(4):
        batch = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(5)]
        outputs += [process.communicate(timeout=30)[0].strip() for process in batch]
    total = Counter("".join(outputs))
    assert all(360 <= total[str(i)] <= 440 for i in range(5)), total
    assert len(set(outputs)) == 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_has_an_order_of_its_own() -> None:
    script = (
        "import os\n"
        "from micro_core import Node, NodeSet\n"
        "from micro_core.component import NoOptions\n"
        "from micro_selector_random import RandomSelector\n"
        "chosen = RandomSelector(NoOptions())\n"
        "child = os.fork()\n"
        "nodes = NodeSet('s', tuple(Node(chr(i), f'h:{i}') for i in range(65, 91)))\n"
        "taken = ''.join(next(chosen.select(nodes)).id for _ in range(26))\n"
        "child and os.waitpid(child, 0)\n"
        "os.write(1, taken.encode() + b'\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    first, second = done.stdout.split()
    assert sorted(first) == sorted(second)
    assert first != second


def test_one_call_per_process_is_spread_too() -> None:
    seen: Counter[str] = Counter()
    for _ in range(2_000):
        seen += firsts(selector(), node_set(5), 1)
    assert all(300 <= seen[node.id] <= 500 for node in node_set(5).nodes), seen


@given(st.integers(0, 40))
def test_each_node_is_yielded_once(count: int) -> None:
    taken = [node.id for node in selector().select(node_set(count))]
    assert sorted(taken) == [node.id for node in node_set(count).nodes]


def test_ids_that_are_not_unique_do_not_keep_it_busy() -> None:
    same = NodeSet("greeter", tuple(Node("n", f"127.0.0.1:{port}") for port in range(1, 20)))
    assert len(list(selector().select(same))) == 1


def test_retries_are_spread_over_the_other_nodes() -> None:
    nodes, chosen = node_set(5), selector()
    seconds = Counter(list(islice(chosen.select(nodes), 2))[1].id for _ in range(5_000))
    assert all(850 <= seconds[node.id] <= 1_150 for node in nodes.nodes), seconds


def test_threads_lose_no_node() -> None:
    nodes, chosen = node_set(7), selector()

    def work() -> None:
        for _ in range(2_000):
            next(chosen.select(nodes))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    seen = firsts(chosen, nodes, 700)
    assert all(99 <= seen[node.id] <= 101 for node in nodes.nodes), seen


def test_it_forgets_sets_that_nobody_uses() -> None:
    chosen = RandomSelector(NoOptions())
    for _ in range(100):
        next(chosen.select(node_set(3)))
    assert len(chosen._walks) <= 1


def test_done_never_raises_for_a_stranger() -> None:
    selector().done(Node("stranger", "h:1"), Outcome.UNKNOWN, 0.1)


def test_the_first_of_a_thousand_is_cheap() -> None:
    nodes, chosen = node_set(1_000), selector()
    best = min(timeit.repeat(lambda: next(chosen.select(nodes)), number=2_000, repeat=5)) / 2_000
    assert best < 10e-6
