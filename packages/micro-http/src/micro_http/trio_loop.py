"""trio as a `Loop`: each connection has a reader and a writer task, since its callbacks are synchronous.

What the system takes at once is written at once, so that the other end can begin with it; the writer has the rest.

The tasks are system tasks: a connection lives as long as its client or listener, which is not the life of the task that
happened to open it. None of them lets an exception out, and trio cancels what is left when the
program's main task ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar

import trio

from micro_http.loops import Acceptor, Loop, Timer
from micro_http.silence import Resting, notice_silence

_log = logging.getLogger("micro.http")
_HIGH = 64 * 1024
_READ = 64 * 1024
P = TypeVar("P", bound=asyncio.Protocol)


class TrioWaiter:
    """A value that one task waits for; an event is for many, and costs more."""

    __slots__ = ("_done", "_error", "_result", "_task")

    def __init__(self) -> None:
        self._done = False
        self._task: trio.lowlevel.Task | None = None
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Whether there is a value or an error."""
        return self._done

    def set_result(self, result: Any) -> None:
        """Gives the value."""
        self._result = result
        self._wake()

    def set_exception(self, error: BaseException) -> None:
        """Gives the error."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        self._done = True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _abandon(self, _: object) -> trio.lowlevel.Abort:
        """The task that waits is cancelled."""
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _wait(self) -> Any:
        if self._done:
            await trio.lowlevel.checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abandon)
        if self._error is not None:
            raise self._error
        return self._result

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()


class TrioLoop(Loop):
    """trio."""

    def __init__(self) -> None:
        self.clock = trio.current_time
        self.waiter = TrioWaiter
        self.spawn = self.begin = _start
        self.soon = None
        self.resting = Resting(self)
        self.enough = 32  # or the other end would have nothing to do until all of this one's tasks have run
        self.alone = 2  # each connection costs two tasks

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """See `Loop`."""
        scope = trio.CancelScope()
        _start(_later(scope, seconds, call))
        return scope

    async def connect(self, host: str, port: int, factory: Callable[[], P]) -> P:
        """See `Loop`."""
        stream = await trio.open_tcp_stream(host, port)
        notice_silence(stream.socket)
        protocol = factory()
        wire = TrioWire(stream, protocol)
        wire.start()
        return protocol

    async def accept(self, bound: socket.socket, factory: Callable[[], asyncio.Protocol]) -> Acceptor:
        """See `Loop`."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        scope = trio.CancelScope()
        _start(_accepting(scope, listener, factory))
        return _TrioAcceptor(scope, listener)

    async def adopt(self, peer: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        """See `Loop`."""
        peer.setblocking(False)
        TrioWire(trio.SocketStream(trio.socket.from_stdlib_socket(peer)), factory()).start()

    async def checkpoint(self) -> None:
        """See `Loop`."""
        await trio.lowlevel.checkpoint()


class _TrioAcceptor:
    def __init__(self, scope: trio.CancelScope, listener: trio.SocketListener) -> None:
        self._scope = scope
        self._listener = listener

    def close(self) -> None:
        """Accepts no more."""
        self._scope.cancel()
        self._listener.socket.close()

    async def settled(self) -> None:
        """At once: between accepting and driving a connection nothing is awaited."""


def _start(work: Coroutine[Any, Any, None]) -> object:
    async def run() -> None:
        try:
            await work
        except Exception:
            _log.exception("a background task failed")

    return trio.lowlevel.spawn_system_task(run, context=contextvars.copy_context())


async def _later(scope: trio.CancelScope, seconds: float, call: Callable[[], None]) -> None:
    with scope:
        await trio.sleep(seconds)
        call()


async def _accepting(
    scope: trio.CancelScope, listener: trio.SocketListener, factory: Callable[[], asyncio.Protocol]
) -> None:
    with scope:
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return
            except OSError:
                _log.exception("a connection could not be accepted")
                await trio.sleep(0.1)
                continue
            TrioWire(stream, factory()).start()
    listener.socket.close()


class TrioWire:
    """Drives a protocol over a trio stream."""

    def __init__(self, stream: trio.SocketStream, protocol: asyncio.Protocol) -> None:
        self._stream = stream
        self._protocol = protocol
        self._out = bytearray()
        self._ready = trio.Event()
        self._may_read: trio.Event | None = None
        self._scope = trio.CancelScope()
        self._closing = False
        self._eof = False
        self._paused = False
        self._high = _HIGH
        self._failure: Exception | None = None
        self._writing = False
        self._raw: socket.socket | None = None

    def start(self) -> None:
        """Announces the connection and drives it from now on."""
        self._protocol.connection_made(self)  # type: ignore[arg-type]
        _start(self._run())

    def write(self, data: bytes) -> None:
        """Sends it all, some time."""
        if self._closing:
            return
        if self._raw is not None and not self._out and not self._writing and not self._eof:
            data = data[_taken_at_once(self._raw, data) :]
            if not data:
                return
        self._out += data
        self._ready.set()
        if len(self._out) > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        """Yes."""
        return True

    def write_eof(self) -> None:
        """Nothing more will be sent."""
        self._eof = True
        self._ready.set()

    def close(self) -> None:
        """Closes when everything is sent."""
        self._closing = True
        self._ready.set()

    def abort(self) -> None:
        """Closes at once."""
        self._closing = True
        self._scope.cancel()

    def is_closing(self) -> bool:
        """Whether it closes."""
        return self._closing

    def pause_reading(self) -> None:
        """Reads nothing for now."""
        if self._may_read is None:
            self._may_read = trio.Event()

    def resume_reading(self) -> None:
        """Reads on."""
        if self._may_read is not None:
            self._may_read.set()
            self._may_read = None

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Another one takes over."""
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """How much may wait before the protocol is told."""
        self._high = _HIGH if high is None else high

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket`, `peername`, or the default."""
        if name == "socket":
            return self._stream.socket
        if name == "peername":
            with suppress(OSError):  # it may be gone before it was accepted
                return self._stream.socket.getpeername()
        return default

    async def _run(self) -> None:
        own = self._stream.socket
        raw = self._raw = socket.socket(own.family, own.type, own.proto, fileno=own.fileno())
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._guard, self._read)
                    nursery.start_soon(self._guard, self._write)
        finally:
            self._closing = True
            self._raw = None
            raw.detach()
            self._stream.socket.close()
            self._protocol.connection_lost(self._failure)

    async def _guard(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """One of the two tasks; when it fails, the connection is over."""
        try:
            await work()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            self._failure = error
            self._scope.cancel()
        except Exception as error:
            _log.exception("a connection failed")
            self._failure = error
            self._scope.cancel()

    async def _read(self) -> None:
        while not self._closing:
            while self._may_read is not None:
                await self._may_read.wait()
            data = await self._stream.receive_some(_READ)
            if not data:
                if not self._protocol.eof_received():
                    self.close()
                return
            self._protocol.data_received(bytes(data))

    async def _write(self) -> None:
        while True:
            await self._ready.wait()
            self._ready = trio.Event()
            while self._out:
                data = bytes(self._out)
                self._out.clear()
                self._writing = True
                await self._stream.send_all(data)
                self._writing = False
                self._relieve()
            if self._closing:
                self._scope.cancel()
                return
            if self._eof:
                self._eof = False
                await self._stream.send_eof()

    def _relieve(self) -> None:
        if self._paused and not self._out:
            self._paused = False
            self._protocol.resume_writing()


def _taken_at_once(raw: socket.socket, data: bytes) -> int:
    """Sends without the task that writes; how much of it the system took."""
    try:
        return raw.send(data)
    except OSError:  # that task meets it, too, unless it is only that the system takes nothing
        return 0
