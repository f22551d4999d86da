from __future__ import annotations

import asyncio
import time

import pytest
import trio
from micro_core import Filter, Node, ServiceRecord, capture_clock


@pytest.mark.parametrize(
    ("filter", "matches"),
    [
        (Filter(), True),
        (Filter(version="1"), True),
        (Filter(version="2"), False),
        (Filter(labels=frozenset({("zone", "a")})), True),
        (Filter(labels=frozenset({("zone", "a"), ("tier", "gold")})), True),
        (Filter(labels=frozenset({("zone", "b")})), False),
        (Filter(labels=frozenset({("none", "x")})), False),
        (Filter(predicate=lambda record, node: node.id == "n2"), False),
        (Filter(version="1", predicate=lambda record, node: record.name == "s"), True),
    ],
)
def test_a_filter_matches_version_labels_and_predicate(filter: Filter, matches: bool) -> None:
    node = Node("n1", "127.0.0.1:1", {"zone": "a"})
    assert filter.matches(ServiceRecord("s", "1", (node,), metadata={"tier": "gold", "zone": "z"}), node) is matches


def test_the_clock_is_the_back_ends_own() -> None:
    async def drift() -> float:
        return abs(capture_clock()() - time.monotonic())

    assert asyncio.run(drift()) < 1

    async def trios() -> bool:
        return abs(capture_clock()() - trio.current_time()) < 1

    assert trio.run(trios)
    with pytest.raises(RuntimeError):
        capture_clock()
