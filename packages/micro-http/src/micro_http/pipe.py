"""A connection as a pipe of messages, in no fixed order of request and reply: what Go Micro's streams are made of."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import cast

from micro_core import Message, Reset, TransportError

from micro_http.loops import Loop, Waiter, Wire
from micro_http.parse import Parser
from micro_http.silence import Slack, ends_by_reset, stuck
from micro_http.tables import Malformed
from micro_http.tls_faults import refused_by_peer

_YIELD_EVERY = 32
_GATHERED = 16 * 1024


class Pipe:
    """Messages that arrived, and a way to send.

    Reading stops while more than `buffer` bytes wait to be received, and `send` waits while the peer does not read. A
    peer that leaves meanwhile sends no more than the system holds of it, so all of that is read, and its end seen. Of
    what is sent within one turn of the loop the first message goes out at once, since often there is only one; the rest
    follows in one piece, since each write is a system call of its own.

    Attributes:
        arrived: called with each message as it arrives, before anyone receives it.
        left: called once when the peer will send nothing more: True when it closed between two messages.
        ready: messages that nobody has received yet.
    """

    def __init__(self, loop: Loop, wire: Wire, parser: Parser, buffer: int) -> None:
        self.arrived: Callable[[Message], None] | None = None
        self.left: Callable[[bool], None] | None = None
        self.ready: deque[Message] = deque()
        self._loop = loop
        self._wire = wire
        self._parser = parser
        self._buffer = buffer
        self._held = 0
        self._reading = True
        self._receiver: Waiter | None = None
        self._sender: Waiter | None = None
        self._may_write = True
        self._sent = 0
        self._held_back: list[bytes] | None = None
        self._held_back_bytes = 0
        self._over: TransportError | None = None
        self._ended = False
        self._slack = Slack(loop, wire)
        self._resting = -1
        wire.set_write_buffer_limits(high=buffer)

    @property
    def identity(self) -> str | None:
        """The verified name of the peer, where there is one."""
        name: str | None = self._wire.get_extra_info("identity")
        return name

    # What happens to the connection

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._ended or self._over is not None:
            return
        try:
            self._parser.feed(data)
            while (message := self._parser.poll()) is not None:
                self._take(message)
        except Malformed as error:
            self._fail(TransportError(f"the peer broke the protocol: {error}", Reset.PROTOCOL, processed=True))
            self._wire.abort()
            return
        if self._held > self._buffer and self._reading:
            self._reading = False
            self._wire.pause_reading()
            self._resting = self._loop.resting.begin(self._wire, self._left)

    def _left(self) -> None:
        self._buffer = sys.maxsize
        self.resume_reading()

    def _take(self, message: Message) -> None:
        if self.arrived is not None:
            self.arrived(message)
        self.ready.append(message)
        self._held += len(message.body) + 256
        _wake(self._receiver)

    def eof_received(self) -> None:
        """The peer sends nothing more."""
        if self._ended or self._over is not None:
            return
        try:
            if (message := self._parser.finish()) is not None:
                self._take(message)
        except Malformed:
            self._fail(TransportError("the peer closed within a message", Reset.GONE, processed=True))
            return
        self._ended = True
        _wake(self._receiver)
        if self.left is not None:
            self.left(True)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is no more."""
        self.leave()
        refused = refused_by_peer(error)
        if refused is not None:
            self._fail(TransportError(f"the peer cannot be used: {refused}", Reset.REFUSED, processed=False))
        self._fail(TransportError(f"the connection is gone{_because(error)}", Reset.GONE, processed=True))

    def _fail(self, error: TransportError) -> None:
        if self._over is None:
            self._over = error
            _wake(self._receiver)
            _wake(self._sender)
            if self.left is not None and not self._ended:
                self.left(False)

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._may_write = False

    def resume_writing(self) -> None:
        """It does again."""
        self._may_write = True
        _wake(self._sender)

    # What its user does

    @property
    def ended(self) -> bool:
        """Whether the peer closed between two messages."""
        return self._ended

    async def recv(self) -> Message | None:
        """The next message; None when the peer closed between two. Cancelled, it loses nothing.

        Raises TransportError when the connection was lost, after what had arrived before was received.
        """
        while not self.ready:
            if self._ended:
                return None
            if self._over is not None:
                raise self._again()
            self._receiver = self._loop.waiter()
            await self._receiver
        message = self.ready.popleft()
        self._held -= len(message.body) + 256
        if not self._reading and self._held <= self._buffer // 2:
            self.resume_reading()
        return message

    def resume_reading(self) -> None:
        """Reads on, however much waits."""
        self._reading = True
        self._loop.resting.end(self._resting, self._left)
        if not self._wire.is_closing():
            self._wire.resume_reading()

    async def send(self, data: bytes) -> None:
        """Writes all of it, or, when cancelled, nothing. Raises TransportError when the connection is gone."""
        self._sent += 1
        if self._sent % _YIELD_EVERY == 0:
            await self._loop.checkpoint()
        while not self._may_write and self._over is None:
            self._sender = self._loop.waiter()
            await self._sender
        if self._over is None and self._wire.is_closing():
            await self._loop.checkpoint()  # a write failed, or it was closed: the loop is about to say so
        if self._over is not None:
            raise self._again()
        self._write(data)

    def _write(self, data: bytes) -> None:
        soon = self._loop.soon
        if soon is None:
            self._wire.write(data)
        elif self._held_back is None:
            self._held_back = []
            soon(self._turn)
            self._wire.write(data)
        else:
            self._held_back.append(data)
            self._held_back_bytes += len(data)
            if self._held_back_bytes >= _GATHERED:
                self.flush()

    def _turn(self) -> None:
        self.flush()
        self._held_back = None

    def flush(self) -> None:
        """Writes what was held back for the end of the loop's turn."""
        if self._held_back:
            data = b"".join(self._held_back)
            self._held_back = []
            self._held_back_bytes = 0
            if not self._wire.is_closing():
                self._wire.write(data)

    def _again(self) -> TransportError:
        over = self._over
        assert over is not None
        return TransportError(str(over), over.reason, processed=over.processed)

    def leave(self) -> None:
        """Its connection is no pipe any more."""
        self._slack.stop()
        self._loop.resting.end(self._resting, self._left)
        self._wire.set_write_buffer_limits(high=0)

    def close(self) -> None:
        """Closes when everything is written."""
        self.flush()
        ends_by_reset(self._wire, False)
        self._wire.close()

    def reset(self, reason: Reset, *, plainly: bool = False) -> None:
        """Closes at once, `plainly` by an end if nothing holds that up; whoever waits gets a TransportError."""
        self.flush()
        if plainly and not stuck(self._wire.get_extra_info("socket")):
            ends_by_reset(self._wire, False)
        self._fail(TransportError(f"the exchange was reset: {reason.value}", reason, processed=True))
        self._wire.abort()


class PipeConnection(asyncio.Protocol):
    """The client's end of a connection that is a pipe from its first byte.

    Unless `Pipe` ends it plainly the server sees a reset, which passes by what it has not read yet, also when this
    process is killed. An end would come behind that, and behind a stream's own end would pass for Go's.
    """

    def __init__(self, loop: Loop, parser: Parser, buffer: int) -> None:
        self._loop = loop
        self._parser = parser
        self._buffer = buffer
        self.pipe: Pipe | None = None
        self.wire: Wire | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self.wire = cast("Wire", transport)
        ends_by_reset(self.wire, True)
        self.pipe = Pipe(self._loop, self.wire, self._parser, self._buffer)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        assert self.pipe is not None
        self.pipe.data_received(data)

    def eof_received(self) -> bool:
        """The peer sends nothing more."""
        assert self.pipe is not None
        self.pipe.eof_received()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        assert self.pipe is not None
        self.pipe.connection_lost(exc)

    def pause_writing(self) -> None:
        """The peer does not read."""
        assert self.pipe is not None
        self.pipe.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        assert self.pipe is not None
        self.pipe.resume_writing()


def _wake(waiter: Waiter | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _because(error: Exception | None) -> str:
    return f": {error}" if error is not None and str(error) else ""
