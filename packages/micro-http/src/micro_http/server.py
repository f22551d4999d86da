"""The server: accepts connections, reads requests, runs each call in a task of its own, writes the replies in order.

A connection serves one call at a time; what arrives meanwhile waits, and reading stops when too much does. When the
peer goes away, the call's `cancel` is told, and nothing else: a handler is never cancelled by its task, which would
break its shields; the scope is the call's own business.

Connections that must make progress (a head or body half arrived, a reply half read, a refusal that lingers) are watched
by one timer of the listener, which rests while there are none. Quiet ones are looked at every half idle time.

A refused request is answered, then the connection lingers: what the peer still sends is read and dropped for a moment,
because closing a socket with unread bytes resets it and the answer would be lost.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from micro_core import Accept, Message, Peer, Reset, StreamCall, UnaryCall

from micro_http.address import format_address
from micro_http.exchange import PipeExchange
from micro_http.http2.frames import PREFACE
from micro_http.loops import Wire, half_closed
from micro_http.names import WireLines
from micro_http.parse import Parser
from micro_http.pipe import Pipe
from micro_http.silence import cut
from micro_http.tables import Malformed
from micro_http.write import CLOSE, CONTINUE, OK, TELLS, counted, header_block, reply_start

if TYPE_CHECKING:
    from micro_http.listener import HTTPListener

_log = logging.getLogger("micro.http")
_LARGE = 64 * 1024
_LINGER = 0.5
_TURNED = 1.0
_NEVER = float("inf")
_FULL = Message(
    {
        ":status": "503",
        "content-type": "text/plain; charset=utf-8",
        "connection": "close",
        "micro-unprocessed": "1",
    },
    b"too many connections (option connections)\n",
)
_MEANT_AS_PREFACE = re.compile(rb"PRI \* HTTP/2|[A-Z]+ [A-Z]+ [A-Z]+\r\n")
"""Also one that is wrong: what has neither a path nor a version is not HTTP/1.1, and is told so in HTTP/2's words."""

Exchanges: TypeAlias = Callable[[Pipe, Message, Peer, WireLines], PipeExchange]
"""Makes the exchange of a stream from its pipe, its opening message, its peer and the table for writing names."""


