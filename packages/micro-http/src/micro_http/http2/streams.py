"""The streams of an HTTP/2 connection: how they begin and end, what they hold, and what a peer may cost.

Two windows bound what a peer may send. Each stream's grows again as its reader takes what arrived, so that a slow
reader stops its own sender alone. The connection's grows again at once, but not while more than `budget` bytes
altogether wait to be read.

A peer that only makes work is sent away. Whatever costs us something and moves no call forward (SETTINGS, PRIORITY,
empty DATA, PING without DATA of ours, windows that grow without it or a new stream, streams that are opened and reset)
is a nuisance; calls that are answered and time that passes excuse it, and above `MAX_NUISANCE` the connection ends with
ENHANCE_YOUR_CALM.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from micro_core import Clock

from micro_http.http2 import faults as code
from micro_http.http2 import frames as fr
from micro_http.http2.faults import Fault
from micro_http.http2.sending import Sending, Stream

MAX_NUISANCE = 450
EXCUSED = 50
"""Nuisances that a second excuses."""

ENOUGH = 32_768
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a peer may do.

    Attributes:
        head: bytes of a head.
        lines: fields of a head.
        window: bytes of a stream that wait for their reader.
        budget: bytes of all streams together that wait.
        streams: how many a peer may open at once.
    """

    head: int = 16 * 1024
    lines: int = 100
    window: int = 64 * 1024
    budget: int = 16 * 1024 * 1024
    streams: int = 256


class Streams(Sending):
    """What is open, and what it costs.

    Attributes:
        failed: the connection is over: write what `collect` gives, then close.
        settled: whether the peer's SETTINGS have arrived.
        leaving: no more streams are taken, by whoever accepts them.
        last: the highest number that the peer has used.
    """

    def __init__(self, bounds: Bounds, clock: Clock, ready: Callable[[], None]) -> None:
        super().__init__(ready)
        self.bounds = bounds
        self.failed = False
        self.settled = False
        self.leaving = False
        self.last = 0
        self._clock = clock
        self._forgotten: dict[int, None] = {}
        self._held = 0
        self._taken = 0
        self._credit = fr.DEFAULT_WINDOW
        self._nuisances = 0.0
        self._excused = 0.0
        self._pinged = False

    # What arrived and was taken

    def took(self, stream: Stream, size: int) -> None:
        """So many bytes of a stream were taken by its reader."""
        stream.held -= size
        self._held -= size
        if stream.receiving:
            self._open(stream)
        if self._taken >= ENOUGH:
            self._replenish()

    def _open(self, stream: Stream) -> None:
        """The stream's window, once it is half closed without need."""
        window = self.bounds.window
        more = window - stream.held - stream.credit
        if more >= window // 2:
            self.write(fr.frame(fr.WINDOW_UPDATE, 0, stream.number, fr.WORD.pack(more)))
            stream.credit += more

    def _replenish(self) -> None:
        if self._taken and self._held <= self.bounds.budget and not self.failed:
            self._credit += self._taken
            self.write(fr.frame(fr.WINDOW_UPDATE, 0, 0, fr.WORD.pack(self._taken)))
            self._taken = 0

    # Beginnings and ends

    def _add(self, stream: Stream, number: int) -> None:
        stream.number = number
        stream.window = self._initial
        stream.credit = self.bounds.window
        self.streams[number] = stream
        self.unanswered += 2  # the library of gRPC says of each how much it would take

    def _settle(self, stream: Stream) -> None:
        """The peer's side has ended."""
        if not stream.sending:
            self._finished(stream)

    def _finished(self, stream: Stream) -> None:
        if self.streams.pop(stream.number, None) is not None and self._nuisances:
            self._nuisances = max(0.0, self._nuisances - 4)
        if self.leaving and not self.streams:
            self.emptied()

    def _forget(self, stream: Stream) -> None:
        """Cut short, by either side."""
        number = stream.number
        if self.streams.pop(number, None) is None:
            return
        self._waiting.pop(number, None)
        stream.pending = b""
        stream.written = 0
        if stream.gathered:
            stream.parts.clear()
            stream.gathered = 0
        stream.receiving = stream.sending = False
        self._held -= stream.held
        stream.held = 0
        self._replenish()
        if self.leaving and not self.streams:
            self.emptied()

    def emptied(self) -> None:
        """No streams are left of a connection that takes no more."""

    def reset(self, number: int, fault: int, text: str = "") -> None:
        """Cuts a stream short; it is told when `text` says why."""
        stream = self.streams.get(number)
        if stream is not None:
            self._forget(stream)
        self._remember(number)
        if not self.failed:
            self.write(fr.frame(fr.RST_STREAM, 0, number, fr.WORD.pack(fault)))
        if text:
            if stream is not None:
                stream.on_reset(fault, text, True)
            self.nuisance(5)

    def _remember(self, number: int) -> None:
        """The peer may say more on a stream that is over for us: it had not heard of that, or has no better manners."""
        if len(self._forgotten) >= _REMEMBERED:
            del self._forgotten[next(iter(self._forgotten))]
        self._forgotten[number] = None

    def fail(self, fault: int, text: str) -> None:
        """The connection is over: GOAWAY, and every stream is told.

        A peer that sent no SETTINGS speaks no HTTP/2, and has processed nothing.
        """
        if self.failed:
            return
        self.goaway(fault, text.encode()[:200])
        self.failed = True
        self.lost(text, processed=self.settled)

    def lost(self, text: str, *, processed: bool = True) -> None:
        """The connection is gone: every stream is told."""
        self.failed = True
        for stream in tuple(self.streams.values()):
            self._forget(stream)
            stream.on_reset(code.INTERNAL_ERROR, text, processed)

    def goaway(self, fault: int = code.NO_ERROR, text: bytes = b"", *, warning: bool = False) -> None:
        """Tells the peer to open no more streams; a `warning` (RFC 9113 §6.8) still takes those on their way."""
        last = fr.MAX_WINDOW if warning else self.last
        self.write(fr.frame(fr.GOAWAY, 0, 0, fr.WORD.pack(last) + fr.WORD.pack(fault) + text))

    def ping(self) -> bool:
        """Asks whether the peer is there; False when it has not answered the last one."""
        if self._pinged:
            return False
        self._pinged = True
        self.write(fr.frame(fr.PING, 0, 0, b"are you?"))
        return True

    def answered(self) -> None:
        """The peer answered a PING."""

    def nuisance(self, weight: int = 1) -> None:
        """The peer made work."""
        now = self._clock()
        self._nuisances = max(0.0, self._nuisances - (now - self._excused) * EXCUSED) + weight
        self._excused = now
        if self._nuisances > MAX_NUISANCE:
            raise Fault(code.ENHANCE_YOUR_CALM, "too many frames that move nothing forward")

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer's windows."""
        return sum(len(stream.pending) - stream.written for stream in self._waiting.values())

    @abstractmethod
    def _idle(self, number: int) -> bool:
        """Whether that stream was never opened."""

    @abstractmethod
    def _ours(self, number: int) -> bool:
        """Whether this side opened it."""

    def _open_windows(self) -> None:
        """The connection's window from its default to what streams may need together."""
        more = 1024 * 1024 - self._credit
        self._credit += more
        self.write(fr.frame(fr.WINDOW_UPDATE, 0, 0, fr.WORD.pack(more)))
