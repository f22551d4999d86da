"""Selector `rendezvous`: equal keys to the same node, by rendezvous hashing.

Every node has a place in every key's order, computed from the node's id and the key alone, and the first node takes the
key. So all processes agree without talking, in any language that does the same arithmetic; when a node leaves, only its
keys move, each to the node that was next; when one comes, it takes keys and nobody else's move.

    n = BLAKE2b-64 of the node's id, k = BLAKE2b-64 of the key     both read as little-endian numbers
    rank   = (k[16:24] - (n[0:24] * odd(k[0:16]))[16:24]) mod 256  where x[a:b] are bits a to b-1 of x, the lowest is 0,
    weight = n * odd(k[24:64]) mod 2^64                            and odd(x) is x with its bit 0 set

The lowest rank comes first, and among equal ranks the highest weight. An odd factor permutes the numbers below 2^64, so
that nodes tie only where their ids collide. Ranks were made to be had for a thousand nodes at once: the numbers of a
set stand in one long integer, five bytes each, room for the whole product, and one multiplication by the key does them
all. Its third bytes are then searched for those of the lowest rank, about four nodes of a thousand, and only these are
weighed. This is exact and needs no memory of keys.
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

LANE = 5
"""Bytes per node in the long integer: 24 bits of the node and 16 of the key make 40."""
RANK = 2
"""The byte of a lane that ranks its node."""
MANY = 64
"""Nodes from which on some rank is near 0, so that searching upwards beats looking at all."""

_LANE_MASK = (1 << 24) - 1
_WEIGHT_MASK = (1 << 64) - 1
_FALLING = bytes(-at & 255 for at in range(512))
"""From `256 - start` on, the table that makes a byte its distance below `start`."""


def _number(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


class _Ranking:
    """The nodes of a set and their numbers, also in one integer."""

    __slots__ = ("nodes", "numbers", "packed", "size")

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes
        self.numbers = tuple(_number(node.id.encode("utf-8", "surrogatepass")) for node in nodes)
        lanes = b"".join((number & _LANE_MASK).to_bytes(LANE, "little") for number in self.numbers)
        self.packed = int.from_bytes(lanes, "little")
        self.size = len(lanes)

    def order(self, key: int) -> Iterator[Node]:
        """The nodes in the key's order, of equals the first of the set; sorted no further than they are taken."""
        ranks = (self.packed * (key & 0xFFFF | 1)).to_bytes(self.size, "little")[RANK::LANE]
        start, factor = key >> 16 & 255, key >> 24 | 1
        nearest = 0 if len(ranks) > MANY else min(ranks.translate(_FALLING[256 - start : 512 - start]))
        for rank in range(nearest, 256):
            byte = start - rank & 255
            index = ranks.find(byte)
            if index < 0:
                continue
            weighed = []
            while index >= 0:
                weighed.append((-(self.numbers[index] * factor & _WEIGHT_MASK), index))
                index = ranks.find(byte, index + 1)
            weighed.sort()
            for _, index in weighed:
                yield self.nodes[index]


class RendezvousSelector(Selector):
    """The same node for the same key, as long as it is there; its retries go to the same others in the same order.

    Without a key the first node is drawn evenly at random, and so are the others. Keeps a number per node for node
    sets that are still in use.
    """

    def __init__(self, options: NoOptions) -> None:
        self._rankings: WeakKeyDictionary[NodeSet, _Ranking] = WeakKeyDictionary()
        self._random = Random()  # noqa: S311 - spreads load, guards nothing
        self._process = os.getpid()

    def select(self, nodes: NodeSet, *, key: bytes | None = None) -> Iterator[Node]:
        """As `Selector.select`; an empty key is a key."""
        if not nodes.nodes:
            return iter(())
        return self._at_random(nodes) if key is None else self._of(nodes).order(_number(key))

    def done(self, node: Node, outcome: Outcome, seconds: float) -> None:
        """As `Selector.done`; nothing is learnt from it."""

    def _at_random(self, nodes: NodeSet) -> Iterator[Node]:
        self._reseed_after_fork()
        first = nodes.nodes[int(self._random.random() * len(nodes.nodes))]
        yield first
        for node in self._of(nodes).order(self._random.getrandbits(64)):
            if node is not first:
                yield node

    def _of(self, nodes: NodeSet) -> _Ranking:
        ranking = self._rankings.get(nodes)
        if ranking is None:
            ranking = self._rankings[nodes] = _Ranking(nodes.nodes)
        return ranking

    def _reseed_after_fork(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._random.seed()


@hookimpl
def micro_selector() -> type[Selector]:
    """The class behind entry point `rendezvous`."""
    return RendezvousSelector