class ServerConnection(asyncio.Protocol):
    """One connection of a listener."""

    __slots__ = (
        "_accept",
        "_accept_stream",
        "_advancing",
        "_agent",
        "_backlog",
        "_call",
        "_exchange",
        "_first",
        "_fresh",
        "_in_body",
        "_keep",
        "_late",
        "_lingering",
        "_listener",
        "_lost",
        "_may_write",
        "_parser",
        "_paused",
        "_pipe",
        "_task",
        "_tell",
        "due",
        "peer",
        "quiet",
        "turned_away",
        "wire",
    )

    def __init__(self, listener: HTTPListener, accept: Accept, accept_stream: Accept) -> None:
        self.quiet = False
        self.turned_away = False
        self.due = _NEVER
        self._listener = listener
        self._accept = accept
        self._accept_stream = accept_stream
        self._parser = Parser(listener.limits, listener.tables)
        self._backlog: list[Message] = []
        self._call: UnaryCall | StreamCall | None = None
        self._task: object = None
        self._exchange: PipeExchange | None = None
        self._pipe: Pipe | None = None
        self._late: Callable[[Message], bool] | None = None
        self._keep = True
        self._agent = ""
        self._advancing = False
        self._paused = False
        self._may_write = True
        self._lingering = False
        self._lost = False
        self._in_body = False
        self._fresh = True
        self._first = b""
        self._tell = False
        self.wire: Wire = cast("Wire", None)
        self.peer = Peer("")

    @property
    def busy(self) -> bool:
        """Whether a call runs."""
        return self._call is not None

    @property
    def fresh(self) -> bool:
        """Whether nothing has arrived yet."""
        return self._fresh

    # The connection

    def drain(self) -> None:
        """The next reply says it."""

    def turn_away(self) -> None:
        """It is one too many: told so in the words that it speaks, once they are known."""
        self.turned_away = True
        self._hurry(_TURNED)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self.wire = cast("Wire", transport)
        self.wire.set_write_buffer_limits(high=0)
        name = self.wire.get_extra_info("peername")
        address = format_address(name[0], name[1]) if name else ""
        self.peer = Peer(address, self.wire.get_extra_info("identity"), "http/1.1")
        self._listener.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        self.quiet = False
        if self._fresh and not (data := self._turns_into_http2(data)):
            return
        if self._pipe is not None:
            self._pipe.data_received(data)
        elif not self._lingering:
            if self._call is None and self._may_write:
                self._advance(data)
                return
            self._parser.feed(data)
            if self._parser.waiting > self._listener.limits.buffer:
                self._paused = True
                self.wire.pause_reading()

    def _turns_into_http2(self, data: bytes) -> bytes:
        """What is left for HTTP/1.1 of a connection's first bytes; held back while they may be HTTP/2's preface."""
        data = self._first + data
        self._first = b""
        if _MEANT_AS_PREFACE.match(data):
            self._listener.becomes_http2(self, data)
            return b""
        if PREFACE.startswith(data):
            self._first = data
            self._hurry(self._listener.limits.head_seconds)
            return b""
        self._fresh = False
        self.due = _NEVER
        return data

    def eof_received(self) -> bool:
        """The peer sends nothing more."""
        if self._exchange is not None and self._pipe is not None:
            self._pipe.eof_received()
            if self._exchange.outlives_eof():
                return True
        elif self._lingering:
            return False
        self._peer_gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        self._lost = True
        if self._pipe is not None:
            self._pipe.connection_lost(exc)
        if self._exchange is None or exc is not None or not self._exchange.outlives_eof():
            self._peer_gone()
        if self._call is None:
            self._listener.closed(self)

    def _peer_gone(self) -> None:
        if self._call is not None:
            self._call.cancel(Reset.GONE)

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._may_write = False
        if self._pipe is not None:
            self._pipe.pause_writing()
        else:
            self._hurry(self._listener.limits.body_seconds)

    def resume_writing(self) -> None:
        """It does again."""
        self._may_write = True
        if self._pipe is not None:
            self._pipe.resume_writing()
        elif self._call is None and not self._lingering:
            self.due = _NEVER
            self._advance()

    # Time

    def _hurry(self, seconds: float) -> None:
        """Something must happen within that time."""
        self.due = self._listener.clock() + seconds
        self._listener.watch(self)

    def expire(self) -> None:
        """It did not happen."""
        self.due = _NEVER
        if not self._may_write:
            cut(self.wire)
        elif self._lingering:
            self.wire.abort()
        elif self.turned_away:
            self.wire.close()
        elif self._parser.partial or self._first:
            self._refuse(Malformed(408, "the request did not arrive in time"))

    def close_now(self) -> None:
        """Cancels the call and closes."""
        self._peer_gone()
        self.wire.abort()

    def close_if_quiet(self) -> None:
        """Closes it when nothing happened since the last time this was asked."""
        if self.quiet and self._call is None:
            self.wire.close()
        self.quiet = True

    # Requests

    def _advance(self, data: bytes = b"") -> None:
        """Takes up the next request that is there, now that these bytes have arrived."""
        if self._backlog:
            self._parser.feed(data)
            data = b""
        run = self._listener.loop.begin if data else self._listener.loop.spawn
        self._advancing = True
        try:
            while self._call is None and self._may_write and not self._lingering:
                if data:
                    message, data = self._parser.take(data), b""
                else:
                    message = self._backlog.pop(0) if self._backlog else self._parser.poll()
                if message is None:
                    self._await_rest()
                    return
                if self.due != _NEVER:
                    self.due = _NEVER
                    self._in_body = False
                if self._late is None or not self._is_late(message):
                    self._take(message, run)
                    if self._parser.alone and not self._backlog and not self._paused:
                        return
                    run = self._listener.loop.spawn
        except Malformed as error:
            self._refuse(error)
        finally:
            self._advancing = False

    def _await_rest(self) -> None:
        if self._paused:
            self._paused = False
            self.wire.resume_reading()
        parser = self._parser
        if not parser.partial:
            return
        if parser.in_body:
            self._await_body()
        elif self.due == _NEVER:
            self._hurry(self._listener.limits.head_seconds)

    def _await_body(self) -> None:
        if self._parser.expects_continue:
            self._parser.expects_continue = False
            self.wire.write(CONTINUE)
        if not self._in_body:
            self._in_body = True
            self._hurry(self._listener.limits.body_seconds)

    def _is_late(self, message: Message) -> bool:
        """A message of the stream that was here before, and is over."""
        if self._late is not None and self._late(message):
            return True
        self._late = None
        return False

    def _take(self, message: Message, run: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        head = message.head
        self._tell = "micro-http2" in head and head.pop("micro-http2") == "ask"
        self._keep = self._parser.keep_alive
        self._agent = head.get("user-agent", "")
        listener = self._listener
        if self.turned_away:
            self._answer(_FULL)
            return
        if listener.draining is not None:
            self._answer(listener.draining(head))
            return
        answer = (self._accept_stream if "micro-stream" in head else self._accept)(head, self.peer)
        if isinstance(answer, Message):
            self._answer(answer)
        elif answer.streams:
            self._begin_stream(answer, message)
        else:
            self._call = answer
            task = run(self._run(answer, message.body))
            if self._in_call():
                self._task = task

    def _in_call(self) -> bool:
        return self._call is not None

    async def _run(self, call: UnaryCall, body: bytes) -> None:
        try:
            reply = await call.run(body)
        except Exception:
            _log.exception("a call failed outside of its handler")
            reply = None
        self._call = self._task = None
        if self._lost:
            self._listener.closed(self)
            return
        if reply is None:
            self.wire.close()
        else:
            self._answer(reply)
            if not self._advancing and (self._parser.partial or self._backlog or self._paused):
                self._advance()
        if self._listener.draining is not None:
            self._listener.ended()

    # Replies

    def _answer(self, reply: Message) -> None:
        head, body = reply.head, reply.body
        if reply.trailer:
            head = {**head, **reply.trailer}
        keep = self._keep and head.get("connection") != "close" and (self._listener.draining is None or self._is_go())
        try:
            start = OK if ":status" not in head else reply_start(head[":status"])
            block = header_block(self._listener.lines, head)
        except ValueError:
            _log.exception("a reply could not be written")
            start, block, body, keep = reply_start("500"), b"", b"", False
        if not keep:
            block += CLOSE
        if self._tell:
            block += TELLS
        if len(body) < _LARGE:
            self.wire.write(b"".join((start, block, counted(len(body)), body)))
        else:
            self.wire.write(b"".join((start, block, counted(len(body)))))
            self.wire.write(body)
        if not keep:
            self._linger()

    def _is_go(self) -> bool:
        """Whether the peer fails on a connection that was said to close (WIRE §4)."""
        return self._agent.startswith("Go-http-client")

    def _refuse(self, error: Malformed) -> None:
        body = f"{error}\n".encode(errors="replace")
        kind = b"\r\nContent-Type: text/plain; charset=utf-8"
        self.wire.write(b"".join((reply_start(str(error.status)), kind, CLOSE, counted(len(body)), body)))
        self._linger()

    def _linger(self) -> None:
        self._lingering = True
        if self._lost or self.wire.is_closing():
            return
        if self._paused:
            self._paused = False
            self.wire.resume_reading()
        if half_closed(self.wire):
            self._hurry(_LINGER)

    # Streams

    def _begin_stream(self, call: StreamCall, message: Message) -> None:
        make = self._listener.exchanges
        if make is None:
            _log.error("a stream was accepted where only calls are served")
            self._keep = False
            self._answer(Message({":status": "501"}))
            return
        limits = self._listener.limits
        self._call = call
        pipe = self._pipe = Pipe(self._listener.loop, self.wire, self._parser, limits.buffer)
        self._exchange = make(pipe, message, self.peer, self._listener.lines)
        self._exchange.tells = self._tell
        pipe.data_received(b"")
        if not self._may_write:
            pipe.pause_writing()
        self._task = self._listener.loop.spawn(self._run_stream(call, self._exchange))

    async def _run_stream(self, call: StreamCall, exchange: PipeExchange) -> None:
        try:
            await call.run(exchange)
        except Exception:
            _log.exception("a stream failed outside of its handler")
        pipe, self._call, self._task = self._pipe, None, None
        assert pipe is not None
        if self._lost:
            self._listener.closed(self)
        elif not exchange.settled():
            exchange.reset(Reset.CANCELLED)
        elif self._listener.draining is not None or not self._keep or pipe.ended:
            self._leave_pipe(exchange)
            self._linger()
        else:
            self._leave_pipe(exchange)
            if exchange.closes():
                self._linger()
            else:
                self._advance()
        if self._listener.draining is not None:
            self._listener.ended()

    def _leave_pipe(self, exchange: PipeExchange) -> None:
        """The stream is over: what still arrives of it is dropped, anything else is a new call."""
        pipe = self._pipe
        assert pipe is not None
        pipe.flush()
        pipe.leave()
        self._backlog.extend(pipe.ready)
        self._late = exchange.late
        self._pipe = self._exchange = None
        pipe.resume_reading()
