"""Replies of a stream as an async iterator that may be left early."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import anyio
from micro_core import EndOfStream, Reset, RPCError, Stream
from micro_core.errors import BadRequest
from micro_core.revival import raise_revived

T = TypeVar("T")


def streaming(replies: AsyncIterator[T]) -> Replies[T]:
    """Makes a stream's replies a context, so that leaving it early ends the stream at once.

        async with micro.streaming(say.count(request)) as numbers:
            async for number in numbers: ...

    Takes what a proxy's method returns, or any other async iterator, such as a handler's own.
    """
    return replies if isinstance(replies, Replies) else Replies(_Plain(replies))


class Source(Protocol):
    """Where replies come from."""

    async def next(self) -> Any:
        """The next value; raises StopAsyncIteration after the last."""
        ...

    async def aclose(self) -> None:
        """Leaves it, in whatever state it is."""
        ...

    def abandon(self) -> None:
        """Leaves it from a finaliser: synchronous."""
        ...


class Replies(AsyncIterator[T], Generic[T]):
    """The replies of one stream: an async iterator, and a context that resets the stream when it is left early.

    Iterated by one task at a time. `aclose` does nothing on successive calls.
    """

    __slots__ = ("_done", "_source")

    def __init__(self, source: Source) -> None:
        self._done = False
        self._source = source

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._done:
            raise StopAsyncIteration
        try:
            value: T = await self._source.next()
        except BaseException as error:
            if isinstance(error, Exception):
                await self.aclose()
            raise
        return value

    async def aclose(self) -> None:
        """Leaves the stream; one that has not ended is reset."""
        if not self._done:
            self._done = True
            await self._source.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not getattr(self, "_done", True):
            self._source.abandon()


class _Plain:
    """An async iterator that came from elsewhere."""

    def __init__(self, values: AsyncIterator[Any]) -> None:
        self._values = values

    async def next(self) -> Any:
        return await self._values.__anext__()

    async def aclose(self) -> None:
        aclose = getattr(self._values, "aclose", None)
        if aclose is not None:
            await aclose()

    def abandon(self) -> None:
        """The iterator has a finaliser of its own."""


Opener = Callable[[], Awaitable[Stream]]
Spawn = Callable[..., object]


class Exchanged:
    """The replies of a stream that is opened by the first `next`, fed by a task of its own where there are values.

    The feeding task belongs to the client, not to the caller: a server's error wakes the caller, which waits for
    replies alone, and leaving the replies cancels the feeding. An exception of the caller's own values cuts the stream
    and comes out of `next`.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        first: Any = None,
        values: AsyncIterable[Any] | None,
        spawn: Spawn,
        errors: Sequence[type[RPCError]] = (),
    ) -> None:
        self._opener = opener
        self._errors = errors
        self._first = first
        self._values = values
        self._spawn = spawn
        self._stream: Stream | None = None
        self._feeding: anyio.CancelScope | None = None
        self._failed: Exception | None = None
        self._ended = False

    async def next(self) -> Any:
        """As `Source.next`; opens the stream first."""
        stream = self._stream
        try:
            if stream is None:
                stream = await self._open()
            return await stream.recv()
        except EndOfStream:
            self._ended = True
        except RPCError as error:
            self._ended = True
            if self._failed is None:
                raise_revived(error, self._errors)
        if self._failed is not None:
            raise self._failed
        raise StopAsyncIteration

    async def _open(self) -> Stream:
        stream = self._stream = await self._opener()
        if self._values is None:
            await self._send_first(stream)
        else:
            self._feeding = anyio.CancelScope()
            self._spawn(self._feed, stream, self._values, self._feeding)
        return stream

    async def _send_first(self, stream: Stream) -> None:
        try:
            await stream.send(self._first)
            await stream.end()
        except BadRequest:
            stream.reset()
            raise
        except RPCError:
            pass  # the stream is over; `recv` tells why

    async def _feed(self, stream: Stream, values: AsyncIterable[Any], scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await _send_all(stream, values)
            except BadRequest as error:  # a value that cannot be encoded
                self._failed = error
                stream.reset()
            except RPCError:
                pass  # the stream is over; `recv` tells why
            except Exception as error:
                self._failed = error
                stream.reset()

    async def aclose(self) -> None:
        """Stops the feeding, and resets the stream unless it has ended."""
        if self._feeding is not None:
            self._feeding.cancel()
        if self._stream is None:
            if self._values is not None:
                await _close(self._values)
        elif self._ended:
            await end_too(self._stream)
        else:
            self._stream.reset(Reset.CANCELLED)

    def abandon(self) -> None:
        """As `aclose`, from a finaliser."""
        with suppress(RuntimeError):  # the event loop may be gone
            if self._feeding is not None:
                self._feeding.cancel()
            if self._stream is not None and not self._ended:
                self._stream.reset(Reset.CANCELLED)


async def _send_all(stream: Stream, values: AsyncIterable[Any]) -> None:
    try:
        async for value in values:
            await stream.send(value)
        await stream.end()
    finally:
        await _close(values)


async def end_too(stream: Stream) -> None:
    """Ends this side of a stream whose other side has ended."""
    try:
        await stream.end()
    except BaseException as error:
        stream.reset(Reset.CANCELLED)
        if not isinstance(error, RPCError):
            raise


async def _close(values: AsyncIterable[Any]) -> None:
    aclose = getattr(values, "aclose", None)
    if aclose is not None:
        with anyio.CancelScope(shield=True):
            await aclose()
