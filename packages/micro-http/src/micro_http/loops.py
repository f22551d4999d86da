"""The little that connections need of an event loop, so that they are written once.

Connections are asyncio protocols: callbacks for what arrives, a wire to write to. Under asyncio and uvloop they are
driven by the loop itself, and an idle one costs no task. Under trio `micro_http.trio_loop` drives the same objects from
a reader and a writer task each.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

from micro_core import Clock, capture_clock

from micro_http.silence import Resting, notice_silence
from micro_http.workers import Workers

_log = logging.getLogger("micro.http")
_AT_ONCE = 64
_BACKOFF = 0.5
P = TypeVar("P", bound=asyncio.Protocol)


class Wire(Protocol):
    """What a connection writes to: the part of asyncio's transport that is used."""

    def write(self, data: bytes, /) -> None:
        """Sends it all, some time."""

    def can_write_eof(self) -> bool:
        """Whether the other direction outlives `write_eof`; under TLS it does not."""

    def write_eof(self) -> None:
        """Nothing more will be sent."""

    def close(self) -> None:
        """Closes when everything is sent."""

    def abort(self) -> None:
        """Closes at once."""

    def is_closing(self) -> bool:
        """Whether it closes."""

    def pause_reading(self) -> None:
        """Reads nothing for now."""

    def resume_reading(self) -> None:
        """Reads on."""

    def set_protocol(self, protocol: asyncio.BaseProtocol, /) -> None:
        """Another one takes over."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets how much may wait before the protocol is told."""

    def get_extra_info(self, name: str, default: Any = None, /) -> Any:
        """`socket`, `peername`, under TLS `identity` (the peer's verified name), or the default."""


def half_closed(wire: Wire) -> bool:
    """Ends this direction, so that the peer can read the other to its end; False where that closed all of it."""
    if wire.can_write_eof():
        try:
            wire.write_eof()
        except (OSError, RuntimeError):
            pass
        else:
            return True
    wire.close()
    return False


class Waiter(Protocol):
    """A value that one task waits for: the part of asyncio's future that is used."""

    def done(self) -> bool:
        """Whether there is a value or an error."""

    def set_result(self, result: Any, /) -> None:
        """Gives the value."""

    def set_exception(self, error: BaseException, /) -> None:
        """Gives the error."""

    def __await__(self) -> Generator[Any, None, Any]: ...


class Timer(Protocol):
    """A call that was put off."""

    def cancel(self) -> None:
        """Calls it off."""


class Acceptor(Protocol):
    """Something that accepts connections until it is closed."""

    def close(self) -> None:
        """Accepts no more."""

    async def settled(self) -> None:
        """Returns when every connection that was accepted is driven by its protocol."""


class Loop(ABC):
    """An event loop.

    Attributes:
        clock: its own.
        waiter: makes a new one.
        spawn: runs a coroutine, which must not raise, as if in a task of its own. The caller keeps what is returned.
        begin: the same for callbacks of the loop; it may have ended already when this returns.
        soon: calls a function in the loop's next turn; None where wires gather what is written in one turn anyway.
        resting: connections that nobody reads from.
        enough: pieces of messages, four for a call, that one connection of HTTP/2 gathers before it writes them.
        alone: calls at a time to one address that are quicker on a connection of HTTP/1.1 each than on one of HTTP/2.
    """

    clock: Clock
    waiter: Callable[[], Waiter]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    begin: Callable[[Coroutine[Any, Any, None]], object]
    soon: Callable[[Callable[[], None]], object] | None
    resting: Resting
    enough: int
    alone: int

    @abstractmethod
    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Calls it later."""

    @abstractmethod
    async def connect(self, host: str, port: int, factory: Callable[[], P]) -> P:
        """A connected protocol. Raises OSError."""

    @abstractmethod
    async def accept(self, bound: socket.socket, factory: Callable[[], asyncio.Protocol]) -> Acceptor:
        """Accepts on a listening socket, a protocol for each connection."""

    @abstractmethod
    async def adopt(self, peer: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        """Drives a protocol over a connection that was accepted elsewhere."""

    @abstractmethod
    async def checkpoint(self) -> None:
        """Lets others run."""


class AsyncioLoop(Loop):
    """asyncio, and whatever is installed as its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.clock = capture_clock()
        self.waiter = self._loop.create_future
        self._workers = Workers(self._loop)
        self.spawn = self._workers.spawn
        self.begin = self._workers.begin
        self.soon = self._loop.call_soon
        self.resting = Resting(self)
        self.enough = sys.maxsize  # wires write once a turn, and few calls are taken up in one
        self.alone = 48

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """See `Loop`."""
        return self._loop.call_later(seconds, call)

    async def connect(self, host: str, port: int, factory: Callable[[], P]) -> P:
        """See `Loop`."""
        transport, landing = await self._loop.create_connection(_Landing, host, port)
        if landing.over or transport.is_closing():
            transport.abort()
            raise ConnectionResetError("the peer closed the connection at once")
        notice_silence(transport.get_extra_info("socket"))
        protocol = factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if landing.arrived:
            protocol.data_received(landing.arrived)
        return protocol

    async def accept(self, bound: socket.socket, factory: Callable[[], asyncio.Protocol]) -> Acceptor:
        """See `Loop`."""
        return _AsyncioAcceptor(self._loop, bound, factory, self._workers)

    async def adopt(self, peer: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        """See `Loop`."""
        await _adopt(self._loop, peer, factory)

    async def checkpoint(self) -> None:
        """See `Loop`."""
        await asyncio.sleep(0)


class _Landing(asyncio.Protocol):
    """Holds a new connection for its dialler: of a dial that was cancelled uvloop tells nobody the end."""

    def __init__(self) -> None:
        self.arrived = b""
        self.over = False

    def data_received(self, data: bytes) -> None:
        self.arrived += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True


class _AsyncioAcceptor:
    """Accepts by itself: asyncio's server, when closed, forgets connections that it has accepted a moment before."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bound: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        workers: Workers,
    ) -> None:
        self._loop = loop
        self._workers = workers
        self._bound = bound
        self._factory = factory
        self._adopting: set[asyncio.Task[None]] = set()
        self._open = True
        self._resume()

    def _resume(self) -> None:
        if self._open:
            self._loop.add_reader(self._bound.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                peer, _ = self._bound.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError:
                _log.exception("a connection could not be accepted")
                self._loop.remove_reader(self._bound.fileno())
                self._loop.call_later(_BACKOFF, self._resume)
                return
            task = self._loop.create_task(_adopt(self._loop, peer, self._factory))
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._bound.fileno())
            self._bound.close()
            self._workers.leave()

    async def settled(self) -> None:
        while self._adopting:
            await asyncio.wait(self._adopting)


async def _adopt(loop: asyncio.AbstractEventLoop, peer: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
    peer.setblocking(False)
    try:
        await loop.connect_accepted_socket(factory, peer)
    except OSError:
        peer.close()


def current_loop() -> Loop:
    """The running one. Raises RuntimeError outside of asyncio and trio."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            from micro_http.trio_loop import TrioLoop

            return TrioLoop()
    return AsyncioLoop()
