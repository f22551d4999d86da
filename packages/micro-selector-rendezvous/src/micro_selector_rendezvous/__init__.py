"""Selector `rendezvous`: equal keys to the same node, by highest random weight.

Every node has a weight for every key, computed from the node's id and the key alone, and the heaviest node takes the
key. So all processes agree without talking, in any language that does the same arithmetic; when a node leaves, only its
keys move, each to the node that was next; when one comes, it takes keys and nobody else's move.

    n = the first 40 bits of BLAKE2b-64 of the node's id           both read as little-endian numbers
    k = the first 24 bits of BLAKE2b-64 of the key, made odd
    weight = n * k mod 2^40

An odd factor permutes the numbers below 2^40, so that weights tie only where ids collide. Multiplication was chosen
because it does a thousand nodes at once: the numbers of a set stand in one long integer, eight bytes each, room for the
whole product, and one multiplication by the key weighs them all. The heaviest are then found by looking at the top
bytes of the weights, 255 first. This is exact and needs no memory of keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from random import Random
from weakref import WeakKeyDictionary

from micro_core import Node, NodeSet, Outcome, Selector, hookimpl
from micro_core.component import NoOptions

__all__ = ["RendezvousSelector", "micro_selector"]

LANE = 8
"""Bytes per node in the long integer: 40 bits of the node and 24 of the key make 64."""
WEIGHT = 5
"""Bytes of a weight, the lowest of its lane."""
KEY_BITS = 24
MANY = 64
"""Nodes from which on the heaviest top byte is near 255, so that searching downwards beats looking at all."""


def _number(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


class _Weights:
    """The nodes of a set, and their numbers in one integer."""

    __slots__ = ("nodes", "packed", "size")

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes
        self.size = len(nodes) * LANE
        mask = (1 << (8 * WEIGHT)) - 1
        numbers = (_number(node.id.encode("utf-8", "surrogatepass")) & mask for node in nodes)
        self.packed = int.from_bytes(b"".join(number.to_bytes(LANE, "little") for number in numbers), "little")

    def heaviest_first(self, key: int) -> Iterator[Node]:
        """The nodes by falling weight, of equals the first of the set; sorted no further than they are taken."""
        lanes = (self.packed * key).to_bytes(self.size, "little")
        tops = lanes[WEIGHT - 1 :: LANE]
        start = 255 if len(tops) > MANY else max(tops)
        for top in range(start, -1, -1):
            index = tops.find(top)
            if index < 0:
                continue
            ranked = []
            while index >= 0:
                weight = int.from_bytes(lanes[index * LANE : index * LANE + WEIGHT], "little")
                ranked.append((-weight, index))
                index = tops.find(top, index + 1)
            ranked.sort()
            for _, index in ranked:
                yield self.nodes[index]


class RendezvousSelector(Selector):
    """The same node for the same key, as long as it is there; its retries go to the same others in the same order.

    Without a key the first node is drawn evenly at random, and so are the others. Keeps one integer per node set that
    is still in use.
    """

    def __init__(self, options: NoOptions) -> None:
        self._weights: WeakKeyDictionary[NodeSet, _Weights] = WeakKeyDictionary()
        self._random = Random()  # noqa: S311 - spreads load, guards nothing
        self._process = os.getpid()

    def select(self, nodes: NodeSet, *, key: bytes | None = None) -> Iterator[Node]:
        """As `Selector.select`; an empty key is a key."""
        if not nodes.nodes:
            return
        if key is None:
            yield from self._at_random(nodes)
        else:
            yield from self._of(nodes).heaviest_first(_number(key) % (1 << KEY_BITS) | 1)

    def done(self, node: Node, outcome: Outcome, seconds: float) -> None:
        """As `Selector.done`; nothing is learnt from it."""

    def _at_random(self, nodes: NodeSet) -> Iterator[Node]:
        self._reseed_after_fork()
        first = nodes.nodes[int(self._random.random() * len(nodes.nodes))]
        yield first
        for node in self._of(nodes).heaviest_first(self._random.getrandbits(KEY_BITS) | 1):
            if node is not first:
                yield node

    def _of(self, nodes: NodeSet) -> _Weights:
        weights = self._weights.get(nodes)
        if weights is None:
            weights = self._weights[nodes] = _Weights(nodes.nodes)
        return weights

    def _reseed_after_fork(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._random.seed()


@hookimpl
def micro_selector() -> type[Selector]:
    """The class behind entry point `rendezvous`."""
    return RendezvousSelector
