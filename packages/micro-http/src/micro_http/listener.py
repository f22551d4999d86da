"""A bound address."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, cast

import anyio
from micro_core import Accept, ConfigurationError, Head, Listener, Message

from micro_http.address import format_address, parse_address
from micro_http.http2.decoder import Names
from micro_http.http2.server import HTTP2Server
from micro_http.limits import Limits
from micro_http.loops import Acceptor, Loop, Timer, Waiter, current_loop
from micro_http.names import WireLines
from micro_http.server import Exchanges, ServerConnection
from micro_http.silence import notice_silence
from micro_http.tables import Tables
from micro_http.tls import HTTP2_NAME, TLS
from micro_http.tls_wire import TLSWire

_log = logging.getLogger("micro.http")
_TOLD = 100
"""Connections above the limit that are told why; those above them are closed."""

_ROOMY = 0.9
"""Part of the limit below which reaching it is worth a word again."""

_TICK = 0.1
_PATIENCE = 1.0
_LEAVE = 0.05
_FIRST = 0.5
"""Seconds that connections without a first request yet are given: whoever dials is about to send one."""

_TURNS = 20
"""Turns of the loop beside: one that is starved has not come to what arrived a while ago."""


class Unwelcome(asyncio.Protocol):
    """A connection that is closed before it costs a handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        cast("asyncio.Transport", transport).abort()


