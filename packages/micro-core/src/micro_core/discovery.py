"""Discovery: what a client knows of services, without asking the registry on the path of a call."""

from __future__ import annotations

from abc import ABC, abstractmethod

from micro_core.errors import Outcome
from micro_core.records import Filter, Node, NodeSet


class Discovery(ABC):
    """Node sets, kept current in the background and shared by all callers. Given to clients, never chosen by name."""

    @abstractmethod
    def known(self, service: str, filter: Filter | None = None) -> NodeSet | None:
        """The nodes known now, or None where `find` must be awaited. Synchronous, and cheap enough for every call.

        The same object as long as nothing changed.
        """

    @abstractmethod
    async def find(self, service: str, filter: Filter | None = None, *, deadline: float) -> NodeSet:
        """Waits until a node is known, at most to the deadline (clock seconds) and at most the lookup limit.

        Raises:
            ServiceNotFound: none came; the text says where was looked.
        """

    @abstractmethod
    def report(self, service: str, node: Node, outcome: Outcome) -> None:
        """How an attempt at a node ended, well or not: evidence about nodes, whatever the registry says of them.

        Synchronous, and cheap enough for every call. A cancelled attempt is no evidence and is not reported.
        """
