"""Where selector `rendezvous` sends keys, and which of them move."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from hashlib import blake2b
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_core import Node, NodeSet
from micro_core.component import NoOptions
from micro_core.loader import load
from micro_selector_rendezvous import RendezvousSelector

KEYS = [b"user-%d" % at for at in range(2_000)]


def node_set(*ids: str) -> NodeSet:
    return NodeSet("carts", tuple(Node(id, f"127.0.0.1:{at + 1}") for at, id in enumerate(ids)))


def numbered(many: int) -> NodeSet:
    return node_set(*(f"n{at:04}" for at in range(many)))


def selector() -> RendezvousSelector:
    return RendezvousSelector(NoOptions())


def homes(nodes: NodeSet) -> dict[bytes, str]:
    chosen = selector()
    return {key: next(chosen.select(nodes, key=key)).id for key in KEYS}


def place(id: str, key: bytes) -> tuple[int, int]:
    """The essay's arithmetic, done plainly."""
    n, k = (int.from_bytes(blake2b(text, digest_size=8).digest(), "little") for text in (id.encode(), key))
    product = n % 2**24 * (k % 2**16 | 1)
    rank = (k // 2**16 - product // 2**16) % 256
    return rank, -(n * (k // 2**24 | 1) % 2**64)


def test_it_is_found_by_name() -> None:
    assert load("selector", "rendezvous").cls is RendezvousSelector


@settings(max_examples=60, deadline=None)
@given(st.sets(st.text(min_size=1), min_size=1, max_size=150), st.binary())
def test_nodes_come_by_rank_and_weight(ids: set[str], key: bytes) -> None:
    nodes = node_set(*sorted(ids))
    taken = [node.id for node in selector().select(nodes, key=key)]
    assert taken == sorted(ids, key=lambda id: place(id, key))


def test_ids_that_cannot_be_encoded_are_ids() -> None:
    assert len(list(selector().select(node_set("\ud800", "b"), key=b"k"))) == 2


@pytest.mark.parametrize("many", [2, 5, 40, 200])
def test_when_a_node_leaves_only_its_keys_move(many: int) -> None:
    nodes = numbered(many)
    before = homes(nodes)
    gone = nodes.nodes[many // 2].id
    after = homes(node_set(*(node.id for node in nodes.nodes if node.id != gone)))
    moved = {key for key in KEYS if before[key] != after[key]}
    assert moved == {key for key in KEYS if before[key] == gone}


@pytest.mark.parametrize("many", [1, 5, 40, 200])
def test_when_a_node_comes_keys_move_to_it_alone(many: int) -> None:
    before = homes(numbered(many))
    after = homes(node_set("new", *(node.id for node in numbered(many).nodes)))
    assert {after[key] for key in KEYS if before[key] != after[key]} <= {"new"}
    assert sum(after[key] == "new" for key in KEYS) < 3 * len(KEYS) / (many + 1)


def test_keys_of_a_node_that_leaves_go_where_their_retries_went() -> None:
    nodes, chosen = numbered(7), selector()
    for key in KEYS[:200]:
        first, second = islice(chosen.select(nodes, key=key), 2)
        left = node_set(*(node.id for node in nodes.nodes if node is not first))
        assert next(chosen.select(left, key=key)).id == second.id


@pytest.mark.parametrize("many", [2, 3, 10, 100, 1_000])
def test_keys_are_spread_evenly(many: int) -> None:
    """Chi-square over 20 keys a node, and no node of its own luck: four standard deviations of the statistic."""
    nodes, chosen, keys = numbered(many), selector(), max(5_000, 20 * many)
    counts = Counter(next(chosen.select(nodes, key=b"%d" % at)).id for at in range(keys))
    expected = keys / many
    statistic = sum((counts[node.id] - expected) ** 2 / expected for node in nodes.nodes)
    assert statistic < (many - 1) + 4 * (2 * (many - 1)) ** 0.5 + 10


def test_the_heirs_of_a_node_are_spread_evenly() -> None:
    nodes, chosen = numbered(10), selector()
    heirs: Counter[str] = Counter()
    for key in (b"%d" % at for at in range(20_000)):
        first, second = islice(chosen.select(nodes, key=key), 2)
        heirs[second.id] += first is nodes.nodes[0]
    share = sum(heirs.values()) / 9
    assert all(0.75 * share < heirs[node.id] < 1.25 * share for node in nodes.nodes[1:]), heirs


def test_every_process_agrees() -> None:
    script = (
        "from micro_core import Node, NodeSet\n"
        "from micro_core.component import NoOptions\n"
        "from micro_selector_rendezvous import RendezvousSelector\n"
        "nodes = NodeSet('s', tuple(Node(str(i), f'h:{i + 1}') for i in range(9)))\n"
        "chosen = RendezvousSelector(NoOptions())\n"
        "print(''.join(next(chosen.select(nodes, key=b'%d' % i)).id for i in range(100)))\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30).stdout
        for _ in range(2)
    ]
    chosen, nodes = selector(), node_set(*(str(at) for at in range(9)))
    here = "".join(next(chosen.select(nodes, key=b"%d" % at)).id for at in range(100))
    assert {run.strip() for run in runs} == {here}


def test_without_a_key_orders_are_random() -> None:
    nodes, chosen = numbered(5), selector()
    assert len({tuple(node.id for node in chosen.select(nodes)) for _ in range(400)}) > 60


def test_a_node_set_that_nobody_holds_is_forgotten() -> None:
    chosen, nodes = selector(), numbered(5)
    next(chosen.select(nodes, key=b"a"))
    assert len(chosen._rankings) == 1
    del nodes
    assert len(chosen._rankings) == 0
