"""Selector `roundrobin`: each node in turn.

The turn is shared by all calls of a service and outlives changes of the node set: a new set continues after the node
that was taken last, or, when that one is gone, after the place where it stood. The first turn of a service begins at a
random node, so that many clients do not march in step.

A retry takes nobody's turn: it has a round of its own among the nodes that its call has not tried. So every call begins
with the next node whatever became of the others, and what a dead node leaves is shared by all, not by its neighbour.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from random import SystemRandom
from threading import Lock
from typing import Final
from weakref import WeakKeyDictionary

from micro_core import Node, NodeSet, Outcome, Selector, hookimpl
from micro_core.component import NoOptions

__all__ = ["RoundRobinSelector", "micro_selector"]

MAX_SERVICES = 1_000
"""Services whose turn is remembered when their node set changes; the least recently changed is forgotten first."""


class _Turn:
    """A place in the ring of nodes: the index of the node that is next, for first attempts and for retries."""

    __slots__ = ("next", "nodes", "retry")

    def __init__(self, nodes: tuple[Node, ...], start: int) -> None:
        self.nodes = nodes
        self.next = start
        self.retry = start

    def first(self) -> int:
        index = self.next
        self.next = (index + 1) % len(self.nodes)
        return index

    def other(self, taken: set[int]) -> int:
        count = len(self.nodes)
        index = next(at % count for at in range(self.retry, self.retry + count) if at % count not in taken)
        self.retry = (index + 1) % count
        return index

    def continued(self, nodes: tuple[Node, ...]) -> _Turn | None:
        """The same place in a changed ring, or None when no node of this one is left."""
        places = {node.id: index for index, node in enumerate(nodes)}
        for node in (*self.nodes[self.next :], *self.nodes[: self.next]):
            if node.id in places:
                return _Turn(nodes, places[node.id])
        return None


class RoundRobinSelector(Selector):
    """Each node in turn. May be shared by threads."""

    def __init__(self, options: NoOptions) -> None:
        self._turns: WeakKeyDictionary[NodeSet, _Turn] = WeakKeyDictionary()
        self._latest: OrderedDict[str, _Turn] = OrderedDict()
        self._lock: Final = Lock()

    def select(self, nodes: NodeSet, *, key: bytes | None = None) -> Iterator[Node]:
        """As `Selector.select`; ignores the key."""
        if not nodes.nodes:
            return
        with self._lock:
            turn = self._turn(nodes)
            index = turn.first()
        yield nodes.nodes[index]
        taken = {index}
        while len(taken) < len(nodes.nodes):
            with self._lock:
                index = turn.other(taken)
            taken.add(index)
            yield nodes.nodes[index]

    def done(self, node: Node, outcome: Outcome, seconds: float) -> None:
        """As `Selector.done`; nothing is learnt from it."""

    def _turn(self, nodes: NodeSet) -> _Turn:
        turn = self._turns.get(nodes)
        if turn is None:
            turn = self._turns[nodes] = self._begin(nodes)
        return turn

    def _begin(self, nodes: NodeSet) -> _Turn:
        latest = self._latest.pop(nodes.service, None)
        turn = latest.continued(nodes.nodes) if latest else None
        if turn is None:
            turn = _Turn(nodes.nodes, SystemRandom().randrange(len(nodes.nodes)))
        self._latest[nodes.service] = turn
        if len(self._latest) > MAX_SERVICES:
            self._latest.popitem(last=False)
        return turn


@hookimpl
def micro_selector() -> type[Selector]:
    """The class behind entry point `roundrobin`."""
    return RoundRobinSelector
