"""The client's end of HTTP/2: many calls and streams on one connection.

A call is a stream whose deadline the client sweeps. One that is given up is reset, and the connection serves on.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import cast

from micro_core import Head, Message, Peer, Reset, TransportError

from micro_http.http2 import faults as code
from micro_http.http2 import grpc
from micro_http.http2.channel import CODES, GRPC, REASONS, Channel, framed
from micro_http.http2.decoder import Names
from micro_http.http2.driver import Driver, wire_of
from micro_http.http2.ends import ClientLink
from micro_http.http2.exchange import CalledExchange
from micro_http.http2.frames import PREFIX
from micro_http.http2.sending import Stream
from micro_http.http2.streams import Bounds
from micro_http.limits import Limits
from micro_http.loops import Loop, Waiter
from micro_http.write import check_request

_NEVER = float("inf")
_PREFIX, _unpack = PREFIX.size, PREFIX.unpack_from
_ANSWER = 1.0
"""Seconds that a peer has to answer a PING before its connection is given no more calls."""

_CLOSED = getattr(select, "POLLRDHUP", select.POLLIN)
_METHOD, _HTTP, _HTTPS, _ROOT = (":method", "POST"), (":scheme", "http"), (":scheme", "https"), (":path", "/")


class HTTP2Client(Driver[ClientLink]):
    """One connection.

    Args:
        host: what `:authority` says.
        secure: whether it runs over TLS.
        made: told once the connection is there.
        lost: told once it takes no more calls.
    """

    def __init__(
        self,
        loop: Loop,
        limits: Limits,
        names: Names,
        host: str,
        secure: bool,
        made: Callable[[HTTP2Client], None],
        lost: Callable[[HTTP2Client], None],
    ) -> None:
        super().__init__(loop)
        self.limits = limits
        self.address = host
        self.born = loop.clock()
        self._made = made
        self._lost = lost
        self._settling: Waiter | None = None
        self._asked = -_NEVER
        self._poll = select.poll()
        self.new_waiter = loop.waiter
        bounds = Bounds(head=limits.head, lines=limits.lines, window=limits.buffer)
        self.link = ClientLink(bounds, loop.clock, names, self.ready)
        self.host = (":authority", host)
        self.scheme = _HTTPS if secure else _HTTP

    def usable(self) -> bool:
        """Whether one more call may be made on it. One without calls is asked whether the peer has closed it."""
        link = self.link
        if not link.takes_more() or self.wire.is_closing():
            return False
        return bool(link.streams) or not self._poll.poll(0)

    @property
    def calls(self) -> int:
        """How many are on it."""
        return len(self.link.streams)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._made(self)
        self.begin(wire_of(transport), self.limits.buffer)
        self._poll.register(self.wire.get_extra_info("socket").fileno(), _CLOSED)

    async def settled(self) -> None:
        """Returns when the peer has shown that it speaks HTTP/2 with us. Raises OSError; cancelled, it closes."""
        if self.link.settled:
            return
        self._settling = self.loop.waiter()
        self.link.told = self._settle
        try:
            await self._settling
        except BaseException:
            self.abort()
            raise

    def _settle(self, error: Exception | None = None) -> None:
        waiter, self._settling, self.link.told = self._settling, None, None
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    def block(self, head: Head) -> bytes:
        """The first block of a stream. Raises ValueError."""
        encoder, method, path = self.link.encoder, _METHOD, _ROOT
        if ":path" in head or ":method" in head:
            method, path = (":method", head.get(":method", "POST")), (":path", head.get(":path", "/"))
            check_request(method[1], path[1])
        block = encoder.encode(head, method, self.scheme, path, self.host)
        encoder.keep_call(head, method, self.scheme, path, self.host)
        return block

    def call(self, head: Head, body: bytes, deadline: float) -> CallStream:
        """Writes a request; the reply is the result of the stream's `waiter`. Raises ValueError or TransportError."""
        link = self.link
        if link.failed:
            raise self._closed()
        stream = CallStream(self, deadline)
        self.holding = alone = not link.streams
        if not link.send_call(stream, head, body):
            self._send(stream, head, body, alone)
        if alone or len(link.out) >= self.enough:
            self.holding = False
            self.flush()
        return stream

    def _send(self, stream: CallStream, head: Head, body: bytes, alone: bool) -> None:
        self.holding = False
        block = self.block(head)
        self.holding = alone
        stream.framed = framed(head)
        self.link.open(stream)
        self.link.send_whole(stream, block, body, stream.framed)

    def open(self, head: Head) -> CalledExchange:
        """Opens a stream. Raises ValueError or TransportError."""
        if self.link.failed:
            raise self._closed()
        block = self.block(head)
        stream = OpenStream(self, head)
        self.link.open(stream)
        self.link.send_head(stream, block)
        self.flush()
        return stream.exchange

    def _closed(self) -> TransportError:
        return TransportError(f"{self.address} closed the connection", Reset.GONE, processed=False)

    def sweep(self, now: float) -> bool:
        """Ends the calls whose deadline has passed; says whether it must look again.

        A peer that let one pass is asked whether it is there. While it is silent, new calls go elsewhere.
        """
        waiting = late = False
        for stream in tuple(cast("dict[int, ClientStream]", self.link.streams).values()):
            if stream.deadline <= now:
                stream.give_up(Reset.DEADLINE)
                late = True
            waiting = waiting or stream.deadline < _NEVER
        if self.silent:
            if now - self._asked > _ANSWER:
                self.retire()
        elif late and now - self._asked > _ANSWER:
            self._ask(now)
        return waiting or self.silent

    def _ask(self, now: float) -> None:
        if not self.link.failed and self.link.ping():
            self._asked = now
            self.silent = True

    def retire(self) -> None:
        """Takes no more calls, and closes once those that are on it have ended."""
        self.silent = False
        self.link.retire()

    def abort(self) -> None:
        """Closes it at once; whoever waits is told that it is gone."""
        if not self.link.failed:
            self.link.fail(code.NO_ERROR, "the connection was closed")
            self.flush()
        self.wire.abort()

    def leave(self) -> None:
        """See `Driver`."""
        self._lost(self)
        self.wire.close()

    def eof_received(self) -> bool:
        """The peer sends nothing more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        why = f": {exc}" if exc is not None and str(exc) else ""
        self._settle(exc or ConnectionResetError("closed during the handshake"))
        self.link.lost(f"{self.address} closed the connection{why}")
        self._lost(self)


class ClientStream(Stream):
    """What calls and streams have in common."""

    def __init__(self, connection: HTTP2Client, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline

    def give_up(self, reason: Reset) -> None:
        """This side wants no more of it."""
        link = self.connection.link
        if self.number in link.streams:
            link.reset(self.number, CODES[reason])


class CallStream(ClientStream):
    """One call."""

    _head: Head
    _parts: bytearray | None = None  # frames may hold a byte each: no list of them

    def __init__(self, connection: HTTP2Client, deadline: float) -> None:
        new_waiter = connection.new_waiter
        self.connection = connection
        self.deadline = deadline
        self.waiter: Waiter = new_waiter()
        self.framed = 1
        self.most = connection.limits.body
        self.collects = self.receiving = True  # of this one: looked up much faster than what is its class's
        self.headed = False

    def on_head(self, head: Head, end: bool) -> None:
        """See `Stream`."""
        self._head = head
        if end:
            self._finish(b"")

    def on_data(self, data: bytes, end: bool) -> None:
        """See `Stream`."""
        if end and self._parts is None:
            self._finish(data)
            return
        if self._parts is None:
            self._parts = bytearray()
        self._parts += data
        if len(self._parts) > self.connection.limits.body + PREFIX.size:
            self._fail(Reset.LIMIT, _over(self.connection))
            self.give_up(Reset.LIMIT)
        elif end:
            self._finish(bytes(self._parts))

    def on_whole(self, head: Head, body: bytes) -> None:
        """See `Stream`."""
        size = len(body) - _PREFIX
        if self.framed == 1 and 0 <= size <= self.most and head[":status"] == "200":
            waiter = self.waiter
            if _unpack(body) == (0, size) and not waiter.done():
                waiter.set_result(Message(head, body[_PREFIX:]))
                return
        self._head = head
        self._finish(body)

    def on_trailer(self, head: Head) -> None:
        """See `Stream`."""
        self._head.update(head)
        self._finish(bytes(self._parts or b""))

    def _finish(self, data: bytes) -> None:
        waiter = self.waiter
        if waiter.done():
            return
        head = self._head
        if data and self.framed and head[":status"] == "200":
            if len(data) < PREFIX.size or PREFIX.unpack_from(data) != (0, len(data) - PREFIX.size):
                self._finish_packed(data)
                return
            data = data[PREFIX.size :]
        if len(data) > self.connection.limits.body:
            self._fail(Reset.LIMIT, _over(self.connection))
        else:
            waiter.set_result(Message(head, data))

    def _finish_packed(self, data: bytes) -> None:
        """It is one message that is compressed, or else it is not one message."""
        if self.framed != GRPC or len(data) < PREFIX.size or PREFIX.unpack_from(data) != (1, len(data) - PREFIX.size):
            self._fail(Reset.PROTOCOL, "its body is not one message")
            return
        encoding, limit = self._head.get("grpc-encoding", ""), self.connection.limits.body
        try:
            self.waiter.set_result(Message(self._head, grpc.inflated(data[PREFIX.size :], encoding, limit)))
        except grpc.Unreadable as error:
            self._fail(Reset.LIMIT if error.status == grpc.EXHAUSTED else Reset.PROTOCOL, error.text)

    def on_reset(self, fault: int, text: str, processed: bool) -> None:
        """See `Stream`."""
        reason = REASONS.get(fault, Reset.PROTOCOL)
        self._fail(reason if processed else Reset.REFUSED, text, processed)

    def _fail(self, reason: Reset, text: str, processed: bool = True) -> None:
        if not self.waiter.done():
            text = f"the reply of {self.connection.address} cannot be read: {text}" if processed else text
            self.waiter.set_exception(TransportError(text, reason, processed=processed))

    def give_up(self, reason: Reset) -> None:
        """See `ClientStream`."""
        if not self.waiter.done() and reason is Reset.DEADLINE:
            text = f"no reply from {self.connection.address} before the deadline"
            self.waiter.set_exception(TransportError(text, reason, processed=True))
        super().give_up(reason)


class OpenStream(ClientStream):
    """One stream."""

    def __init__(self, connection: HTTP2Client, head: Head) -> None:
        super().__init__(connection, _NEVER)
        self.parts = []
        self.channel = Channel(connection, self, connection.limits.body)
        peer = Peer(connection.address, connection.wire.get_extra_info("identity"), "h2")
        self.exchange = CalledExchange(connection, self, self.channel, head, peer)

    def on_head(self, head: Head, end: bool) -> None:
        """See `Stream`."""
        status = head[":status"]
        if status != "200":
            self.channel.fail(Reset.PROTOCOL, f"the server answered HTTP {status}", True)
            self.give_up(Reset.CANCELLED)
        elif end:
            del head[":status"]
            self.exchange.trailer = head
            self.channel.end()
        else:
            self.channel.encoding = head.get("grpc-encoding", "")
            self.exchange.reply = head

    def on_data(self, data: bytes, end: bool) -> None:
        """See `Stream`."""
        self.channel.data(data, end)

    def on_trailer(self, head: Head) -> None:
        """See `Stream`."""
        self.exchange.trailer = head
        self.channel.end()

    def on_sent(self) -> None:
        """See `Stream`."""
        self.channel.sent()

    def on_reset(self, fault: int, text: str, processed: bool) -> None:
        """See `Stream`."""
        reason = REASONS.get(fault, Reset.PROTOCOL) if processed else Reset.REFUSED
        self.channel.fail(reason, text, processed)


def _over(connection: HTTP2Client) -> str:
    return f"it is over the limit of {connection.limits.body} bytes (option message_limit)"