class HTTPListener(Listener):
    """Serves until it is closed. Also an async context manager that closes it."""

    def __init__(
        self,
        loop: Loop,
        address: str,
        accept: Accept,
        limits: Limits,
        draining: Callable[[Head], Message],
        exchanges: Exchanges | None,
        piped: Accept | None,
        tls: TLS | None,
    ) -> None:
        self.address = address
        self.loop = loop
        self.clock = loop.clock
        self.limits = limits
        self.lines = WireLines()
        self.tables = Tables()
        self.exchanges = exchanges
        self.draining: Callable[[Head], Message] | None = None
        self.http2_names = Names()
        self._accept = accept
        self._accept_piped = accept if piped is None else piped
        self._refusal = draining
        self.connections: set[ServerConnection | HTTP2Server] = set()
        self._watched: set[ServerConnection | HTTP2Server] = set()
        self._timer: Timer | None = None
        self._idle_timer: Timer | None = None
        self._acceptor: Acceptor | None = None
        self._bound: socket.socket | None = None
        self._tls = tls
        self._handshaking: set[TLSWire] = set()
        self._crowded = False
        self._changed: Waiter | None = None
        self._closing = False
        self._closed = False

    async def start_on(self, bound: socket.socket) -> None:
        """Begins to accept."""
        self._bound = bound
        self._acceptor = await self.loop.accept(bound, self._connection)

    def _connection(self) -> asyncio.Protocol:
        if self._tls is None:
            return ServerConnection(self, self._accept, self._accept_piped)
        if len(self._handshaking) + len(self.connections) > self.limits.connections + _TOLD:
            return Unwelcome()
        seconds = self.limits.head_seconds
        wire = TLSWire(self.loop, self._tls.server(), self._secured, seconds, over=self._shaken)
        self._handshaking.add(wire)
        return wire

    def _secured(self, wire: TLSWire) -> asyncio.Protocol:
        """The protocol that was agreed on; HTTP/1.1 where none was, as by every Go Micro."""
        if wire.alpn != HTTP2_NAME:
            plain = ServerConnection(self, self._accept, self._accept_piped)
            plain.connection_made(cast("asyncio.BaseTransport", wire))
            return plain
        connection = HTTP2Server(self, self._accept, wire)
        self.opened(connection)
        if self.draining is not None:
            connection.drain()
        return connection

    def _shaken(self, wire: TLSWire) -> None:
        self._handshaking.discard(wire)
        self.ended()

    # What connections tell

    def opened(self, connection: ServerConnection | HTTP2Server) -> None:
        """A new connection."""
        self.connections.add(connection)
        if self._closed or len(self.connections) > self.limits.connections + _TOLD:
            connection.wire.abort()
            return
        if len(self.connections) > self.limits.connections:
            self._turn_away(connection)
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.limits.idle_seconds / 2, self._look_at_idle)

    def _turn_away(self, connection: ServerConnection | HTTP2Server) -> None:
        if not self._crowded:
            self._crowded = True
            _log.warning(
                "%s has %d connections, no more are taken (option connections)", self.address, self.limits.connections
            )
        connection.turn_away()

    def becomes_http2(self, connection: ServerConnection, data: bytes) -> None:
        """Its first bytes say so."""
        self.connections.discard(connection)
        self._watched.discard(connection)
        successor = HTTP2Server(self, self._accept, connection.wire)
        self.connections.add(successor)
        connection.wire.set_protocol(successor)
        if connection.turned_away:
            successor.turn_away()
        elif self.draining is not None:
            successor.drain()
        successor.data_received(data)

    def closed(self, connection: ServerConnection | HTTP2Server) -> None:
        """A connection is gone and its call has ended."""
        self.connections.discard(connection)
        self._watched.discard(connection)
        if self._crowded and len(self.connections) < _ROOMY * self.limits.connections:
            self._crowded = False
        self.ended()

    def ended(self) -> None:
        """A call has ended."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def watch(self, connection: ServerConnection | HTTP2Server) -> None:
        """Calls its `expire` when it is due."""
        self._watched.add(connection)
        self._look_soon()

    def _look_soon(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = self.loop.call_later(_TICK, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.clock()
        for connection in tuple(self._watched):
            if connection.due <= now:
                connection.expire()
            if connection.due == float("inf"):
                self._watched.discard(connection)
        if self._watched:
            self._look_soon()

    def _look_at_idle(self) -> None:
        self._idle_timer = None
        for connection in tuple(self.connections):
            connection.close_if_quiet()
        if self.connections and not self._closed:
            self._idle_timer = self.loop.call_later(self.limits.idle_seconds / 2, self._look_at_idle)

    # The end

    async def drain(self, deadline: float) -> None:
        """Takes no new work; see `Listener.drain`.

        Replies say `Connection: close`, except to Go's client, whose next call would fail on it (WIRE §4). Requests
        that still arrive, on new connections too, are answered with what `draining` makes of their heads.
        """
        self.draining = self._refusal
        for connection in tuple(self.connections):
            connection.drain()
        while any(connection.busy for connection in self.connections) and self.clock() < deadline:
            self._changed = self.loop.waiter()
            with anyio.move_on_after(deadline - self.clock()):
                await self._changed

    async def aclose(self) -> None:
        """See `Listener.aclose`.

        A listener that drained takes leave first: requests that are on their way get their refusals, for a moment, also
        when this is cancelled. Handlers that do not end at once are left to themselves after a second.
        """
        if not self._closing:
            self._closing = True
            with anyio.CancelScope(shield=True):
                if self.draining is not None:
                    await self._take_leave()
            self._close()
        with anyio.CancelScope(shield=True), anyio.move_on_after(_PATIENCE):
            await self.loop.checkpoint()
            if self._acceptor is not None:
                await self._acceptor.settled()
            while self.connections or self._handshaking:
                self._changed = self.loop.waiter()
                await self._changed

    async def _take_leave(self) -> None:
        for connection in tuple(self.connections):
            if connection.busy:
                connection.close_now()
        for peer in self._stop_accepting():
            await self.loop.adopt(peer, self._connection)
        await self._wait_while(lambda: bool(self.connections or self._handshaking), _LEAVE)
        await self._wait_while(
            lambda: bool(self._handshaking) or any(connection.fresh for connection in self.connections), _FIRST - _LEAVE
        )
        for _ in range(_TURNS):
            await self.loop.checkpoint()

    async def _wait_while(self, waiting: Callable[[], bool], seconds: float) -> None:
        with anyio.move_on_after(seconds):
            while waiting():
                self._changed = self.loop.waiter()
                await self._changed

    def _stop_accepting(self) -> list[socket.socket]:
        """Closes the address; what had connected by then is returned, since the system would reset it."""
        waiting: list[socket.socket] = []
        bound = self._bound
        if bound is None or self._acceptor is None:
            return waiting
        with suppress(OSError):
            while True:
                waiting.append(bound.accept()[0])
        with suppress(OSError):
            bound.shutdown(socket.SHUT_RDWR)
        self._acceptor.close()
        return waiting

    def _close(self) -> None:
        self._closed = True
        if self._acceptor is not None:
            self._acceptor.close()
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        for connection in tuple(self.connections):
            connection.close_now()
        for wire in tuple(self._handshaking):
            wire.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def unavailable(head: Head) -> Message:
    """The plain refusal of a server that is leaving."""
    return Message({":status": "503"})


async def listen(
    address: str,
    accept: Accept,
    limits: Limits | None = None,
    *,
    draining: Callable[[Head], Message] = unavailable,
    exchanges: Exchanges | None = None,
    piped: Accept | None = None,
    tls: TLS | None = None,
) -> HTTPListener:
    """Binds `host:port` and serves until it is closed (port 0: any free one; empty host: every interface).

    `accept` is what `Transport.listen` says: it sees `:method` and `:path` beside the headers; a reply may hold
    `:status`, 200 where it is missing, and `connection: close`. `piped` accepts in its place what has `micro-stream`
    and came by HTTP/1.1. `draining` makes the answer to requests that arrive while the listener drains. `exchanges` is
    needed where `accept` takes streams. With `tls` nothing is served without.

    Raises:
        ConfigurationError: the address cannot be parsed or bound; the text says why and how to choose another. Or the
            certificate cannot be used.
    """
    loop = current_loop()
    if tls is not None:
        tls.open()
        tls.server()
    bound = await _bind(address)
    host, port = bound.getsockname()[:2]
    limits = Limits() if limits is None else limits
    listener = HTTPListener(loop, format_address(host, port), accept, limits, draining, exchanges, piped, tls)
    await listener.start_on(bound)
    return listener


async def _bind(address: str) -> socket.socket:
    try:
        host, port = parse_address(address)
        if not host:
            return _every_interface(port)
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return _prepared(socket.create_server(found[0][4][:2], family=found[0][0], backlog=1024))
    except ValueError as error:
        raise ConfigurationError(f"cannot listen: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {address}: {_cure(error)}") from error


def _every_interface(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return _prepared(
                socket.create_server(("", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
            )
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
    return _prepared(socket.create_server(("", port), backlog=1024))


def _prepared(bound: socket.socket) -> socket.socket:
    bound.setblocking(False)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; asyncio does not set it
    notice_silence(bound)
    return bound


def _cure(error: OSError) -> str:
    cures = {
        errno.EADDRINUSE: "the port is in use; choose another, or port 0 for any free one",
        errno.EACCES: "the port is reserved for the superuser; choose one above 1023",
        errno.EADDRNOTAVAIL: "this machine has no such address; choose one of its own, or an empty host for all",
    }
    if isinstance(error, socket.gaierror):
        return f"the host has no address ({error.strerror}); choose an address of this machine"
    reason = os.strerror(error.errno) if error.errno else str(error)
    return cures.get(error.errno or 0, f"{reason}; choose another address")
