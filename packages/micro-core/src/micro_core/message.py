"""What travels: a head of text, a body of bytes."""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

Head: TypeAlias = dict[str, str]
"""Header names are lower-case in memory; `:path`, `:method` and `:status` are names like any other. Never shared:
whoever is given a head may change it."""


class Message:
    """A head, a body and, where a call ends with it, a trailer (empty: ended well)."""

    __slots__ = ("body", "head", "trailer")

    def __init__(self, head: Head, body: bytes = b"", trailer: Head | None = None) -> None:
        self.head = head
        self.body = body
        self.trailer = trailer

    def __repr__(self) -> str:
        return f"<Message {self.head!r}, {len(self.body)} bytes>"
