"""The sending half of an HTTP/2 connection: heads, and bodies as far as the peer's windows let them through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from micro_core import Head

from micro_http.http2 import frames as fr
from micro_http.http2.encoder import Encoder

_HEAD = fr.HEADER.pack
_MESSAGE = fr.MESSAGE.pack
_HEADERS, _END_HEADERS, _END_STREAM = fr.HEADERS, fr.END_HEADERS, fr.END_STREAM
_SMALL = fr.MIN_FRAME_SIZE
_GATHERED = 16_384
_CRUMB = 64
"""Bytes of a frame that a window may be opened for without being a nuisance, unless no more are left."""


class Stream(ABC):
    """One stream of a connection.

    Attributes:
        number: odd for those that the client opened.
        receiving: whether the peer may still send on it.
        sending: whether this side may.
        headed: whether the peer's head has arrived.
        held: bytes that the peer has sent and nobody has taken.
        credit: bytes that the peer may send.
        window: bytes that this side may send.
        collects: whether what arrives counts as taken at once.
        expected: bytes of the peer's body that its content-length promises still; -1 where it said nothing.
        pending: bytes that wait for the peer's windows, those in front of `written` excepted.
    """

    # Defaults of the class, not of each instance: most streams change few of them.
    number = 0
    receiving = True
    sending = True
    headed = False
    held = 0
    window = 0
    credit = 0
    expected = -1
    gathered = 0
    pending = b""
    written = 0
    ends = False
    collects = False
    trailer: Head | None = None
    parts: list[bytes]

    @property
    def blocked(self) -> bool:
        """Whether something waits for the peer's window."""
        return bool(self.pending)

    @abstractmethod
    def on_head(self, head: Head, end: bool) -> None:
        """The first head."""

    @abstractmethod
    def on_trailer(self, head: Head) -> None:
        """The head that ends the peer's side."""

    @abstractmethod
    def on_data(self, data: bytes, end: bool) -> None:
        """Bytes of the body, which count as held until `Link.took` says otherwise."""

    def on_whole(self, head: Head, body: bytes) -> None:
        """The first head and all of the body at once; unlike that of `on_data` it counts as taken."""
        self.on_head(head, False)
        self.on_data(body, True)

    @abstractmethod
    def on_reset(self, fault: int, text: str, processed: bool) -> None:
        """It is over; `processed` says whether the peer may have acted on it. Called at most once."""

    def on_sent(self) -> None:  # noqa: B027 - few care
        """What had waited for the window is written."""


