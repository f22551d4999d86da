"""The client: calls over pooled connections, one call per connection at a time.

A connection goes back to its pool after a reply that left it clean, and nowhere else: a timeout, a cancellation, an
error, bytes behind the reply or `Connection: close` end it, so no late reply can answer another call.

Deadlines are swept: while calls are in flight, one timer of the client looks at all of them every 20 ms. A call itself
starts no timer and opens no cancel scope, and an idle client has no timer at all.
"""

from __future__ import annotations

import asyncio
import errno
import select
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar, cast

import anyio
from micro_core import Message, Reset, TransportError

from micro_http.address import format_address, parse_address
from micro_http.limits import Limits
from micro_http.loops import Loop, Timer, Waiter, Wire, current_loop
from micro_http.names import WireNames
from micro_http.parse import Parser
from micro_http.pipe import Pipe, PipeConnection
from micro_http.tables import Malformed, Tables
from micro_http.write import counted, header_block, request_start

_SWEEP = 0.02
_OVER_A_LIMIT = (413, 431)
_NEVER = float("inf")
_LARGE = 64 * 1024
_POOLS = 1024
P = TypeVar("P", bound=asyncio.Protocol)


class HTTPClient:
    """Calls HTTP/1.1 servers. An async context manager; leaving it closes every connection.

    Args:
        limits: what a reply may be.
        pool_size: idle connections that are kept per address.
        pool_ttl: seconds after which a connection is not used again, counted from its beginning.
        dial_timeout: seconds for a connection to be made.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        pool_size: int = 100,
        pool_ttl: float = 60.0,
        dial_timeout: float = 5.0,
    ) -> None:
        self.limits = Limits() if limits is None else limits
        self.names = WireNames()
        self._tables = Tables()
        self._pool_size = pool_size
        self._pool_ttl = pool_ttl
        self._dial_timeout = dial_timeout
        self._pools: dict[str, _Pool] = {}
        self._pipes: set[Wire] = set()
        self._loop: Loop | None = None
        self._sweep: Timer | None = None
        self.connections: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        self._loop = current_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes every connection; calls that wait fail with GONE. Leaving twice does nothing."""
        loop, self._loop = self._loop, None
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in tuple(self.connections):
            connection.abort()
        for wire in tuple(self._pipes):
            wire.abort()
        self._pools.clear()
        if loop is not None:
            with anyio.CancelScope(shield=True):
                for _ in range(3):
                    await loop.checkpoint()

    async def call(self, address: str, request: Message, *, verify_name: str | None = None, deadline: float) -> Message:
        """One request and its reply, whatever its status; the reply's head holds `:status`.

        `:method` and `:path` are read from the head, POST and `/` where they are missing. `deadline` is in seconds of
        the loop's clock; it is kept to about 20 ms. A cancelled call closes its connection.

        Raises:
            TransportError: `processed=False` when nothing was written (the dial failed), else True; reason DEADLINE at
                the deadline, PROTOCOL for a reply that cannot be parsed, LIMIT for one over a limit, GONE when the peer
                closed.
            ValueError: a header that would not be one, or a malformed address. Nothing was written.
        """
        loop = self._loop or self._running()
        pool = self._pools.get(address) or self._pool(address)
        head, body = request.head, request.body
        start = pool.start
        if ":path" in head or ":method" in head:
            start = request_start(head.get(":method", "POST"), head.get(":path", "/"), pool.host)
        block = (start, header_block(self.names, head), counted(body), body)
        now = loop.clock()
        connection = (self._idle(pool, now) if deadline > now else None) or await self._dial_for_call(pool, deadline)
        waiter = connection.begin(block, deadline)
        if self._sweep is None:
            self.watch()
        try:
            reply: Message = await waiter
        except BaseException:
            connection.give_up(waiter)
            raise
        return reply

    async def pipe(self, address: str, *, deadline: float) -> Pipe:
        """A fresh connection that belongs to the caller, who closes or resets it.

        Raises:
            TransportError: `processed=False`: the dial failed, or the deadline (clock seconds) passed.
            ValueError: a malformed address.
        """
        loop = self._running()
        parser = Parser(self.limits, self._tables, replies=True)
        connection = await self._dial(
            address, deadline, lambda: _ClientPipe(self._pipes, loop, parser, self.limits.buffer)
        )
        assert connection.pipe is not None
        if self.closed:
            connection.pipe.reset(Reset.CANCELLED)
        return connection.pipe

    def _running(self) -> Loop:
        if self._loop is None:
            raise TransportError("the HTTP client is not open", Reset.REFUSED, processed=False)
        return self._loop

    def host_of(self, address: str) -> str:
        """What `Host` says for an address. Raises ValueError for a malformed one."""
        return (self._pools.get(address) or self._pool(address)).host

    def _pool(self, address: str) -> _Pool:
        host, port = parse_address(address)
        named = format_address(host, port) if host else f"localhost:{port}"
        if len(self._pools) >= _POOLS:
            self._pools = {key: kept for key, kept in self._pools.items() if kept.idle}
        pool = self._pools[address] = _Pool(address, named)
        return pool

    # Connections

    def _idle(self, pool: _Pool, now: float) -> _Connection | None:
        """The connection that was used last and is still good."""
        idle = pool.idle
        while idle:
            connection = idle.pop()
            if connection.usable(now, self._pool_ttl):
                return connection
            connection.abort()
        return None

    async def _dial_for_call(self, pool: _Pool, deadline: float) -> _Connection:
        loop = self._running()
        return await self._dial(pool.address, deadline, lambda: _Connection(self, loop, pool))

    async def _dial(self, address: str, deadline: float, factory: Callable[[], P]) -> P:
        loop = self._running()
        host, port = parse_address(address)
        left = deadline - loop.clock()
        allowed = min(left, self._dial_timeout)
        if allowed > 0:
            try:
                with anyio.move_on_after(allowed):
                    return await loop.connect(host or "localhost", port, factory)
            except (OSError, UnicodeError) as error:
                raise TransportError(
                    f"cannot connect to {address}: {_plainly(error)}", Reset.REFUSED, processed=False
                ) from error
        if left <= self._dial_timeout:
            raise TransportError(f"the deadline passed before {address} answered", Reset.DEADLINE, processed=False)
        raise TransportError(
            f"cannot connect to {address}: no answer within {self._dial_timeout:g} s", Reset.REFUSED, processed=False
        )

    def kept(self, connection: _Connection) -> bool:
        """Puts a clean connection back; False when there is no room."""
        idle = connection.pool.idle
        if self._loop is None or len(idle) >= self._pool_size:
            return False
        idle.append(connection)
        return True

    # Deadlines

    def watch(self) -> None:
        """Sees to it that deadlines are looked at."""
        if self._sweep is None and self._loop is not None:
            self._sweep = self._loop.call_later(_SWEEP, self._look)

    def _look(self) -> None:
        self._sweep = None
        if self._loop is None:
            return
        now = self._loop.clock()
        waiting = False
        for connection in tuple(self.connections):
            if connection.deadline <= now:
                connection.expire()
            elif connection.deadline is not _NEVER:
                waiting = True
        if waiting:
            self.watch()

    @property
    def connections_in_use(self) -> int:
        """Connections on which a call waits."""
        return sum(connection.deadline != _NEVER for connection in self.connections)

    @property
    def sweeping(self) -> bool:
        """Whether the timer runs."""
        return self._sweep is not None

    @property
    def tables(self) -> Tables:
        """What its parsers share."""
        return self._tables

    @property
    def closed(self) -> bool:
        """Whether it was left, or not entered yet."""
        return self._loop is None


