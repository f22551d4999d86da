"""A stream within one process: two bounded pipes, and an exchange at either end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio
from micro_core import Buffer, EndOfStream, Exchange, Head, Peer, Reset, TransportError

_TEXTS = {
    Reset.CANCELLED: "the stream was cancelled",
    Reset.DEADLINE: "the stream's deadline passed",
    Reset.GONE: "the other end is gone",
    Reset.REFUSED: "the stream was refused",
    Reset.PROTOCOL: "the stream was broken off",
    Reset.LIMIT: "a message was over a limit",
}


class Pipe:
    """One direction. `failure` is why nothing more can be sent or, once the buffer is empty, received."""

    __slots__ = ("_changed", "_limit", "ended", "failure", "items", "trailer")

    def __init__(self, limit: int) -> None:
        self.items: deque[bytes] = deque()
        self.ended = False
        self.trailer: Head = {}
        self.failure: Reset | None = None
        self._limit = limit
        self._changed: anyio.Event | None = None

    async def put(self, body: bytes) -> None:
        """Adds a message; waits while the buffer is full. Raises TransportError."""
        while not self.ended and self.failure is None and len(self.items) >= self._limit:
            await self._wait()
        if self.failure is not None:
            raise TransportError(_TEXTS[self.failure], self.failure, processed=True)
        if self.ended:
            raise TransportError("this side of the stream has ended", Reset.PROTOCOL, processed=True)
        self.items.append(body)
        self._wake()

    async def get(self) -> bytes:
        """Takes the next message. Raises EndOfStream or TransportError once the buffer is empty."""
        while not self.items and not self.ended and self.failure is None:
            await self._wait()
        if self.items:
            self._wake()
            return self.items.popleft()
        if self.ended:
            raise EndOfStream
        assert self.failure is not None
        raise TransportError(_TEXTS[self.failure], self.failure, processed=True)

    def end(self, trailer: Head) -> None:
        """Nothing more will be put. Raises TransportError when the pipe has failed."""
        if self.failure is not None:
            raise TransportError(_TEXTS[self.failure], self.failure, processed=True)
        if not self.ended:
            self.ended = True
            self.trailer = trailer
            self._wake()

    def fail(self, reason: Reset) -> None:
        """Breaks the pipe unless it has ended; what is buffered can still be taken."""
        if not self.ended and self.failure is None:
            self.failure = reason
            self._wake()

    def abandon(self) -> None:
        """Nobody will receive: senders are told, also where this side had not ended."""
        self.items.clear()
        self.fail(Reset.GONE)

    async def _wait(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()


class MemoryExchange(Exchange):
    """One end. `on_reset` tells the other side's call, which has no `recv` to learn it from."""

    __slots__ = ("__weakref__", "_incoming", "_message_limit", "_on_reset", "_other", "_outgoing")

    def __init__(self, request: Head, peer: Peer, incoming: Pipe, outgoing: Pipe, message_limit: int) -> None:
        self.request = request
        self.reply: Head = {}
        self.trailer: Head = {}
        self.peer = peer
        self._incoming = incoming
        self._outgoing = outgoing
        self._message_limit = message_limit
        self._other: MemoryExchange | None = None
        self._on_reset: Callable[[Reset], None] | None = None

    def replies_from(self, other: MemoryExchange, on_reset: Callable[[Reset], None]) -> None:
        """Makes this the caller's end."""
        self._other = other
        self._on_reset = on_reset

    async def send(self, body: Buffer) -> None:  # noqa: D102
        if len(body) > self._message_limit:
            text = f"{len(body)} bytes are over the limit of {self._message_limit} for a message (option message_limit)"
            raise TransportError(text, Reset.PROTOCOL, processed=True)
        await self._outgoing.put(bytes(body))

    async def end(self, trailer: Head | None = None, body: Buffer = b"") -> None:  # noqa: D102
        self._outgoing.end(dict(trailer or {}))

    async def recv(self) -> bytes:  # noqa: D102
        try:
            return await self._incoming.get()
        except EndOfStream:
            self.trailer = dict(self._incoming.trailer)
            raise
        finally:
            if self._other is not None:
                self.reply = dict(self._other.reply)

    def reset(self, reason: Reset) -> None:  # noqa: D102
        if self._incoming.ended and self._outgoing.ended:
            return
        self._incoming.fail(reason)
        self._outgoing.fail(reason)
        on_reset, self._on_reset = self._on_reset, None
        if on_reset is not None:
            on_reset(reason)

    def finish(self) -> None:
        """The work at this end is over: what it did not end is cut, and nobody reads what still comes."""
        self._outgoing.fail(Reset.GONE)
        self._incoming.abandon()
