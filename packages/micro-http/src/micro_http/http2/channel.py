"""The messages of one stream, both ways: each behind gRPC's prefix of five bytes: a flag and the length."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from micro_core import Head, Reset, TransportError

from micro_http.http2 import faults as code
from micro_http.http2.driver import Driver
from micro_http.http2.frames import PREFIX
from micro_http.http2.grpc import COMPRESSED, ENCODINGS, EXHAUSTED, INTERNAL, Packed, Unreadable, inflated, is_grpc
from micro_http.http2.sending import Stream
from micro_http.loops import Waiter

GRPC = 2
YIELD_EVERY = 32
_pack = PREFIX.pack
_ENOUGH = 16_384

REASONS = {
    code.CANCEL: Reset.CANCELLED,
    code.NO_ERROR: Reset.CANCELLED,
    code.REFUSED_STREAM: Reset.REFUSED,
    code.INTERNAL_ERROR: Reset.GONE,
}
CODES = {
    Reset.CANCELLED: code.CANCEL,
    Reset.DEADLINE: code.CANCEL,
    Reset.GONE: code.CANCEL,
    Reset.REFUSED: code.REFUSED_STREAM,
    Reset.PROTOCOL: code.PROTOCOL_ERROR,
    Reset.LIMIT: code.ENHANCE_YOUR_CALM,
}


def framed(head: Head) -> int:
    """Whether bodies are messages behind a prefix: 0, 1 for mucp, `GRPC`."""
    if "micro-endpoint" in head or "micro-stream" in head:
        return 1
    return GRPC if is_grpc(head) else 0


class Channel:
    """What arrived and was not received, what was sent and did not go out.

    `send` waits while the peer's window is closed or its connection does not take more; what nobody receives keeps our
    own window closed.

    Attributes:
        encoding: what messages that say so are compressed by, as the peer's head names it.
        ready: messages that nobody has received yet.
        over: why nothing more comes or goes.
        ended: whether the peer ended its side.
        refuse: tells the peer, by a status of gRPC and a text, what was wrong with what it sent; None where a reset
            has to do.
        sent_ever: how many messages were sent; after each `YIELD_EVERY` of them others are let run.
    """

    __slots__ = (
        "_driver",
        "_limit",
        "_missing",
        "_parts",
        "_receiver",
        "_sender",
        "_stream",
        "_taken",
        "encoding",
        "ended",
        "over",
        "ready",
        "refuse",
        "sent_ever",
    )

    def __init__(self, driver: Driver[Any], stream: Stream, limit: int) -> None:
        self.encoding = ""
        self.ready: deque[bytes] = deque()
        self.over: TransportError | None = None
        self.ended = False
        self.refuse: Callable[[str, str], None] | None = None
        self._driver = driver
        self._stream = stream
        self._limit = limit
        self._parts = bytearray()
        self._missing = 0
        self._taken = 0
        self.sent_ever = 0
        self._receiver: Waiter | None = None
        self._sender: Waiter | None = None

    # What the stream is told

    def data(self, data: bytes, end: bool) -> None:
        """Bytes arrived."""
        if self._missing:
            self._parts += data
            self._missing -= len(data)
            if self._missing > 0 and not end:
                self._account()
                return
            data = bytes(self._parts)
            self._parts.clear()
        if not self._split(data):
            return
        if end and self._parts:
            self._break(code.PROTOCOL_ERROR, INTERNAL, "the stream ended within a message")
            return
        self.ended = end
        self._account()
        wake(self._receiver)

    def _split(self, data: bytes) -> bool:
        pos, end, unpack, add, limit = 0, len(data), PREFIX.unpack_from, self.ready.append, self._limit
        self._missing = 0
        while pos < end:
            if end - pos < 5:
                self._missing = 5 - end + pos
                break
            packed, size = unpack(data, pos)
            stop = pos + 5 + size
            if packed or size > limit or stop > end:
                if size > limit or (packed and not self._may_be_packed(packed)):
                    status = EXHAUSTED if size > limit else COMPRESSED
                    self._break(code.ENHANCE_YOUR_CALM, status, _refused(size, limit))
                    return False
                if stop > end:
                    self._missing = stop - end
                    break
                add(Packed(data[pos + 5 : stop]))
            else:
                add(data[pos + 5 : stop])
            pos = stop
        if pos < end:
            self._parts += data[pos:]
        return True

    def _may_be_packed(self, flag: int) -> bool:
        return flag == 1 and self.encoding in ENCODINGS

    def _break(self, fault: int, status: str, text: str) -> None:
        if self.refuse is not None:
            self.refuse(status, text)
        self.fail(Reset.PROTOCOL, text, True)
        self._driver.link.reset(self._stream.number, code.NO_ERROR if self.refuse else fault, text)

    def _account(self) -> None:
        """Opens the window for what the reader waits for: the rest of a message, or the next."""
        if not self.ready and self._stream.held:
            self._taken = 0
            self._driver.link.took(self._stream, self._stream.held)

    def end(self) -> None:
        """The peer ended its side."""
        self.ended = True
        wake(self._receiver)

    def fail(self, reason: Reset, text: str, processed: bool) -> None:
        """It is over."""
        if self.over is None:
            self.over = TransportError(text, reason, processed=processed)
            wake(self._receiver)
            wake(self._sender)

    def sent(self) -> None:
        """The peer takes more."""
        wake(self._sender)

    # What its user does

    async def recv(self) -> bytes | None:
        """The next message, or None once the peer has ended. Raises TransportError behind what had arrived."""
        while not self.ready:
            if self.ended:
                return None
            if self.over is not None:
                raise self.again()
            self._receiver = self._driver.loop.waiter()
            await self._receiver
        return self.take()

    def take(self) -> bytes:
        """The first of `ready`. Raises TransportError where it cannot be read."""
        ready = self.ready
        body = ready.popleft()
        self._taken += len(body) + 5
        if not ready:
            self._account()
        elif self._taken >= _ENOUGH:
            taken, self._taken = min(self._taken, self._stream.held), 0
            self._driver.link.took(self._stream, taken)
        return self._inflated(body) if type(body) is Packed else body

    def _inflated(self, body: Packed) -> bytes:
        try:
            return inflated(body, self.encoding, self._limit)
        except Unreadable as error:
            self._break(code.PROTOCOL_ERROR, error.status, error.text)
            raise self.again() from None

    async def room(self) -> None:
        """Returns once the peer takes more. Raises TransportError when it is over."""
        self.sent_ever += 1
        if self.sent_ever % YIELD_EVERY == 0:
            await self._driver.loop.checkpoint()
        driver, stream = self._driver, self._stream
        while (stream.blocked or not driver.may_write) and self.over is None:
            self._sender = driver.loop.waiter()
            driver.senders.add(self)
            try:
                await self._sender
            finally:
                driver.senders.discard(self)
        if self.over is not None:
            raise self.again()

    def again(self) -> TransportError:
        """The error, anew for each who asks."""
        over = self.over
        assert over is not None
        return TransportError(str(over), over.reason, processed=over.processed)


def wake(waiter: Waiter | None) -> None:
    """Lets the one who waits go on."""
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _refused(size: int, limit: int) -> str:
    if size > limit:
        return f"a message of {size} bytes, the limit is {limit} (option message_limit)"
    return f"a message is compressed, and not by {' or '.join(ENCODINGS)}"
