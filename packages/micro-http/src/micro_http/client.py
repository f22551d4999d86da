"""The client: calls over pooled connections, one call per connection at a time.

A connection goes back to its pool after a reply that left it clean, and nowhere else: a timeout, a cancellation, an
error, bytes behind the reply or `Connection: close` end it, so no late reply can answer another call.

Deadlines are swept: while calls are in flight, one timer of the client looks at all of them every 20 ms. A call itself
starts no timer and opens no cancel scope, and an idle client has no timer at all.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import anyio
from micro_core import Exchange, Head, Message, Reset, TransportError

from micro_http.address import format_address, parse_address
from micro_http.connection import NEVER, REST, RESTING, ClientPipe, Connection, Pool
from micro_http.dialing import Dialing, Make, Secure
from micro_http.http2.client import CallStream, HTTP2Client
from micro_http.http2.decoder import Names
from micro_http.limits import Limits
from micro_http.loops import Loop, Timer, Wire, current_loop
from micro_http.names import WireLines
from micro_http.parse import Parser
from micro_http.pipe import Pipe
from micro_http.tables import Tables
from micro_http.tls import TLS
from micro_http.write import call_block, request_start

_SWEEP = 0.02
_POOLS = 1024
_ONCE_MORE = (False, False, True)
"""Tries of a call whose connections are left by the peer at that very moment; whether it is the last."""

_CROWDED, _LOOK = 256, 16
"""Calls for which an address counts as crowded, and those after which it is looked at again: replies come in batches,
behind which few calls are under way."""

_TELLS = "micro-http2"
P = TypeVar("P", bound=asyncio.Protocol)


class HTTP2(Enum):
    """When a client speaks HTTP/2."""

    AUTO = "auto"
    """To servers that said they do: for streams, and for more calls at a time than are quicker alone."""
    ALWAYS = "always"
    """Without TLS unasked; with TLS as `AUTO`."""
    NEVER = "never"


class HTTPClient:
    """Calls HTTP servers. An async context manager; leaving it closes every connection.

    Args:
        limits: what a reply may be.
        pool_size: idle connections that are kept per address.
        pool_ttl: seconds after which a connection is not used again, counted from its beginning.
        dial_timeout: seconds for a connection to be made.
        http2: when HTTP/2 is spoken.
        tls: what every connection is made with, then; none is ever made without.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        pool_size: int = 100,
        pool_ttl: float = 60.0,
        dial_timeout: float = 5.0,
        http2: HTTP2 = HTTP2.AUTO,
        tls: TLS | None = None,
    ) -> None:
        self.limits = Limits() if limits is None else limits
        self.lines = WireLines()
        self._tables = Tables()
        self._pool_size = pool_size
        self._pool_ttl = pool_ttl
        self._dial_timeout = dial_timeout
        self._tls = tls
        self._secure: Secure | None = None
        self.http2 = {HTTP2.AUTO: None, HTTP2.ALWAYS: None if tls else True, HTTP2.NEVER: False}[http2]
        self._shares = tls is not None or http2 is HTTP2.ALWAYS
        self._alone = 0
        self._http2_names = Names()
        self.multiplexed: set[HTTP2Client] = set()
        self._pools: dict[str | tuple[str, str | None], Pool] = {}
        self._pipes: set[Wire] = set()
        self._loop: Loop | None = None
        self._sweep: Timer | None = None
        self.connections: set[Connection] = set()

    async def __aenter__(self) -> Self:
        if self._tls is not None:
            self._tls.open()
        self._loop = current_loop()
        self._alone = 0 if self._shares else self._loop.alone
        if self._tls is not None:
            self._secure = Secure(self._loop, self._tls, self._dial_timeout)
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
        for shared in tuple(self.multiplexed):
            shared.abort()
        for wire in tuple(self._pipes):
            wire.abort()
        self._pools.clear()
        if loop is not None:
            with anyio.CancelScope(shield=True):
                for _ in range(3):
                    await loop.checkpoint()

    def call(
        self, address: str, request: Message, *, verify_name: str | None = None, deadline: float
    ) -> Coroutine[Any, Any, Message]:
        """One request and its reply, whatever its status; the reply's head holds `:status`.

        `:method` and `:path` are read from the head, POST and `/` where they are missing. `deadline` is in seconds of
        the loop's clock; it is kept to about 20 ms. A cancelled call closes its connection, or, in HTTP/2, resets its
        stream. `verify_name` is the service that is called, see `TLS`.

        Raises:
            TransportError: `processed=False` when the peer cannot have acted on it (the dial failed, or it refused the
                call), else True; reason DEADLINE at the deadline, PROTOCOL for a reply that cannot be parsed, LIMIT for
                one over a limit, GONE when the peer closed.
            ValueError: a header that would not be one, or a malformed address. Nothing was written.
        """
        if self._loop is None:
            self._running()
        key = address if self._secure is None else (address, verify_name)
        pool = self._pools.get(key) or self._pool(address, verify_name)
        if pool.http2:
            if not pool.crowded % _LOOK and pool.under_way() >= self._alone:
                pool.crowded = _CROWDED
            if pool.crowded:
                pool.crowded -= 1
                return self._call_http2(pool, request.head, request.body, deadline)
        return self._call_http1(pool, request.head, request.body, deadline)

    async def _call_http1(self, pool: Pool, head: Head, body: bytes, deadline: float) -> Message:
        """Over HTTP/1.1, unless the peer turns out to speak HTTP/2, and there is no connection at hand."""
        clock = self._running().clock
        now = clock()
        connection = self._idle(pool, now) if pool.idle and deadline > now else None
        if connection is None and pool.http2 is None and pool.name is not None:
            connection = await self._first(pool, deadline)
        if connection is None and pool.http2 and pool.open + pool.begun >= self._alone:
            return await self._call_http2(pool, head, body, deadline)
        asked = pool.http2 is None
        start = pool.asking if asked else pool.start
        if ":path" in head or ":method" in head:
            start = request_start(head.get(":method", "POST"), head.get(":path", "/"), pool.host)
        block = call_block(self.lines, head)
        if connection is None:
            connection = await self._dial_for_call(pool, deadline)
        waiter = connection.begin(start, block, body, deadline)
        if self._sweep is None:
            self.watch()
        try:
            reply: Message = await waiter
        except BaseException:
            connection.give_up(waiter)
            raise
        if asked:
            self._learn(pool, reply.head)
        return reply

    def asks(self, address: str) -> bool:
        """Whether nobody knows yet if the server there speaks HTTP/2. Raises ValueError for a malformed address."""
        return self._secure is None and self._pool_of(address, None).http2 is None

    def learn(self, address: str, head: Head) -> None:
        """Takes the answer out of the head of a reply."""
        if self._secure is None:
            self._learn(self._pool_of(address, None), head)

    def _learn(self, pool: Pool, head: Head) -> None:
        answer = head.pop(_TELLS, "")
        if pool.http2 is None:
            pool.http2 = answer == "1"

    async def _call_http2(
        self, pool: Pool, head: Head, body: bytes, deadline: float, *, alone: bool = False
    ) -> Message:
        """Over HTTP/2, unless the peer turns out to speak HTTP/1.1, where HTTP/2 `alone` is no must.

        A call that the peer did not take because it leaves the connection is made on the next one.
        """
        clock = self._running().clock
        for last in _ONCE_MORE:
            connection = self._shared(pool, clock()) or await self._dial_http2(pool, deadline)
            stream = None
            try:
                stream = connection.call(head, body, deadline)
                if pool.departed:
                    connection.retire()
                if self._sweep is None:
                    self.watch()
                reply: Message = await stream.waiter
            except TransportError as error:
                if error.processed or last or connection.link.takes_more():
                    raise
                if not pool.http2:
                    break
            except BaseException:
                _give_up(stream)
                raise
            else:
                return reply
        if alone:
            raise _no_http2(pool.address)
        return await self._call_http1(pool, head, body, deadline)

    async def exchange(
        self, address: str, head: Head, *, verify_name: str | None = None, deadline: float
    ) -> Exchange | None:
        """A stream over HTTP/2, or None where the peer speaks HTTP/1.1, or, without TLS, has not said yet.

        `deadline` is in seconds of the loop's clock, and bounds the dial alone.

        Raises:
            TransportError: `processed=False`: there is no connection.
            ValueError: a head that cannot be written, or a malformed address.
        """
        pool = self._pool_of(address, verify_name)
        return await self._exchange(pool, head, deadline)

    async def call_http2(
        self, address: str, request: Message, *, verify_name: str | None = None, deadline: float
    ) -> Message:
        """As `call`, over HTTP/2 alone: without TLS by prior knowledge."""
        pool = self._prior(address, verify_name)
        await self._ask(pool, deadline)
        if not pool.http2:
            raise _no_http2(address)
        return await self._call_http2(pool, request.head, request.body, deadline, alone=True)

    async def exchange_http2(
        self, address: str, head: Head, *, verify_name: str | None = None, deadline: float
    ) -> Exchange:
        """As `exchange`, over HTTP/2 alone: without TLS by prior knowledge."""
        exchange = await self._exchange(self._prior(address, verify_name), head, deadline)
        if exchange is None:
            raise _no_http2(address)
        return exchange

    def _prior(self, address: str, verify_name: str | None) -> Pool:
        """The pool of what is known to speak HTTP/2; with TLS that of any call, since the peer is asked."""
        if self._secure is not None:
            return self._pool_of(address, verify_name)
        if self.http2 is False:
            raise _no_http2(address)
        key = address, None
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = self._made(address, None)
        pool.http2 = True
        return pool

    async def _ask(self, pool: Pool, deadline: float) -> None:
        """Finds out what a peer speaks by TLS, if nobody knows."""
        if pool.http2 is None and pool.name is not None:
            connection = await self._first(pool, deadline)
            if connection is not None and not self.kept(connection):
                connection.abort()

    async def _exchange(self, pool: Pool, head: Head, deadline: float) -> Exchange | None:
        await self._ask(pool, deadline)
        if not pool.http2:
            return None
        shared = self._shared(pool, self._running().clock()) or await self._dial_http2(pool, deadline)
        exchange = shared.open(head)
        if pool.departed:
            shared.retire()
        return exchange

    def _shared(self, pool: Pool, now: float) -> HTTP2Client | None:
        """A connection that takes one more call."""
        for connection in reversed(pool.shared):
            if now - connection.born >= self._pool_ttl:
                connection.retire()
            elif connection.usable():
                return connection
        return None

    async def _dial_http2(self, pool: Pool, deadline: float) -> HTTP2Client:
        """A new connection; those who want one meanwhile wait for it, too."""
        loop = self._running()
        while pool.dialing is not None:
            await pool.dialing.wait(deadline - loop.clock())
            connection = self._shared(pool, loop.clock())
            if connection is not None:
                return connection
        made = await self._dial_first(pool, deadline)
        if isinstance(made, HTTP2Client):
            return made
        made.abort()
        text = f"{pool.address} speaks HTTP/1.1 now, and spoke HTTP/2 before"
        raise TransportError(text, Reset.REFUSED, processed=False)

    async def _first(self, pool: Pool, deadline: float) -> Connection | None:
        """Finds out what a peer speaks by TLS; a connection, where that is HTTP/1.1 and this was the first."""
        loop = self._running()
        while pool.http2 is None:
            if pool.dialing is None:
                made = await self._dial_first(pool, deadline)
                return made if isinstance(made, Connection) else None
            await pool.dialing.wait(deadline - loop.clock())
        return None

    async def _dial_first(self, pool: Pool, deadline: float) -> HTTP2Client | Connection:
        """Dials while others wait."""
        pool.dialing = dialing = Dialing()
        try:
            made = await self._dial_either(pool, deadline)
        except TransportError as error:
            if error.reason is Reset.REFUSED:
                dialing.error = error
            raise
        finally:
            pool.dialing = None
            dialing.over.set()
        return made

    async def _dial_either(self, pool: Pool, deadline: float) -> HTTP2Client | Connection:
        made = await self._dial(pool, deadline, lambda http2: self._either(pool, http2), http2=True)
        pool.http2 = isinstance(made, HTTP2Client)
        if self.closed:
            made.abort()
        if isinstance(made, HTTP2Client) and made in self.multiplexed:
            pool.shared.append(made)
        return made

    def _either(self, pool: Pool, http2: bool) -> HTTP2Client | Connection:
        return self._multiplexed(pool) if http2 else Connection(self, self._running(), pool)

    def _multiplexed(self, pool: Pool) -> HTTP2Client:
        def lost(connection: HTTP2Client) -> None:
            self.multiplexed.discard(connection)
            if connection in pool.shared:
                pool.shared.remove(connection)
            if not connection.link.settled:
                pool.http2 = self.http2
            pool.lost()

        return HTTP2Client(
            self._running(),
            self.limits,
            self._http2_names,
            pool.host,
            pool.name is not None,
            self.multiplexed.add,
            lost,
        )

    async def pipe(self, address: str, *, verify_name: str | None = None, deadline: float) -> Pipe:
        """A fresh connection that belongs to the caller, who closes or resets it.

        Raises:
            TransportError: `processed=False`: the dial failed, or the deadline (clock seconds) passed.
            ValueError: a malformed address.
        """
        loop = self._running()
        parser = Parser(self.limits, self._tables, replies=True)
        pool = self._pool_of(address, verify_name)
        connection = await self._dial(
            pool, deadline, lambda _: ClientPipe(self._pipes, loop, parser, self.limits.buffer), http2=False
        )
        assert connection.pipe is not None
        if self.closed:
            connection.pipe.reset(Reset.CANCELLED)
        return connection.pipe

    def _running(self) -> Loop:
        if self._loop is None:
            raise TransportError("the HTTP client is not open", Reset.REFUSED, processed=False)
        return self._loop

    def forget(self, address: str) -> None:
        """Closes what waits for calls to that address, and what is busy once it has ended. Never raises."""
        for key, pool in tuple(self._pools.items()):
            if pool.address == address:
                del self._pools[key]
                pool.depart()

    def host_of(self, address: str) -> str:
        """What `Host` says for an address. Raises ValueError for a malformed one."""
        host, port = parse_address(address)
        return format_address(host, port) if host else f"localhost:{port}"

    def _pool_of(self, address: str, verify_name: str | None) -> Pool:
        key = address if self._secure is None else (address, verify_name)
        return self._pools.get(key) or self._pool(address, verify_name)

    def _pool(self, address: str, verify_name: str | None) -> Pool:
        key = address if self._tls is None else (address, verify_name)
        pool = self._pools[key] = self._made(address, verify_name)
        return pool

    def _made(self, address: str, verify_name: str | None) -> Pool:
        named = self.host_of(address)
        name = None if self._tls is None else self._tls.name_for(parse_address(named)[0], verify_name)
        if len(self._pools) >= _POOLS:
            self._pools = {known: kept for known, kept in self._pools.items() if kept.used}
        return Pool(address, named, self.http2, name)

    # Connections

    def _idle(self, pool: Pool, now: float) -> Connection | None:
        """The connection that was used last and is still good."""
        idle = pool.idle
        if not pool.http2 and pool.asks:
            return self._rested(idle, now)
        while idle:
            connection = idle.pop()
            if connection.usable(now, self._pool_ttl):
                return connection
            connection.abort()
        return None

    def _rested(self, idle: list[Connection], now: float) -> Connection | None:
        """The one that was used last among those that have rested; where many rest, the one that rests the longest."""
        for at in range(len(idle) - 1, -1, -1):
            if idle[at].rests <= now or (not at and len(idle) >= RESTING):
                connection = idle.pop(at)
                if connection.usable(now, self._pool_ttl):
                    return connection
                connection.abort()
        return None

    async def _dial_for_call(self, pool: Pool, deadline: float) -> Connection:
        loop = self._running()
        pool.begun += 1
        try:
            return await self._dial(pool, deadline, lambda _: Connection(self, loop, pool), http2=False)
        finally:
            pool.begun -= 1

    async def _dial(self, pool: Pool, deadline: float, make: Callable[[bool], P], *, http2: bool) -> P:
        """A new connection. `make` is told whether it is one of HTTP/2, which `http2` allows, or without TLS wants."""
        loop, address = self._running(), pool.address
        left = deadline - loop.clock()
        allowed = min(left, self._dial_timeout)
        if allowed > 0:
            try:
                with anyio.move_on_after(allowed):
                    return await self._connect(pool, make, http2)
            except (OSError, UnicodeError) as error:
                raise TransportError(
                    f"cannot connect to {address}: {_plainly(error)}", Reset.REFUSED, processed=False
                ) from error
        if left <= self._dial_timeout:
            raise TransportError(f"the deadline passed before {address} answered", Reset.DEADLINE, processed=False)
        raise TransportError(
            f"cannot connect to {address}: no answer within {self._dial_timeout:g} s", Reset.REFUSED, processed=False
        )

    def _connect(self, pool: Pool, make: Callable[[bool], P], http2: bool) -> Awaitable[P]:
        host, port = parse_address(pool.host)
        if self._secure is None or pool.name is None:
            return self._running().connect(host, port, lambda: make(http2))
        return cast("Awaitable[P]", self._secure.connect(host, port, pool.name, cast("Make", make), http2=http2))

    def kept(self, connection: Connection) -> bool:
        """Puts a clean connection back; False when there is no room."""
        pool, loop = connection.pool, self._loop
        idle = pool.idle
        if loop is None or pool.departed or len(idle) >= (self._alone if pool.http2 else self._pool_size):
            return False
        if not pool.http2:
            connection.rests = loop.clock() + REST
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
            elif connection.deadline != NEVER:
                waiting = True
        for shared in tuple(self.multiplexed):
            if shared.sweep(now):
                waiting = True
        if waiting:
            self.watch()

    @property
    def connections_in_use(self) -> int:
        """Connections on which a call waits."""
        return sum(connection.deadline != NEVER for connection in self.connections)

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


def _give_up(stream: CallStream | None) -> None:
    if stream is not None:
        stream.give_up(Reset.CANCELLED)


def _no_http2(address: str) -> TransportError:
    return TransportError(f"{address} is called by HTTP/1.1, and this needs HTTP/2", Reset.REFUSED, processed=False)


def _plainly(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ECONNREFUSED:
        return "connection refused"
    return str(error) or type(error).__name__
