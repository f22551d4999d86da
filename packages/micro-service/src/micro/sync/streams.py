"""Streams of a blocking client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from micro_core import EndOfStream, Head, Peer

from micro.client import Client
from micro.stream import Stream as AsyncStream
from micro.streaming import Replies as AsyncReplies
from micro.sync.background import Background, Opened

T = TypeVar("T")
V = TypeVar("V")


class _Bound:
    """Belongs to one thread in the background, and to one process."""

    def __init__(self, background: Background, opened: Opened) -> None:
        self._background = background
        self._opened = opened

    @property
    def _alive(self) -> bool:
        """Whether there is something to leave: neither was the client closed, nor is this a fork."""
        return self._background.opened is self._opened

    def _wait(self, function: Callable[[Client], Awaitable[V]]) -> V:
        return self._background.wait(self._opened, function)

    def _leave(self, stream: object, leave: Callable[[Client], Awaitable[None]]) -> None:
        """From a finaliser: without waiting, and without a word on a connection that is another process's."""
        if not self._alive:
            self._background.keep(stream)
            return
        try:
            self._opened.portal.start_task_soon(leave, self._opened.client)
        except RuntimeError:
            self._background.keep(stream)  # it has stopped, or this is its own thread


class Replies(_Bound, Iterator[T], Generic[T]):
    """The replies of a server-streaming method: an iterator, and a context that ends the stream when it is left early.

    Iterated by one thread at a time. `close` does nothing on successive calls.
    """

    def __init__(self, background: Background, opened: Opened, replies: AsyncReplies[T]) -> None:
        super().__init__(background, opened)
        self._replies = replies
        self._done = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._done:
            raise StopIteration
        try:
            found = self._wait(self._next)
        except Exception:
            self._done = True
            raise
        if not found:
            self._done = True
            raise StopIteration
        return found[0]

    async def _next(self, _: Client) -> tuple[T, ...]:
        async for value in self._replies:
            return (value,)
        return ()

    def close(self) -> None:
        """Leaves the stream; one that has not ended is reset."""
        if not self._done:
            self._done = True
            if self._alive:
                self._wait(self._aclose)

    async def _aclose(self, _: Client) -> None:
        await self._replies.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_done", True):
            self._leave(self._replies, self._aclose)


class Stream(Generic[T]):
    """A stream that `client.stream(…)` opens when the block is entered; leaving the block early resets it.

    One thread may send while another receives. Iterating receives until the end.

    Raises on entering:
        RPCError: no node would open it.
    """

    def __init__(self, background: Background, make: Callable[[Client], AsyncStream[T]]) -> None:
        self._background = background
        self._make = make
        self._bound: _Bound | None = None
        self._stream: AsyncStream[T]

    def __enter__(self) -> Self:
        opened = self._background.open()

        async def enter(client: Client) -> AsyncStream[T]:
            return await self._make(client).__aenter__()

        self._stream = self._background.wait(opened, enter)
        self._bound = _Bound(self._background, opened)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stream = self._entered

        async def leave(_: Client) -> None:
            await stream.__aexit__(None, None, None)

        if self._bound is not None and self._bound._alive:
            self._wait(leave)

    @property
    def _entered(self) -> AsyncStream[T]:
        if self._bound is None:
            raise RuntimeError("a stream is opened by `with client.stream(…) as stream:`")
        return self._stream

    def _wait(self, function: Callable[[Client], Awaitable[V]]) -> V:
        assert self._bound is not None, "it is asked for where the stream is entered"
        return self._bound._wait(function)

    @property
    def header(self) -> Head:
        """The server's header, lower-case; complete after the first `recv`."""
        return self._entered.header

    @property
    def peer(self) -> Peer:
        """Who serves it."""
        return self._entered.peer

    def send(self, value: Any) -> None:
        """Sends one value; waits while the server does not read. Raises RPCError when the stream is over."""
        stream = self._entered

        async def send(_: Client) -> None:
            await stream.send(value)

        self._wait(send)

    def recv(self) -> T:
        """The next value. Raises EndOfStream when the server ended well, RPCError when it failed."""
        stream = self._entered

        async def recv(_: Client) -> T:
            return await stream.recv()

        return self._wait(recv)

    def end(self) -> None:
        """Nothing more will be sent; receiving goes on. Idempotent."""
        stream = self._entered

        async def end(_: Client) -> None:
            await stream.end()

        self._wait(end)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self.recv()
        except EndOfStream:
            raise StopIteration from None
