"""The low-level form of a stream: send, recv, end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from micro_core import EndOfStream, Head, Peer, Reset, RPCError
from micro_core import Stream as OpenStream
from micro_core.revival import raise_revived

from micro.streaming import Opener, end_too

T = TypeVar("T")


class Stream(Generic[T]):
    """A stream that `client.stream(…)` opens when the block is entered.

    Leaving the block early resets it, so that the handler is cancelled. One task may send while another receives.

    Raises on entering:
        RPCError: no node would open it.
    """

    __slots__ = ("_ended", "_errors", "_open", "_stream")

    def __init__(self, opener: Opener, errors: Sequence[type[RPCError]] = ()) -> None:
        self._open = opener
        self._errors = errors
        self._stream: OpenStream | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        try:
            self._stream = await self._open()
        except RPCError as error:
            raise_revived(error, self._errors)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            await end_too(self._opened)
        else:
            self._opened.reset(Reset.CANCELLED)

    @property
    def _opened(self) -> OpenStream:
        if self._stream is None:
            raise RuntimeError("a stream is opened by `async with client.stream(…) as stream:`")
        return self._stream

    @property
    def header(self) -> Head:
        """The server's header, lower-case; complete after the first `recv`."""
        return self._opened.header

    @property
    def peer(self) -> Peer:
        """Who serves it."""
        return self._opened.peer

    async def send(self, value: Any) -> None:
        """Sends one value; waits while the server does not read. Raises RPCError when the stream is over."""
        try:
            await self._opened.send(value)
        except RPCError as error:
            raise_revived(error, self._errors)

    async def recv(self) -> T:
        """The next value. Raises EndOfStream when the server ended well, RPCError when it failed."""
        try:
            value: T = await self._opened.recv()
        except EndOfStream:
            self._ended = True
            raise
        except RPCError as error:
            self._ended = True
            raise_revived(error, self._errors)
        return value

    async def end(self) -> None:
        """Nothing more will be sent; receiving goes on. Idempotent."""
        await self._opened.end()

    def reset(self) -> None:
        """Leaves the stream at once. Idempotent."""
        self._opened.reset(Reset.CANCELLED)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        stream = self._stream
        try:
            value: T = await (self._opened if stream is None else stream).recv()
        except EndOfStream:
            self._ended = True
            raise StopAsyncIteration from None
        except RPCError as error:
            self._ended = True
            raise_revived(error, self._errors)
        return value
