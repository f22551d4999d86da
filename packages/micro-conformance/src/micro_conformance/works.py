"""What the suites put behind `listen`: calls and streams that do what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import anyio
from micro_core import (
    EndOfStream,
    Exchange,
    Head,
    Listener,
    Message,
    Peer,
    Reset,
    StreamCall,
    Transport,
    TransportError,
    UnaryCall,
)

UnaryHandler: TypeAlias = Callable[[Head, bytes], Awaitable[Message | None]]
StreamHandler: TypeAlias = Callable[[Exchange], Awaitable[None]]

HEAD: Head = {
    "micro-service": "conformance",
    "micro-endpoint": "Test.Call",
    "micro-method": "Test.Call",
    "micro-id": "1",
    "content-type": "application/octet-stream",
}
STREAM_HEAD: Head = {**HEAD, "micro-stream": "1"}
REPLY_HEAD: Head = {"content-type": "application/octet-stream"}


class Work(UnaryCall):
    """One accepted call; `reason` is what it was cancelled with."""

    def __init__(self, handler: UnaryHandler, head: Head) -> None:
        self.head = head
        self.runs = 0
        self.reason: Reset | None = None
        self._handler = handler
        self._scope: anyio.CancelScope | None = None

    async def run(self, body: bytes) -> Message | None:
        """Runs the handler inside a scope of its own, as servers do."""
        self.runs += 1
        if self.reason is not None:
            return None
        with anyio.CancelScope() as self._scope:
            return await self._handler(self.head, body)
        return None

    def cancel(self, reason: Reset) -> None:
        """Cancels that scope."""
        self.reason = self.reason or reason
        if self._scope is not None:
            self._scope.cancel()


class Streaming(StreamCall):
    """One accepted stream; `exchange` is what it runs with."""

    def __init__(self, handler: StreamHandler, head: Head) -> None:
        self.head = head
        self.runs = 0
        self.reason: Reset | None = None
        self.finished = False
        self._handler = handler
        self._scope: anyio.CancelScope | None = None

    async def run(self, exchange: Exchange) -> None:
        """Runs the handler; what it did not end is reset when it was cancelled. Never raises."""
        self.runs += 1
        with anyio.CancelScope() as self._scope:
            if self.reason is not None:
                self._scope.cancel()
            with suppress(TransportError, EndOfStream):
                await self._handler(exchange)
        if self._scope.cancelled_caught:
            exchange.reset(self.reason or Reset.CANCELLED)
        self.finished = True

    def cancel(self, reason: Reset) -> None:
        """Cancels that scope."""
        self.reason = self.reason or reason
        if self._scope is not None:
            self._scope.cancel()


class Behind:
    """The accept function of a test; keeps what was accepted."""

    def __init__(self, unary: UnaryHandler, stream: StreamHandler, refusal: Message | None) -> None:
        self.works: list[Work] = []
        self.streams: list[Streaming] = []
        self.peers: list[Peer] = []
        self.address = ""
        self.listener: Listener
        self._unary = unary
        self._stream = stream
        self._refusal = refusal

    def accept(self, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        """Streams are told by `micro-stream`, as between all of our nodes."""
        self.peers.append(peer)
        if self._refusal is not None:
            return Message(dict(self._refusal.head), self._refusal.body)
        if "micro-stream" in head:
            self.streams.append(Streaming(self._stream, head))
            return self.streams[-1]
        self.works.append(Work(self._unary, head))
        return self.works[-1]


async def echo(head: Head, body: bytes) -> Message:
    """The body comes back."""
    return Message(dict(REPLY_HEAD), body)


async def echo_stream(exchange: Exchange) -> None:
    """Each message comes back, the end too."""
    try:
        while True:
            await exchange.send(await exchange.recv())
    except EndOfStream:
        await exchange.end()


async def hang(head: Head, body: bytes) -> Message:
    """Never answers."""
    await anyio.sleep_forever()
    return Message({})


async def hold(exchange: Exchange) -> None:
    """Neither reads nor writes."""
    await anyio.sleep_forever()


@asynccontextmanager
async def listening(
    transport: Transport,
    address: str,
    *,
    unary: UnaryHandler = echo,
    stream: StreamHandler = echo_stream,
    refusal: Message | None = None,
) -> AsyncIterator[Behind]:
    """Listens with these handlers, closes at the end."""
    behind = Behind(unary, stream, refusal)
    behind.listener = await transport.listen(address, behind.accept)
    behind.address = behind.listener.address
    try:
        yield behind
    finally:
        with anyio.CancelScope(shield=True):
            await behind.listener.aclose()
