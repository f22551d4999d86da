"""Selector `random`: an even random spread.

Each node set is walked in a random order, every node once, then in another random order: as unpredictable as drawing
lots, and as even as taking turns. A retry is drawn among the nodes that its call has not tried, outside the walk, so
that a failing node does not disturb the turns of the others. Orders come from the system's entropy, so that processes
started together do not march in step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random
from threading import Lock
from typing import Final
from weakref import WeakKeyDictionary

from micro_core import Node, NodeSet, Outcome, Selector, hookimpl
from micro_core.component import NoOptions

__all__ = ["RandomSelector", "micro_selector"]


class _Walk:
    """A random order that is drawn as it is walked (Fisher and Yates, one exchange per step), again and again."""

    __slots__ = ("order", "position")

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.order = list(nodes)
        self.position = 0

    def step(self, random: Random) -> Node:
        order, position = self.order, self.position
        other = position + int(random.random() * (len(order) - position))
        node = order[other]
        order[other] = order[position]
        order[position] = node
        self.position = 0 if position + 1 == len(order) else position + 1
        return node


class RandomSelector(Selector):
    """Evenly at random. May be shared by threads; keeps one list per node set that is still in use."""

    def __init__(self, options: NoOptions) -> None:
        self._walks: WeakKeyDictionary[NodeSet, _Walk] = WeakKeyDictionary()
        self._lock: Final = Lock()
        self._random = Random()  # noqa: S311 - spreads load, guards nothing
        self._process = os.getpid()

    def select(self, nodes: NodeSet, *, key: bytes | None = None) -> Iterator[Node]:
        """As `Selector.select`; ignores the key."""
        return self._drawn(nodes) if len(nodes.nodes) > 1 else iter(nodes.nodes)

    def _drawn(self, nodes: NodeSet) -> Iterator[Node]:
        first = self._first(nodes)
        yield first
        yield from self._others(nodes.nodes, first)

    def done(self, node: Node, outcome: Outcome, seconds: float) -> None:
        """As `Selector.done`; nothing is learnt from it."""

    def _first(self, nodes: NodeSet) -> Node:
        with self._lock:
            walk = self._walks.get(nodes)
            if walk is None:
                self._reseed_after_fork()
                walk = self._walks[nodes] = _Walk(nodes.nodes)
            return walk.step(self._random)

    def _others(self, nodes: tuple[Node, ...], first: Node) -> Iterator[Node]:
        """The rest at random. Draws again what was taken, while few were: no list of all for one retry."""
        count = len(nodes)
        taken = {first.id}
        for _ in range(count):
            if len(taken) * 2 >= count:
                break
            node = nodes[int(self._random.random() * count)]
            if node.id not in taken:
                taken.add(node.id)
                yield node
        rest = [node for node in nodes if node.id not in taken]
        self._random.shuffle(rest)
        yield from rest

    def _reseed_after_fork(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._random.seed()


@hookimpl
def micro_selector() -> type[Selector]:
    """The class behind entry point `random`."""
    return RandomSelector
