"""One end of an HTTP/2 connection (RFC 9113), without I/O: bytes in, calls of streams' methods, bytes out.

`receive` takes what arrived and tells each stream what became of it; `collect` gives what is to be written, and
`ready` is called when there is something. Nothing here waits: what a closed window does not let through stays with
its stream, which is told when all of it is out.

A peer that breaks the protocol ends its stream (RST_STREAM) or the connection (GOAWAY), as the RFC has it for each
frame; header blocks are decoded even then, since both tables must stay the same.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from micro_core import Clock, Head

from micro_http.http2 import faults as code
from micro_http.http2 import frames as fr
from micro_http.http2.control import Control
from micro_http.http2.decoder import Block, Decoder, Names
from micro_http.http2.faults import Fault, StreamFault
from micro_http.http2.sending import Stream
from micro_http.http2.streams import ENOUGH, Bounds
from micro_http.names import FRAMING

_DATA, _END_HEADERS, _END_STREAM = fr.DATA, fr.END_HEADERS, fr.END_STREAM
_WORD, _SHORTEST, _LONGEST_QUICK = 4, 2 * fr.FRAME, 512
MAX_FRAGMENTS = 64
"""Frames of one head."""


_Head: TypeAlias = tuple[Callable[[bytes, int], tuple[int, int, bytes, int, int, int]], int] | None


class _Heads(dict[int, _Head]):
    """How a HEADERS frame and the header of a frame behind it are read, and where that frame's payload begins.

    By the word that the first begins with, its size and its type; None for other types, and for large ones.
    """

    def __missing__(self, word: int) -> _Head:
        size = word >> 8
        if word & 0xFF != fr.HEADERS or size >= _LONGEST_QUICK:
            return None
        self[word] = found = struct.Struct(f">BI{size}sIBI").unpack_from, size + 2 * fr.FRAME
        return found


_HEADS = _Heads()


class Link(Control):
    """What client and server have in common.

    Attributes:
        moved: counts the turns in which a frame, or a head of several, was completed.
    """

    def __init__(self, bounds: Bounds, clock: Clock, names: Names, ready: Callable[[], None]) -> None:
        super().__init__(bounds, clock, ready)
        self.moved = 0
        self._decoder = Decoder(bounds.head, bounds.lines, names, self._check)
        self._rest = b""
        self._fragments: list[bytes] = []
        self._fragment_of = 0
        self._fragment_flags = 0
        self._most_at_once = min(bounds.window, fr.MIN_FRAME_SIZE)
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            fr.DATA: self._on_data,
            fr.HEADERS: self._on_headers,
            fr.CONTINUATION: self._on_continuation,
            fr.PRIORITY: self._on_priority,
            fr.RST_STREAM: self._on_rst_stream,
            fr.SETTINGS: self._on_settings,
            fr.PUSH_PROMISE: self._on_push_promise,
            fr.PING: self._on_ping,
            fr.GOAWAY: self._on_goaway,
            fr.WINDOW_UPDATE: self._on_window_update,
        }

    # Reading

    def receive(self, data: bytes) -> None:
        """Takes what arrived.

        A peer that broke the protocol is told, and `failed` is set: write what `collect` gives, then close.
        """
        if self.failed:
            return
        try:
            self._receive(self._rest + data if self._rest else data)
        except Fault as fault:
            self.fail(fault.code, str(fault))

    def _receive(self, data: bytes) -> None:
        pos, end, unpack = 0, len(data), fr.HEADER.unpack_from
        while end - pos >= fr.FRAME:
            first, flags, number = unpack(data, pos)
            number &= 0x7FFFFFFF  # the first bit is reserved (RFC 9113 §4.1)
            size = first >> 8
            if size > fr.MIN_FRAME_SIZE:
                raise Fault(code.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            stop = pos + fr.FRAME + size
            if stop > end:
                break
            kind = first & 0xFF
            if self._fragment_of or not self.settled:
                self._check_sequence(kind, flags, number)
            elif kind == fr.HEADERS and flags == fr.END_HEADERS and (after := self._take_calls(data, pos, end)) != pos:
                if self.failed:
                    return
                pos = after
                continue
            payload = data[pos + fr.FRAME : stop]
            pos = stop
            try:
                self._handlers.get(kind, self._on_unknown)(number, flags, payload)
            except StreamFault as fault:
                self.reset(number, fault.code, str(fault))
            if self.failed:
                return
        self._rest = data[pos:]
        if pos and not self._fragment_of:
            self.moved += 1

    def _take_calls(self, data: bytes, pos: int, end: int) -> int:
        """Takes heads that have all of their bodies right behind them, the common case; where others begin."""
        word, on_whole = fr.WORD.unpack_from, self._on_whole
        while end - pos >= _SHORTEST:
            known = _HEADS[word(data, pos)[0]]
            if known is None or end - pos < known[1]:
                break
            unpack, begin = known
            flags, number, block, second, ends, same = unpack(data, pos + _WORD)
            begin += pos
            size: int = second >> 8
            after = begin + size
            if (
                flags != _END_HEADERS
                or ends != _END_STREAM
                or second & 0xFF != _DATA
                or same != number
                or number > fr.MAX_WINDOW
                or after > end
                or size > self._most_at_once
                or size > self._credit
                or not on_whole(number, block, data[begin:after])
            ):
                break
            pos = after
            self._credit -= size
            self._taken += size
            if self._taken >= ENOUGH:
                self._replenish()
            if self.failed:
                break
        return pos

    @abstractmethod
    def _on_whole(self, number: int, block: bytes, body: bytes) -> bool:
        """All that the peer has to say on a stream; False where that cannot be, or the block is not a usual one."""

    @property
    def unfinished(self) -> bool:
        """Whether a frame, or a head of several, has begun and not ended."""
        return self._rest != b"" or self._fragment_of != 0

    @property
    def in_body(self) -> bool:
        """Whether what is unfinished is DATA."""
        return not self._fragment_of and self._rest[3:4] == b"\0"

    def _check_sequence(self, kind: int, flags: int, number: int) -> None:
        if self._fragment_of:
            if kind != fr.CONTINUATION or number != self._fragment_of:
                raise Fault(code.PROTOCOL_ERROR, "a head is not continued")
        elif kind != fr.SETTINGS or flags & fr.ACK:
            raise Fault(code.PROTOCOL_ERROR, "the first frame is not SETTINGS")

    # Heads

    def _on_headers(self, number: int, flags: int, payload: bytes) -> None:
        if flags & (fr.PADDED | fr.PRIORITIZED):
            payload = _unpadded(payload) if flags & fr.PADDED else payload
            if flags & fr.PRIORITIZED:
                if len(payload) < 5:
                    raise Fault(code.FRAME_SIZE_ERROR, "HEADERS without room for a priority")
                if fr.WORD.unpack_from(payload)[0] & 0x7FFFFFFF == number:
                    raise Fault(code.PROTOCOL_ERROR, "a stream that depends on itself")
                payload = payload[5:]
        if number == 0:
            raise Fault(code.PROTOCOL_ERROR, "HEADERS without a stream")
        if flags & fr.END_HEADERS:
            self._on_block(number, flags, payload)
        else:
            self._fragment_of, self._fragment_flags, self._fragments = number, flags, [payload]

    def _on_continuation(self, number: int, flags: int, payload: bytes) -> None:
        if not self._fragment_of:
            raise Fault(code.PROTOCOL_ERROR, "a continuation of nothing")
        self._fragments.append(payload)
        if len(self._fragments) > MAX_FRAGMENTS or sum(map(len, self._fragments)) > 2 * self.bounds.head + 4096:
            raise Fault(code.ENHANCE_YOUR_CALM, "a head without end")
        if flags & fr.END_HEADERS:
            self._fragment_of = 0
            data = b"".join(self._fragments)
            self._fragments.clear()
            try:
                self._on_block(number, self._fragment_flags, data)
            except StreamFault as fault:
                self.reset(number, fault.code, str(fault))

    def _on_block(self, number: int, flags: int, data: bytes) -> None:
        block = self._decoder.decode(data)
        end = flags & fr.END_STREAM != 0
        stream = self.streams.get(number)
        if stream is None:
            self._unknown(number, block, end)
        elif not stream.receiving:
            raise StreamFault(code.STREAM_CLOSED, "a head behind the end")
        elif stream.headed:
            self._on_trailers(stream, block, end)
        else:
            if not block.checked:
                self._check(block)
                if self._interim(block, end):
                    return
            self._begin(stream, block.head, end)

    def _on_trailers(self, stream: Stream, block: Block, end: bool) -> None:
        if not end:
            raise StreamFault(code.PROTOCOL_ERROR, "trailers that do not end the stream")
        if block.fault or any(name[0] == ":" or name in FRAMING for name in block.head):
            raise StreamFault(code.PROTOCOL_ERROR, block.fault or "a field in trailers that belongs to a head")
        if block.size > self.bounds.head or block.lines > self.bounds.lines:
            raise StreamFault(code.ENHANCE_YOUR_CALM, f"trailers over {self.bounds.head} bytes")
        self._counted(stream, 0, True)
        stream.receiving = False
        self._settle(stream)
        stream.on_trailer(block.head)

    def _begin(self, stream: Stream, head: Head, end: bool) -> None:
        stream.headed = True
        length = head.pop("content-length", None)
        if length is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 20):
                raise StreamFault(code.PROTOCOL_ERROR, f"no content length: {length[:80]!r}")
            stream.expected = int(length)
            self._counted(stream, 0, end)
        if end:
            stream.receiving = False
            self._settle(stream)
        stream.on_head(head, end)

    def _counted(self, stream: Stream, size: int, end: bool) -> None:
        """Holds the body against its content-length."""
        if stream.expected >= 0:
            stream.expected -= size
            if stream.expected < 0 or (end and stream.expected):
                raise StreamFault(code.PROTOCOL_ERROR, "the body is not as long as its content-length")

    @abstractmethod
    def _unknown(self, number: int, block: Block, end: bool) -> None:
        """A head of a stream that is not there."""

    @abstractmethod
    def _check(self, block: Block) -> None:
        """Whether the first head of a stream is one. Raises StreamFault."""

    def _interim(self, block: Block, end: bool) -> bool:
        return False

    # Bodies

    def _on_data(self, number: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        self._credit -= size
        if self._credit < 0:
            raise Fault(code.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        stream = self.streams.get(number)
        if stream is None or not stream.receiving:
            self._stray(number, size)
            return
        stream.credit -= size
        if flags & fr.PADDED:
            payload = _unpadded(payload)
            self._taken += size - len(payload)
            size = len(payload)
        end = flags & fr.END_STREAM != 0
        self._check_data(stream, size, end)
        self._taken += size
        if stream.collects:
            if not end:
                self._open(stream)
        else:
            stream.held += size
            self._held += size
        if end:
            stream.receiving = False
            if not stream.sending:
                self._finished(stream)
        stream.on_data(payload, end)
        if self._taken >= ENOUGH:
            self._replenish()

    def _check_data(self, stream: Stream, size: int, end: bool) -> None:
        if stream.credit < 0 or not stream.headed:
            self._taken += size
            if stream.headed:
                raise StreamFault(code.FLOW_CONTROL_ERROR, "more DATA than the stream's window")
            raise StreamFault(code.PROTOCOL_ERROR, "DATA in front of a head")
        if not size and not end:
            self.nuisance(5)
        if stream.expected >= 0:
            self._counted(stream, size, end)

    def _stray(self, number: int, size: int) -> None:
        """DATA of a stream that takes none: of one that was reset it may be on its way still."""
        if number == 0 or self._idle(number):
            raise Fault(code.PROTOCOL_ERROR, "DATA of a stream that was never opened")
        self._taken += size
        self._replenish()
        self.nuisance()
        if number in self.streams:
            raise StreamFault(code.STREAM_CLOSED, "DATA behind the end")
        if number not in self._forgotten:
            raise Fault(code.STREAM_CLOSED, "DATA of a stream that is closed")


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise Fault(code.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
