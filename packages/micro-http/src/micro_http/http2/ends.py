"""The two ends of an HTTP/2 connection: who opens streams, and what a first head must be."""

from __future__ import annotations

import re
from collections.abc import Callable

from micro_core import Clock, Head

from micro_http.http2 import faults as code
from micro_http.http2 import frames as fr
from micro_http.http2.decoder import Block, Names
from micro_http.http2.faults import Fault, StreamFault
from micro_http.http2.link import Link
from micro_http.http2.sending import Stream
from micro_http.http2.streams import Bounds
from micro_http.names import HOST, METHOD, TARGET, UNSERVED

_HEAD, _MESSAGE = fr.HEADER.pack, fr.MESSAGE.pack
_HEADERS, _END_HEADERS, _END_STREAM = fr.HEADERS, fr.END_HEADERS, fr.END_STREAM
_SMALL = fr.MIN_FRAME_SIZE
_SIZES = [chr(size) for size in range(64)]
_STATUS = re.compile(r"[1-5][0-9][0-9]")


class ServerLink(Link):
    """The server's end. `opened` makes a stream for each head that arrives."""

    def __init__(
        self, bounds: Bounds, clock: Clock, names: Names, ready: Callable[[], None], opened: Callable[[], Stream]
    ) -> None:
        super().__init__(bounds, clock, names, ready)
        self._opened = opened
        self._preface = False
        self._warned = False
        self.max_streams = 0
        values = {
            fr.MAX_CONCURRENT_STREAMS: bounds.streams,
            fr.INITIAL_WINDOW_SIZE: bounds.window,
            fr.MAX_HEADER_LIST_SIZE: bounds.head,
        }
        self.write(fr.settings(values))
        self._open_windows()

    def receive(self, data: bytes) -> None:
        """See `Link.receive`; the first bytes must be the preface."""
        if not self._preface and not self.failed:
            data = self._rest + data
            if len(data) < len(fr.PREFACE):
                self._rest = data
                if not fr.PREFACE.startswith(data):
                    self.fail(code.PROTOCOL_ERROR, "no preface of HTTP/2")
                return
            if not data.startswith(fr.PREFACE):
                self.fail(code.PROTOCOL_ERROR, "no preface of HTTP/2")
                return
            self._preface = True
            self._rest = b""
            data = data[len(fr.PREFACE) :]
        super().receive(data)

    def _on_whole(self, number: int, block: bytes, body: bytes) -> bool:
        if number <= self.last or not number & 1 or self.leaving or len(self.streams) >= self.bounds.streams:
            return False
        head = self._decoder.quick(block)
        if head is None:
            return False
        self.last = number
        opened = self._opened
        stream = opened()
        self._add(stream, number)
        stream.headed = True
        stream.receiving = False
        stream.on_whole(head, body)
        return True

    def _unknown(self, number: int, block: Block, end: bool) -> None:
        if number % 2 == 0:
            raise Fault(code.PROTOCOL_ERROR, "a client's stream with an even number")
        if number <= self.last:
            if number in self._forgotten:
                self.nuisance()
                return
            raise Fault(code.STREAM_CLOSED, "a head of a stream that is closed")
        self.last = number
        if self.leaving:
            raise StreamFault(code.REFUSED_STREAM, "")
        if len(self.streams) >= self.bounds.streams:
            self.nuisance(5)
            raise StreamFault(code.REFUSED_STREAM, "")
        if not block.checked:
            self._check(block)
        stream = self._opened()
        self._add(stream, number)
        self._begin(stream, block.head, end)

    def leave(self) -> None:
        """Warns that no more streams will be taken, and takes none once the peer must have read it."""
        if not self._warned and not self.failed:
            self._warned = True
            self.goaway(warning=True)
            self.ping()

    def answered(self) -> None:
        """See `Link`."""
        if self._warned and not self.leaving:
            self.leaving = True
            self.goaway()

    def _check(self, block: Block) -> None:
        head = block.head
        if block.fault:
            raise StreamFault(code.PROTOCOL_ERROR, block.fault)
        if block.size > self.bounds.head or block.lines > self.bounds.lines:
            head.clear()
            head[":status"] = "431"
            return
        if not head.pop(":scheme", "") or ":status" in head:
            raise StreamFault(code.PROTOCOL_ERROR, "a request has a :scheme, and no :status")
        method = head.get(":method", "")
        if METHOD.fullmatch(method) is None or TARGET.fullmatch(head.get(":path", "")) is None:
            raise StreamFault(code.PROTOCOL_ERROR, "a request needs a :method, and a :path that begins with /")
        if head.get("te", "trailers") != "trailers":
            raise StreamFault(code.PROTOCOL_ERROR, "te may be trailers alone")
        _take_host(head)
        if method in UNSERVED:
            head.clear()
            head[":status"] = "405"

    def _idle(self, number: int) -> bool:
        return number % 2 == 0 or number > self.last

    def _ours(self, number: int) -> bool:
        return False


