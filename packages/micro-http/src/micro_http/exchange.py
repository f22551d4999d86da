"""What a stream over a pipe of messages tells the connection that it runs on."""

from __future__ import annotations

from abc import abstractmethod

from micro_core import Exchange, Message


class PipeExchange(Exchange):
    """The server's side of a stream."""

    __slots__ = ("tells",)
    tells: bool
    """Whether the client asked if HTTP/2 is spoken here, which the first head answers."""

    @abstractmethod
    def outlives_eof(self) -> bool:
        """Whether the stream goes on though the peer has closed its side."""

    @abstractmethod
    def settled(self) -> bool:
        """Whether this side was ended in good order."""

    @abstractmethod
    def closes(self) -> bool:
        """Whether the connection is closed after the stream."""

    @abstractmethod
    def late(self, message: Message) -> bool:
        """Whether a message that arrives after the stream still belongs to it."""