class Sending(ABC):
    """What is to be written, in order.

    Attributes:
        out: frames that are to be written.
        encoder: of the heads.
        streams: those that are open, by number.
        unanswered: how many WINDOW_UPDATE the peer may send, of new streams and in answer to our DATA.
        unmeasured: whether DATA was sent since the peer's last PING; gRPC's libraries measure the line by one.
    """

    def __init__(self, ready: Callable[[], None]) -> None:
        self.out: list[bytes] = []
        self.streams: dict[int, Stream] = {}
        self.encoder = Encoder()
        self.unanswered = 0
        self.unmeasured = False
        self._ready = ready
        self._window = fr.DEFAULT_WINDOW
        self._initial = fr.DEFAULT_WINDOW
        self._max_frame = fr.MIN_FRAME_SIZE
        self._waiting: dict[int, Stream] = {}
        self._gathering: list[Stream] = []

    def collect(self) -> bytes:
        """Everything that is to be written by now."""
        if self._gathering:
            for stream in self._gathering:
                self._spill(stream)
            self._gathering.clear()
        data = b"".join(self.out)
        self.out.clear()
        return data

    def write(self, data: bytes) -> None:
        """One frame, or several."""
        out = self.out
        if not out:
            self._ready()
        out.append(data)

    def send_head(self, stream: Stream, block: bytes, end: bool = False) -> None:
        """Writes a head, or trailers. The block must be the encoder's last."""
        if len(block) <= self._max_frame:
            self.write(fr.HEADER.pack(len(block) << 8 | fr.HEADERS, fr.END_HEADERS | end, stream.number) + block)
        else:
            self._write_long(stream.number, block, end)
        if end:
            self._end_sending(stream)

    def _write_long(self, number: int, block: bytes, end: bool) -> None:
        pieces = [block[at : at + self._max_frame] for at in range(0, len(block), self._max_frame)]
        for at, piece in enumerate(pieces):
            flags = fr.END_HEADERS if at == len(pieces) - 1 else 0
            kind = fr.CONTINUATION if at else fr.HEADERS
            self.write(fr.frame(kind, flags | (end and not at), number, piece))

    def send_data(self, stream: Stream, data: bytes, end: bool = False) -> None:
        """Writes a piece of the body, or as much of it as the windows let through; see `Stream.blocked`."""
        size = len(data)
        if not stream.pending and (
            not size or (size <= stream.window and size <= self._window and size <= self._max_frame)
        ):
            stream.window -= size
            self._window -= size
            self.unanswered += 2
            self.unmeasured = True
            self.write(fr.HEADER.pack(size << 8 | fr.DATA, end, stream.number) + data)
            if end:
                self._end_sending(stream)
            return
        stream.pending = stream.pending[stream.written :] + data
        stream.written = 0
        stream.ends = end
        self._waiting[stream.number] = stream
        self._push(stream)

    def send_whole(self, stream: Stream, block: bytes, body: bytes, framed: int) -> None:
        """Writes a head and a body that ends this side; as one message, behind its prefix, where it is `framed`."""
        length = len(body)
        size = length + 5 if framed else length
        if len(block) + size <= _SMALL and size <= stream.window and size <= self._window:
            self._window -= size
            self.unanswered += 2
            self.unmeasured = True
            number, out = stream.number, self.out
            if not out:
                self._ready()
            out += (
                _HEAD(len(block) << 8 | _HEADERS, _END_HEADERS, number),
                block,
                _MESSAGE(size << 8, _END_STREAM, number, 0, length)
                if framed
                else _HEAD(size << 8, _END_STREAM, number),
                body,
            )
            stream.sending = False
            if not stream.receiving:
                self._finished(stream)
        else:
            self.send_head(stream, block)
            self.send_data(stream, fr.PREFIX.pack(0, length) + body if framed else body, True)

    def gather(self, stream: Stream, prefix: bytes, body: bytes) -> None:
        """Writes a message together with what is sent until `collect`."""
        parts = stream.parts
        if not parts:
            if not self._gathering and not self.out:
                self._ready()
            self._gathering.append(stream)
        parts += (prefix, body)
        stream.gathered += len(body) + 5
        if stream.gathered >= _GATHERED:
            self._spill(stream)
            self._gathering.remove(stream)

    def finish(self, stream: Stream, trailer: Head | None = None) -> None:
        """Ends this side, behind what was gathered or waits. The trailer was looked at by `Encoder.check`."""
        if not trailer:
            self._spill(stream, end=True)
            return
        self._spill(stream)
        if stream.pending:
            stream.trailer = trailer
        elif stream.sending:
            self.send_head(stream, self.encoder.encode(trailer), end=True)

    def _spill(self, stream: Stream, end: bool = False) -> None:
        if stream.sending and (stream.gathered or end):
            data = b""
            if stream.gathered:
                data = b"".join(stream.parts)
                stream.parts.clear()
            stream.gathered = 0
            self.send_data(stream, data, end)

    def _push(self, stream: Stream) -> None:
        data = stream.pending
        pos, stop = stream.written, len(data)
        while pos < stop:
            size = min(stream.window, self._window, self._max_frame, stop - pos)
            if size <= 0:
                stream.written = pos
                return
            end = stream.ends and pos + size == stop
            stream.window -= size
            self._window -= size
            if size >= _CRUMB or pos + size == stop:
                self.unanswered += 2
                self.unmeasured = True
            self.write(fr.HEADER.pack(size << 8 | fr.DATA, end, stream.number) + data[pos : pos + size])
            pos += size
        stream.pending = b""
        stream.written = 0
        del self._waiting[stream.number]
        if stream.trailer is not None:
            self.send_head(stream, self.encoder.encode(stream.trailer), end=True)
        elif stream.ends:
            self._end_sending(stream)
        stream.on_sent()

    def _write_waiting(self) -> None:
        for stream in tuple(self._waiting.values()):
            if self._window <= 0:
                return
            if stream.number in self._waiting:
                self._push(stream)

    def _end_sending(self, stream: Stream) -> None:
        stream.sending = False
        if not stream.receiving:
            self._finished(stream)

    @abstractmethod
    def _finished(self, stream: Stream) -> None:
        """Both sides of a stream have ended."""