class ClientLink(Link):
    """The client's end. `told` is called when the peer's SETTINGS arrive."""

    def __init__(self, bounds: Bounds, clock: Clock, names: Names, ready: Callable[[], None]) -> None:
        super().__init__(bounds, clock, names, ready)
        self.told: Callable[[], None] | None = None
        self._next = 1
        values = {
            fr.ENABLE_PUSH: 0,
            fr.INITIAL_WINDOW_SIZE: bounds.window,
            fr.MAX_HEADER_LIST_SIZE: bounds.head,
        }
        self.write(fr.PREFACE + fr.settings(values))
        self._open_windows()

    def _on_settings(self, number: int, flags: int, payload: bytes) -> None:
        super()._on_settings(number, flags, payload)
        if self.told is not None:
            self.told()

    def takes_more(self) -> bool:
        """Whether one more stream may be opened."""
        return not self.leaving and not self.failed and len(self.streams) < self.max_streams and self._next < 2**31

    def emptied(self) -> None:
        """See `Streams`: the connection closes."""
        self.fail(code.NO_ERROR, "no more calls")

    def retire(self) -> None:
        """Opens no more streams; the connection closes once those that are open have ended."""
        self.leaving = True
        if not self.streams:
            self.emptied()

    def open(self, stream: Stream) -> None:
        """Gives a stream its number; its head is to follow at once."""
        number = self._next
        self._next = number + 2
        self._add(stream, number)

    def send_call(self, stream: Stream, head: Head, body: bytes) -> bool:
        """Opens a stream by a call of mucp that is like earlier ones; False where it is not, and nothing was done."""
        values = tuple(head.values())
        known = self.encoder.calls.get(values[:-2])
        if known is None or known[0] != tuple(head):
            return False
        identity, timeout = values[-2:]
        digits, length = identity + timeout, len(body)
        if len(digits) >= len(_SIZES) or not (digits.isascii() and digits.isdigit()):
            return False
        varying = f"{_SIZES[len(identity)]}{identity}\x00\x07timeout{_SIZES[len(timeout)]}{timeout}"
        block, size = len(known[1]) + len(varying), length + 5
        if block + size > _SMALL or size > self._window or size > self._initial:
            return False
        number = stream.number = self._next
        self._next = number + 2
        stream.window = self._initial
        stream.credit = self.bounds.window
        stream.sending = False
        self.streams[number] = stream
        self._window -= size
        self.unanswered += 4
        self.unmeasured = True
        out = self.out
        if not out:
            self._ready()
        out += (
            _HEAD(block << 8 | _HEADERS, _END_HEADERS, number),
            known[1],
            varying.encode(),
            _MESSAGE(size << 8, _END_STREAM, number, 0, length),
            body,
        )
        return True

    def _on_whole(self, number: int, block: bytes, body: bytes) -> bool:
        stream = self.streams.get(number)
        if stream is None or stream.headed or not stream.receiving or not stream.collects:
            return False
        head = self._decoder.quick(block)
        if head is None:
            return False
        stream.headed = True
        stream.receiving = False
        if not stream.sending:
            self._finished(stream)
        stream.on_whole(head, body)
        return True

    def _unknown(self, number: int, block: Block, end: bool) -> None:
        if number not in self._forgotten:
            raise Fault(code.PROTOCOL_ERROR, "a head of a stream that is not open")
        self.nuisance()

    def _check(self, block: Block) -> None:
        if block.fault:
            raise StreamFault(code.PROTOCOL_ERROR, block.fault)
        if block.size > self.bounds.head or block.lines > self.bounds.lines:
            raise StreamFault(code.ENHANCE_YOUR_CALM, f"the head of a reply is over {self.bounds.head} bytes")
        if _STATUS.fullmatch(block.head.get(":status", "")) is None:
            raise StreamFault(code.PROTOCOL_ERROR, "a reply without a status")
        if sum(name[0] == ":" for name in block.head) != 1:
            raise StreamFault(code.PROTOCOL_ERROR, "a pseudo header of a request in a reply")

    def _interim(self, block: Block, end: bool) -> bool:
        if block.head[":status"][0] != "1":
            return False
        if end or block.head[":status"] == "101":
            raise StreamFault(code.PROTOCOL_ERROR, "an interim reply that ends the stream")
        self.nuisance()
        return True

    def _idle(self, number: int) -> bool:
        return number % 2 == 0 or number >= self._next

    def _ours(self, number: int) -> bool:
        return True


def _take_host(head: Head) -> None:
    """The authority of a request is its host; it is named once, or twice alike."""
    host = head.pop(":authority", None)
    given = head.get("host", host)
    if given is None:
        return
    if (host is not None and host != given) or HOST.fullmatch(given) is None:
        raise StreamFault(code.PROTOCOL_ERROR, f"no host: {given[:80]!r}")
    head["host"] = given
