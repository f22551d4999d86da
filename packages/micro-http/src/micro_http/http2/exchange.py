"""A stream over HTTP/2 as its user has it: messages as DATA, the end as END_STREAM, a trailer as trailers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from micro_core import Buffer, EndOfStream, Exchange, Head, Peer, Reset, TransportError

from micro_http.http2.channel import CODES, YIELD_EVERY, Channel
from micro_http.http2.driver import Driver
from micro_http.http2.frames import PREFIX
from micro_http.http2.sending import Stream

_OK = (":status", "200")
_pack = PREFIX.pack


class HTTP2Exchange(Exchange):
    """One side of it."""

    __slots__ = ("_begun", "_channel", "_driver", "_ended", "_over", "_stream")

    def __init__(self, driver: Driver[Any], stream: Stream, channel: Channel, request: Head, peer: Peer) -> None:
        self.request = request
        self.reply = {}
        self.trailer = {}
        self.peer = peer
        self._driver = driver
        self._stream = stream
        self._channel = channel
        self._begun = False
        self._ended = False
        self._over = False

    def _begin(self) -> None:
        """Writes the head, once."""
        if not self._begun:
            self._begun = True
            self._write_head()

    @abstractmethod
    def _write_head(self) -> None:
        """Writes it."""

    async def send(self, body: Buffer) -> None:
        """See `Exchange.send`."""
        if self._ended:
            raise TransportError("this side of the exchange has ended", Reset.CANCELLED, processed=True)
        channel = self._channel
        await channel.room()
        self._begin()
        self._driver.link.gather(self._stream, _pack(0, len(body)), bytes(body))

    def send_nowait(self, body: Buffer) -> bool:
        """See `Exchange.send_nowait`."""
        channel, stream, driver = self._channel, self._stream, self._driver
        sent = channel.sent_ever + 1
        if (
            not sent % YIELD_EVERY
            or self._ended
            or not self._begun
            or channel.over is not None
            or stream.pending
            or not driver.may_write
        ):
            return False
        channel.sent_ever = sent
        driver.link.gather(stream, _pack(0, len(body)), body if type(body) is bytes else bytes(body))
        return True

    def recv_nowait(self) -> bytes | None:
        """See `Exchange.recv_nowait`. One that is compressed is left to `recv`, which may refuse it."""
        channel = self._channel
        ready = channel.ready
        return channel.take() if ready and type(ready[0]) is bytes else None

    async def end(self, trailer: Head | None = None, body: Buffer = b"") -> None:
        """See `Exchange.end`; `body` is not carried."""
        if self._ended:
            return
        if trailer:
            self._driver.link.encoder.check(trailer)
        await self._channel.room()
        self._begin()
        self._ended = True
        self._driver.link.finish(self._stream, trailer)

    async def recv(self) -> bytes:
        """See `Exchange.recv`."""
        if not self._over:
            body = await self._channel.recv()
            if body is not None:
                return body
            self._over = True
        raise EndOfStream("the peer ended the stream")

    def reset(self, reason: Reset) -> None:
        """See `Exchange.reset`."""
        if self._ended and (self._over or self._channel.ended):
            return
        self._channel.fail(reason, f"the exchange was reset: {reason.value}", True)
        self._driver.link.reset(self._stream.number, CODES[reason])


class CalledExchange(HTTP2Exchange):
    """The client's side of a stream."""

    __slots__ = ()

    def _write_head(self) -> None:
        """It was written when the stream was opened."""


class ServedExchange(HTTP2Exchange):
    """The server's side of a stream."""

    __slots__ = ()

    def _write_head(self) -> None:
        link = self._driver.link
        link.send_head(self._stream, link.encoder.encode(self.reply, _OK))

    def end_at_once(self, trailer: Head) -> None:
        """Ends both sides; what waits for the peer's window is not sent."""
        if not self._ended:
            self.reply.setdefault("content-type", "application/grpc")
            self._begin()
            self._ended = self._over = True
            self._driver.link.finish(self._stream, trailer)

    @property
    def has_ended(self) -> bool:
        """Whether this side was ended in good order."""
        return self._ended
