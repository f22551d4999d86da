"""HTTP/1.1 connections of a client, and the pools that they wait in.

Those to a peer that does not speak our HTTP/2, and so may be Go Micro, rest after a reply: from v4.10 on its server
takes a request that follows one at once for part of the call before, and never answers. Go's own clients lose it, too.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, cast

from micro_core import Message, Reset, TransportError

from micro_http.http2.client import HTTP2Client
from micro_http.loops import Loop, Waiter, Wire
from micro_http.parse import Parser
from micro_http.pipe import PipeConnection
from micro_http.tables import Malformed
from micro_http.tls_faults import refused_by_peer
from micro_http.write import ASKS, counted, request_start

if TYPE_CHECKING:
    from micro_http.client import HTTPClient
    from micro_http.dialing import Dialing

NEVER = float("inf")
REST = 0.005
"""Seconds that such a connection rests, in which that server comes round."""

RESTING = 50
"""Connections that rest before the first of them is used again sooner than that."""

_LARGE = 64 * 1024
_OVER_A_LIMIT = (413, 431)


class Pool:
    """The connections of one address and, with TLS, one name.

    Attributes:
        http2: whether the peer speaks it; None while that is not known.
        name: what its certificate must hold; None without TLS.
        idle: those of HTTP/1.1 that wait, the last used at the end.
        open: how many of HTTP/1.1 there are.
        begun: how many of HTTP/1.1 are dialled, for a call each.
        crowded: how many of the next calls go over HTTP/2, since there were too many at a time for HTTP/1.1.
        shared: those of HTTP/2.
        dialing: the dial that is under way, where others wait for it.
        departed: whether the node has left, so that nothing is kept.
        asks: whether the peer is asked if it speaks HTTP/2.
    """

    __slots__ = (
        "_unasked",
        "address",
        "asking",
        "asks",
        "begun",
        "crowded",
        "departed",
        "dialing",
        "host",
        "http2",
        "idle",
        "name",
        "open",
        "shared",
        "start",
    )

    def __init__(self, address: str, host: str, http2: bool | None, name: str | None = None) -> None:
        self.address = address
        self.name = name
        self.host = host
        self.http2 = self._unasked = http2
        self.departed = False
        self.asks = http2 is None
        self.start = request_start("POST", "/", host)
        self.asking = self.start + ASKS
        self.idle: list[Connection] = []
        self.open = 0
        self.begun = 0
        self.crowded = 0
        self.shared: list[HTTP2Client] = []
        self.dialing: Dialing | None = None

    @property
    def used(self) -> bool:
        """Whether there are connections, or one is made."""
        return bool(self.open or self.begun or self.shared or self.dialing)

    def under_way(self) -> int:
        """How many calls, and streams of HTTP/2, are under way."""
        shared = len(self.shared[-1].link.streams) if self.shared else 0
        return self.open - len(self.idle) + self.begun + shared

    def lost(self) -> None:
        """A connection is no more; behind the last of them, who knows what will listen there."""
        if not self.open and not self.shared:
            self.http2 = self._unasked

    def depart(self) -> None:
        """Closes what waits for calls, and lets nothing wait any more."""
        self.departed = True
        for connection in tuple(self.idle):
            connection.abort()
        self.idle.clear()
        for shared in tuple(self.shared):
            shared.retire()


class Connection(asyncio.Protocol):
    """One connection; at most one call at a time."""

    __slots__ = ("_born", "_client", "_new_waiter", "_parser", "_poll", "_waiter", "_wire", "deadline", "pool", "rests")

    def __init__(self, client: HTTPClient, loop: Loop, pool: Pool) -> None:
        self.pool = pool
        self.deadline = NEVER
        self.rests = 0.0
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

    def begin(self, start: bytes, block: bytes, body: bytes, deadline: float) -> Waiter:
        """Writes the request: its beginning, its header and its body. The reply is the waiter's result."""
        wire = self._wire
        if wire is None or wire.is_closing():
            raise TransportError(f"{self.pool.address} closed the connection", Reset.GONE, processed=False)
        new_waiter = self._new_waiter
        waiter = self._waiter = new_waiter()
        self.deadline = deadline
        if len(body) < _LARGE:
            wire.write(b"".join((start, block, counted(len(body)), body)))
        else:
            wire.write(b"".join((start, block, counted(len(body)))))
            wire.write(body)
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

    def _fail(self, detail: str, reason: Reset, *, processed: bool = True) -> None:
        waiter, self._waiter = self._waiter, None
        self.deadline = NEVER
        if waiter is not None and not waiter.done():
            waiter.set_exception(TransportError(detail, reason, processed=processed))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._wire = cast("Wire", transport)
        self._wire.set_write_buffer_limits(high=0)
        self._poll.register(self._wire.get_extra_info("socket").fileno(), select.POLLIN)
        self._client.connections.add(self)
        self.pool.open += 1
        if self._client.closed:
            self._wire.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._waiter is None:
            self.abort()
            return
        try:
            reply = self._parser.take(data)
        except Malformed as error:
            reason = Reset.LIMIT if error.status in _OVER_A_LIMIT else Reset.PROTOCOL
            self._fail(f"the reply of {self.pool.address} cannot be read: {error}", reason)
            self.abort()
            return
        if reply is not None:
            self._finish(reply)

    def _finish(self, reply: Message) -> None:
        waiter, self._waiter = self._waiter, None
        self.deadline = NEVER
        parser = self._parser
        clean = parser.keep_alive and (parser.alone or not parser.partial)
        if waiter is None or waiter.done():
            self.abort()
            return
        if not clean or not self._client.kept(self):
            self.abort()
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
        self.pool.open -= 1
        self.pool.lost()
        refused = refused_by_peer(exc)
        if refused is not None:
            self._fail(f"cannot connect to {self.pool.address}: {refused}", Reset.REFUSED, processed=False)
        self._fail(f"the connection to {self.pool.address} was lost before it replied", Reset.GONE)
        self._forget()

    def _forget(self) -> None:
        if self in self.pool.idle:
            self.pool.idle.remove(self)


class ClientPipe(PipeConnection):
    """A connection that is a pipe, and is closed with its client."""

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
