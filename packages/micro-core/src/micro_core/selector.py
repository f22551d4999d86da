"""Selectors: which node takes the next attempt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from micro_core.component import Plugin
from micro_core.errors import Outcome
from micro_core.records import Node, NodeSet


class Selector(Plugin, ABC):
    """Chooses nodes. Built as `Selector(options)`. Synchronous, no I/O, no cache of services.

    Used in the thread of one event loop. Nodes are told apart by their id.
    """

    @abstractmethod
    def select(self, nodes: NodeSet, *, key: bytes | None = None) -> Iterator[Node]:
        """The nodes in the order in which they should be tried.

        Lazy: taking a node begins an attempt, so a caller takes one only when it will be tried, and work is done only
        for nodes that are taken. Yields each node of the
        set at most once and ends when all were taken; an empty set yields nothing. `key` asks selectors that know
        affinity to send equal keys to the same node; others ignore it.
        """

    @abstractmethod
    def done(self, node: Node, outcome: Outcome, seconds: float) -> None:
        """How an attempt at a taken node ended. Called exactly once for every node taken, also when cancelled.

        Never raises, also for a node that it has never seen.
        """
