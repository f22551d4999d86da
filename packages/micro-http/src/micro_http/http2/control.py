"""Frames that are no part of a call: SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM, PRIORITY (RFC 9113 §6)."""

from __future__ import annotations

from collections.abc import Callable

from micro_core import Clock

from micro_http.http2 import faults as code
from micro_http.http2 import frames as fr
from micro_http.http2.faults import Fault, StreamFault
from micro_http.http2.sending import Stream
from micro_http.http2.streams import Bounds, Streams


class Control(Streams):
    """What the peer says of the connection.

    Attributes:
        max_streams: how many streams the peer takes at once.
    """

    def __init__(self, bounds: Bounds, clock: Clock, ready: Callable[[], None]) -> None:
        super().__init__(bounds, clock, ready)
        self.max_streams = 100

    def _on_unknown(self, number: int, flags: int, payload: bytes) -> None:
        self.nuisance()

    def _on_priority(self, number: int, flags: int, payload: bytes) -> None:
        self.nuisance()
        if number == 0:
            raise Fault(code.PROTOCOL_ERROR, "PRIORITY without a stream")
        if len(payload) != 5:
            fault = Fault if self._idle(number) else StreamFault  # a stream that is idle cannot be reset
            raise fault(code.FRAME_SIZE_ERROR, "PRIORITY is 5 bytes")
        if fr.WORD.unpack_from(payload)[0] & 0x7FFFFFFF == number:
            fault = Fault if self._idle(number) else StreamFault
            raise fault(code.PROTOCOL_ERROR, "a stream that depends on itself")

    def _on_rst_stream(self, number: int, flags: int, payload: bytes) -> None:
        if number == 0 or self._idle(number):
            raise Fault(code.PROTOCOL_ERROR, "RST_STREAM of a stream that was never opened")
        if len(payload) != 4:
            raise Fault(code.FRAME_SIZE_ERROR, "RST_STREAM is 4 bytes")
        self.nuisance()
        stream = self.streams.get(number)
        if stream is not None:
            fault = fr.WORD.unpack(payload)[0]
            self._forget(stream)
            stream.on_reset(fault, f"the peer reset the stream (code {fault})", fault != code.REFUSED_STREAM)

    def _on_settings(self, number: int, flags: int, payload: bytes) -> None:
        self.settled = True
        if number:
            raise Fault(code.PROTOCOL_ERROR, "SETTINGS of a stream")
        if len(payload) % 6 or (flags & fr.ACK and payload):
            raise Fault(code.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
        self.nuisance(1 + len(payload) // 48)
        if flags & fr.ACK:
            return
        self.write(fr.frame(fr.SETTINGS, fr.ACK, 0))  # in front of what a larger window lets out
        for name, value in fr.SETTING.iter_unpack(payload):
            self._set(name, value)

    def _set(self, name: int, value: int) -> None:
        if name == fr.HEADER_TABLE_SIZE:
            self.encoder.resize(value)
        elif name == fr.ENABLE_PUSH and (value > 1 or (value and self._ours(1))):
            raise Fault(code.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        elif name == fr.MAX_CONCURRENT_STREAMS:
            self.max_streams = value
        elif name == fr.INITIAL_WINDOW_SIZE:
            self._resize_windows(value)
        elif name == fr.MAX_FRAME_SIZE:
            if not fr.MIN_FRAME_SIZE <= value <= fr.MAX_FRAME:
                raise Fault(code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
            self._max_frame = min(value, 256 * 1024)

    def _resize_windows(self, value: int) -> None:
        if value > fr.MAX_WINDOW:
            raise Fault(code.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE is {value}")
        change, self._initial = value - self._initial, value
        for stream in tuple(self.streams.values()):
            stream.window += change
            if stream.window > fr.MAX_WINDOW:
                raise Fault(code.FLOW_CONTROL_ERROR, "a window over 2^31 - 1 bytes")
        if change > 0:
            self._write_waiting()

    def _on_push_promise(self, number: int, flags: int, payload: bytes) -> None:
        raise Fault(code.PROTOCOL_ERROR, "PUSH_PROMISE, which was not enabled")

    def _on_ping(self, number: int, flags: int, payload: bytes) -> None:
        if number:
            raise Fault(code.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise Fault(code.FRAME_SIZE_ERROR, "PING is 8 bytes")
        if flags & fr.ACK:
            self._pinged = False
            self.answered()
        else:
            if not self.unmeasured:
                self.nuisance(2)
            self.unmeasured = False
            self.write(fr.frame(fr.PING, fr.ACK, 0, payload))

    def _on_goaway(self, number: int, flags: int, payload: bytes) -> None:
        if number:
            raise Fault(code.PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise Fault(code.FRAME_SIZE_ERROR, "GOAWAY is 8 bytes at least")
        self.nuisance()
        self.leaving = True
        last = fr.WORD.unpack_from(payload)[0] & 0x7FFFFFFF
        fault = fr.WORD.unpack_from(payload, 4)[0]
        for stream in tuple(self.streams.values()):
            if stream.number > last and self._ours(stream.number):
                self._remember(stream.number)
                self._forget(stream)
                stream.on_reset(fault, "the peer takes no more calls on this connection", False)
        if not self.streams:
            self.emptied()

    def _on_window_update(self, number: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(code.FRAME_SIZE_ERROR, "WINDOW_UPDATE is 4 bytes")
        more = fr.WORD.unpack(payload)[0] & 0x7FFFFFFF
        if self.unanswered:
            self.unanswered -= 1
        else:
            self.nuisance()
        if number == 0:
            self._grow(more)
        elif self._idle(number):
            raise Fault(code.PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that was never opened")
        elif (stream := self.streams.get(number)) is None:
            self.nuisance()
        else:
            self._grow_stream(stream, more)

    def _grow(self, more: int) -> None:
        if more == 0:
            raise Fault(code.PROTOCOL_ERROR, "a window that grows by nothing")
        self._window += more
        if self._window > fr.MAX_WINDOW:
            raise Fault(code.FLOW_CONTROL_ERROR, "a window over 2^31 - 1 bytes")
        self._write_waiting()

    def _grow_stream(self, stream: Stream, more: int) -> None:
        if more == 0:
            raise StreamFault(code.PROTOCOL_ERROR, "a window that grows by nothing")
        stream.window += more
        if stream.window > fr.MAX_WINDOW:
            raise StreamFault(code.FLOW_CONTROL_ERROR, "a window over 2^31 - 1 bytes")
        if stream.number in self._waiting:
            self._push(stream)
