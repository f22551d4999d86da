"""One call or stream at the server.

The head is the request's or reply's own. A body between nodes that know each other's wire (there is a `micro-` header,
or gRPC's content type) is one message behind a prefix of five bytes (`channel`); any other, a browser's or curl's, is a
body as it is. A reply without a body is a head that ends the stream, one with a trailer has a message even if that is
empty. What the peer still sends behind our reply is not wanted: RST_STREAM with NO_ERROR says so (RFC 9113 §8.1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from micro_core import Head, Message, Reset, StreamCall, UnaryCall

from micro_http.http2 import faults as code
from micro_http.http2 import grpc
from micro_http.http2.channel import GRPC, REASONS, Channel, framed
from micro_http.http2.exchange import ServedExchange
from micro_http.http2.fields import PSEUDO
from micro_http.http2.frames import PREFIX
from micro_http.http2.sending import Stream

if TYPE_CHECKING:
    from micro_http.http2.server import HTTP2Server

_log = logging.getLogger("micro.http")
_OK = (":status", "200")
_PREFIX, _unpack = PREFIX.size, PREFIX.unpack_from
_REFUSED = 9
"""A head that is refused is more of a nuisance than its answer excuses."""

_LARGE = 36
"""One that is refused for its size takes milliseconds to read."""

_ABANDONED = 2
"""As many calls as streams may be open; so many times more may still run though their callers have reset them."""


class ServedStream(Stream):
    """One call."""

    _channel: Channel | None = None
    _encoding = ""
    _exchange: ServedExchange | None = None

    def __init__(self, connection: HTTP2Server) -> None:
        self._connection = connection
        self._call: UnaryCall | StreamCall | None = None
        self._framed = 0
        self._parts: bytearray | None = None  # frames may hold a byte each: no list of them
        self._task: object = None
        self.collects = self.sending = True  # of this one: looked up much faster than what is its class's
        self.pending = b""

    def on_head(self, head: Head, end: bool) -> None:
        """See `Stream`."""
        if not self._accepted(head, end):
            return
        if end:
            self._complete(b"") if self._framed == GRPC else self._start(b"")
        elif self.expected > self._connection.listener.limits.body:
            self._too_large()
        else:
            self._connection.begun.append(self)

    def on_whole(self, head: Head, body: bytes) -> None:
        """See `Stream`."""
        if self._accepted(head, False):
            self._complete(body)
        elif self._channel is not None:
            self._channel.data(body, True)

    def _accepted(self, head: Head, end: bool) -> bool:
        """Whether it is a unary call, which now waits for its body."""
        connection = self._connection
        listener = connection.listener
        if ":status" in head or len(head[":path"]) > listener.limits.uri:
            self._refuse_head(head)
            return False
        if connection.running >= _ABANDONED * listener.limits.streams:
            connection.link.reset(self.number, code.REFUSED_STREAM)
            return False
        self._framed = framed(head)
        if self._framed == GRPC:
            self._encoding = head.get("grpc-encoding", "")
        answer = connection.accept(head, connection.peer) if listener.draining is None else listener.draining(head)
        if isinstance(answer, Message):
            if "micro-stream" in head:
                answer.body = b""  # which would be a message of the stream
            self._answer(answer)
        elif answer.streams:
            self._begin_stream(answer, head, end)
        else:
            self._call = answer
            return True
        return False

    def on_data(self, data: bytes, end: bool) -> None:
        """See `Stream`."""
        if self._channel is not None:
            self._channel.data(data, end)
            return
        if self._call is None:
            return
        if end and self._parts is None:
            self._complete(data)
        else:
            self._collect(data)
            if end and self._in_call():
                self._complete(bytes(self._parts or b""))

    def _in_call(self) -> bool:
        return self._call is not None

    def _refuse_head(self, head: Head) -> None:
        """It costs us more than it costs the peer."""
        limits = self._connection.listener.limits
        status = head.get(":status", "414")
        if status == "405":
            self._answer(Message({":status": "405"}))  # without a body, which HEAD forbids
        elif status == "431":
            self._refuse(status, f"the header is over {limits.head} bytes, or over {limits.lines} lines")
        else:
            self._refuse(status, f"the request target is over {limits.uri} bytes")
        self._connection.link.nuisance(_REFUSED if status == "405" else _LARGE)

    def _collect(self, data: bytes) -> None:
        connection = self._connection
        if self._parts is None:
            self._parts = bytearray()
        self._parts += data
        connection.collected += len(data)
        if len(self._parts) > connection.listener.limits.body + PREFIX.size:
            self._too_large()
        elif connection.collected > connection.link.bounds.budget:
            self._drop()
            connection.link.reset(self.number, code.REFUSED_STREAM, "too much at once")

    def _complete(self, data: bytes) -> None:
        if self._framed:
            if len(data) < _PREFIX or _unpack(data) != (0, len(data) - _PREFIX):
                self._complete_packed(data)
                return
            data = data[_PREFIX:]
        if len(data) > self._connection.listener.limits.body:
            self._too_large()
        else:
            self._start(data)

    def _complete_packed(self, data: bytes) -> None:
        """It is one message that is compressed, or else it is not one message."""
        if self._framed != GRPC:
            self._drop()
            self._connection.link.reset(self.number, code.PROTOCOL_ERROR, "the body is not one message")
            return
        try:
            if len(data) < PREFIX.size or PREFIX.unpack_from(data) != (1, len(data) - PREFIX.size):
                raise grpc.Unreadable(grpc.INTERNAL, "the body of a unary call is one message")
            body = grpc.inflated(data[PREFIX.size :], self._encoding, self._connection.listener.limits.body)
        except grpc.Unreadable as error:
            self._drop()
            self._call = None
            self._answer(grpc.refusal(error.status, error.text))
        else:
            self._start(body)

    def _drop(self) -> None:
        """What was collected is not needed any more."""
        connection = self._connection
        if self._parts is not None:
            connection.collected -= len(self._parts)
            self._parts = None
        if connection.timed and connection.timed.pop(self, None) is not None and not connection.timed:
            connection.rest()

    def _start(self, body: bytes) -> None:
        connection = self._connection
        if self._parts is not None or connection.timed:
            self._drop()
        connection.running += 1
        connection.complete.append((self, body))

    def begin(self, run: Callable[[Coroutine[Any, Any, None]], object], body: bytes) -> None:
        """Runs the call, whose body has arrived."""
        task = run(self._run(cast("UnaryCall", self._call), body))
        if self._call is not None:
            self._task = task

    async def _run(self, call: UnaryCall, body: bytes) -> None:
        try:
            reply = await call.run(body)
        except Exception:
            _log.exception("a call failed outside of its handler")
            reply = None
        self._call = self._task = None
        connection = self._connection
        if self.sending:
            alone = not connection.holding and len(connection.link.streams) == 1
            if alone:
                connection.holding = True
            if reply is None:
                connection.link.reset(self.number, code.CANCEL)
            else:
                self._answer(reply)
            if alone or len(connection.link.out) >= connection.enough:
                connection.holding = False
                connection.flush()
        connection.ended()

    def on_trailer(self, head: Head) -> None:
        """See `Stream`."""
        if self._channel is not None and self._exchange is not None:
            self._exchange.trailer = head
            self._channel.end()
        elif self._call is not None and self._task is None:
            self._complete(bytes(self._parts or b""))

    def on_reset(self, fault: int, text: str, processed: bool) -> None:
        """See `Stream`."""
        self._drop()
        if self._channel is not None:
            self._channel.fail(REASONS.get(fault, Reset.PROTOCOL), text, True)
        if self._call is not None:
            self._call.cancel(Reset.GONE)

    def on_sent(self) -> None:
        """See `Stream`."""
        if self._channel is not None:
            self._channel.sent()
        else:
            self._drop()

    def expire(self) -> None:
        """The body did not come, or the reply was not read, in time."""
        if self.pending:
            self._drop()
            self._connection.link.reset(self.number, code.CANCEL)
        else:
            self._refuse("408", "the request did not arrive in time")

    # Replies

    def _answer(self, reply: Message) -> None:
        head, body = reply.head, reply.body
        status = _OK
        if not PSEUDO.isdisjoint(head):
            status = (":status", head.get(":status", "200"))
            head = {name: value for name, value in head.items() if name not in PSEUDO}
        link, trailer = self._connection.link, reply.trailer
        try:
            if trailer:
                link.encoder.check(trailer)
            block = link.encoder.encode(head, status)
        except ValueError:
            _log.exception("a reply could not be written")
            block, body, trailer = link.encoder.encode({}, (":status", "500")), b"", None
        if trailer:
            self._answer_in_three(block, body, trailer)
        elif not body:
            link.send_head(self, block, True)
        else:
            link.send_whole(self, block, body, self._framed)
            if self.pending:
                self._wait_for_reader()
        if self.receiving:
            link.reset(self.number, code.NO_ERROR)

    def _answer_in_three(self, block: bytes, body: bytes, trailer: Head) -> None:
        link = self._connection.link
        link.send_head(self, block)
        link.send_data(self, PREFIX.pack(0, len(body)) + body if self._framed else body)
        link.finish(self, trailer)
        if self.pending:
            self._wait_for_reader()

    def _wait_for_reader(self) -> None:
        """A reply that the peer does not let through waits for a while, and together they hold so much."""
        connection = self._connection
        link = connection.link
        if (unsent := link.unsent) > link.bounds.budget and unsent > len(self.pending):
            link.reset(self.number, code.ENHANCE_YOUR_CALM)
            return
        connection.time(self)

    def _too_large(self) -> None:
        limit = self._connection.listener.limits.body
        self._refuse("413", f"the body is over the limit of {limit} bytes (option message_limit)")

    def _refuse(self, status: str, text: str) -> None:
        self._drop()
        self._call = None
        if self._framed == GRPC:
            self._answer(grpc.refusal(grpc.status_of(status), text))
            return
        self._framed = 0
        head = {":status": status, "content-type": "text/plain; charset=utf-8"}
        self._answer(Message(head, f"{text}\n".encode()))

    # Streams

    def _begin_stream(self, call: StreamCall, head: Head, end: bool) -> None:
        connection = self._connection
        self._call = call
        self.collects = False
        self.parts = []
        channel = self._channel = Channel(connection, self, connection.listener.limits.body)
        channel.ended = end
        if self._framed == GRPC:
            channel.encoding = self._encoding
            channel.refuse = self._refuse_message
        self._exchange = ServedExchange(connection, self, channel, head, connection.peer)
        connection.running += 1
        self._task = connection.loop.spawn(self._run_stream(call, self._exchange))

    def _refuse_message(self, status: str, text: str) -> None:
        """Ends a stream for what its caller sent, and with it the work."""
        if self._exchange is not None and self._call is not None:
            self._exchange.end_at_once(grpc.trailer(status, text))
            self._call.cancel(Reset.GONE)

    async def _run_stream(self, call: StreamCall, exchange: ServedExchange) -> None:
        try:
            await call.run(exchange)
        except Exception:
            _log.exception("a stream failed outside of its handler")
        self._call = self._task = None
        connection = self._connection
        if self.number in connection.link.streams:
            if not exchange.has_ended:
                exchange.reset(Reset.CANCELLED)
            elif self.receiving and not self.pending:
                connection.link.reset(self.number, code.NO_ERROR)
        connection.ended()
