"""Selector `least-requests`: power of two choices on outstanding requests.

Two nodes are drawn at random, and the one with fewer requests under way takes the attempt. Slow nodes so receive less,
without the herd that follows when every client picks the idlest of all. What is counted is what this client has under
way: a node is taken by `select` and given back by `done`.

A node that fails at once has few requests under way and looks idle; it is discovery that leaves such nodes out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

from micro_core import Node, NodeSet, Outcome, Selector, hookimpl
from micro_core.component import NoOptions

__all__ = ["LeastRequestsSelector", "micro_selector"]


class LeastRequestsSelector(Selector):
    """The idler of two nodes drawn at random; a retry draws among the nodes that its call has not tried.

    Requests are counted by id and address: a node that restarts elsewhere under its id begins at none.
    """

    def __init__(self, options: NoOptions) -> None:
        self._outstanding: dict[tuple[str, str], int] = {}
        self._random = Random()  # noqa: S311 - spreads load, guards nothing
        self._process = os.getpid()

    def outstanding(self, node: Node) -> int:
        """How many requests to the node are under way."""
        return self._outstanding.get((node.id, node.address), 0)

    def select(self, nodes: NodeSet, *, key: bytes | None = None) -> Iterator[Node]:
        """As `Selector.select`; ignores the key."""
        every = nodes.nodes
        if not every:
            return
        self._reseed_after_fork()
        first = self._idler(every)
        yield self._taken(every[first])
        taken = {first}
        while len(taken) * 2 < len(every):
            index = self._idler_but(every, taken)
            taken.add(index)
            yield self._taken(every[index])
        rest = [node for index, node in enumerate(every) if index not in taken]
        while rest:
            yield self._taken(rest.pop(self._idler(rest)))

    def done(self, node: Node, outcome: Outcome, seconds: float) -> None:
        """As `Selector.done`; however it ended, the request is no longer under way."""
        key = (node.id, node.address)
        count = self._outstanding.get(key, 0)
        if count > 1:
            self._outstanding[key] = count - 1
        elif count:
            del self._outstanding[key]

    def _taken(self, node: Node) -> Node:
        key = (node.id, node.address)
        self._outstanding[key] = self._outstanding.get(key, 0) + 1
        return node

    def _idler(self, nodes: tuple[Node, ...] | list[Node]) -> int:
        """The index of the idler of two different nodes; of equals the one that was drawn first."""
        count = len(nodes)
        random = self._random.random
        one = int(random() * count)
        if count == 1:
            return one
        other = int(random() * (count - 1))
        if other >= one:
            other += 1
        return other if self.outstanding(nodes[other]) < self.outstanding(nodes[one]) else one

    def _idler_but(self, nodes: tuple[Node, ...], taken: set[int]) -> int:
        """The same among those that were not taken, of which there are more than half: no list of all for a retry."""
        one, other = self._draw(len(nodes), taken), self._draw(len(nodes), taken)
        return other if self.outstanding(nodes[other]) < self.outstanding(nodes[one]) else one

    def _draw(self, count: int, taken: set[int]) -> int:
        while (index := int(self._random.random() * count)) in taken:
            pass
        return index

    def _reseed_after_fork(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._random.seed()
            self._outstanding.clear()


@hookimpl
def micro_selector() -> type[Selector]:
    """The class behind entry point `least-requests`."""
    return LeastRequestsSelector
