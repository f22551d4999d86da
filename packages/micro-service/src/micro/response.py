"""A reply with its circumstances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from micro_core import Attempt, Head, Node

T = TypeVar("T")


class Response(Generic[T]):
    """A reply with its circumstances.

    Attributes:
        value: the decoded reply.
        header: the reply's header, lower-case.
        node: the node that answered; None for a call by address.
        attempts: the nodes that were tried, the last one answered.
    """

    __slots__ = ("attempts", "header", "node", "value")

    def __init__(self, value: T, header: Head, node: Node | None, attempts: Sequence[Attempt]) -> None:
        self.value = value
        self.header = header
        self.node = node
        self.attempts = attempts

    def __repr__(self) -> str:
        return f"<Response {self.value!r} from {self.node.id if self.node else 'an address'}>"