class _Pool:
    """The idle connections of one address, the last used at the end."""

    __slots__ = ("address", "host", "idle", "start")

    def __init__(self, address: str, host: str) -> None:
        self.address = address
        self.host = host
        self.start = request_start("POST", "/", host)
        self.idle: list[_Connection] = []


class _Connection(asyncio.Protocol):
    """One connection; at most one call at a time."""

    __slots__ = ("_born", "_client", "_new_waiter", "_parser", "_poll", "_waiter", "_wire", "deadline", "pool")

    def __init__(self, client: HTTPClient, loop: Loop, pool: _Pool) -> None:
        self.pool = pool
        self.deadline = _NEVER
        self._client = client
        self._new_waiter = loop.waiter
        self._parser = Parser(client.limits, client.tables, replies=True)
        self._waiter: Waiter | None = None
        self._wire: Wire | None = None
        self._born = loop.clock()
        self._poll = select.poll()

    def usable(self, now: float, ttl: float) -> bool:
        """Whether a call may be made on it. The socket is asked, since the loop may not have looked at it yet."""
        wire = self._wire
        if wire is None or wire.is_closing() or now - self._born >= ttl:
            return False
        return not self._poll.poll(0)

    def begin(self, parts: tuple[bytes, bytes, bytes, bytes], deadline: float) -> Waiter:
        """Writes the request; the reply is the waiter's result."""
        wire = self._wire
        if wire is None or wire.is_closing():
            raise TransportError(f"{self.pool.address} closed the connection", Reset.GONE, processed=False)
        waiter = self._waiter = self._new_waiter()
        self.deadline = deadline
        if len(parts[3]) < _LARGE:
            wire.write(b"".join(parts))
        else:
            wire.write(b"".join(parts[:3]))
            wire.write(parts[3])
        return waiter

    def give_up(self, waiter: Waiter) -> None:
        """Nobody waits for that reply any more. A connection that has it already may serve another call by now."""
        if self._waiter is waiter:
            self.abort()

    def abort(self) -> None:
        """Closes it at once; a call that waits fails with GONE."""
        self._fail("the connection was closed", Reset.GONE)
        if self._wire is not None:
            self._wire.abort()

    def expire(self) -> None:
        """The deadline passed."""
        self._fail(f"no reply from {self.pool.address} before the deadline", Reset.DEADLINE)
        if self._wire is not None:
            self._wire.abort()

    def _fail(self, detail: str, reason: Reset) -> None:
        waiter, self._waiter = self._waiter, None
        self.deadline = _NEVER
        if waiter is not None and not waiter.done():
            waiter.set_exception(TransportError(detail, reason, processed=True))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._wire = cast("Wire", transport)
        self._poll.register(self._wire.get_extra_info("socket").fileno(), select.POLLIN)
        self._client.connections.add(self)
        if self._client.closed:
            self._wire.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._waiter is None:
            self.abort()
            return
        try:
            self._parser.feed(data)
            reply = self._parser.poll()
        except Malformed as error:
            reason = Reset.LIMIT if error.status in _OVER_A_LIMIT else Reset.PROTOCOL
            self._fail(f"the reply of {self.pool.address} cannot be read: {error}", reason)
            self.abort()
            return
        if reply is not None:
            self._finish(reply)

    def _finish(self, reply: Message) -> None:
        waiter, self._waiter = self._waiter, None
        self.deadline = _NEVER
        clean = self._parser.keep_alive and not self._parser.partial
        if waiter is None or waiter.done() or not clean or not self._client.kept(self):
            self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def eof_received(self) -> bool:
        """The peer sends nothing more."""
        if self._waiter is not None:
            try:
                reply = self._parser.finish()
            except Malformed:
                reply = None
            if reply is not None:
                self._finish(reply)
        when = "before its reply was complete" if self._parser.partial else "before it replied"
        self._fail(f"{self.pool.address} closed the connection {when}", Reset.GONE)
        self._forget()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        self._wire = None
        self._client.connections.discard(self)
        self._fail(f"the connection to {self.pool.address} was lost before it replied", Reset.GONE)
        self._forget()

    def _forget(self) -> None:
        if self in self.pool.idle:
            self.pool.idle.remove(self)


class _ClientPipe(PipeConnection):
    def __init__(self, pipes: set[Wire], loop: Loop, parser: Parser, buffer: int) -> None:
        super().__init__(loop, parser, buffer)
        self._pipes = pipes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        super().connection_made(transport)
        assert self.wire is not None
        self._pipes.add(self.wire)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        super().connection_lost(exc)
        if self.wire is not None:
            self._pipes.discard(self.wire)


def _plainly(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ECONNREFUSED:
        return "connection refused"
    return str(error) or type(error).__name__
