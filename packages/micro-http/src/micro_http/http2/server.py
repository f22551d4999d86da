"""The server's end of HTTP/2: a connection whose streams are calls.

A server that leaves says GOAWAY twice: first that it takes what is on its way, and, a round trip later, that nothing
more will be taken. Streams beyond that are refused as not processed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from micro_core import Accept, Peer

from micro_http.address import format_address
from micro_http.http2 import faults as code
from micro_http.http2.driver import Driver
from micro_http.http2.ends import ServerLink
from micro_http.http2.served import ServedStream
from micro_http.http2.streams import Bounds
from micro_http.loops import Wire, half_closed
from micro_http.silence import cut
from micro_http.workers import AT_ONCE

if TYPE_CHECKING:
    from micro_http.listener import HTTPListener

_LINGER = 0.5
_BUDGET = 16 * 1024 * 1024
_NEVER = float("inf")


class HTTP2Server(Driver[ServerLink]):
    """One connection of a listener.

    Attributes:
        running: calls that run.
        collected: bytes of bodies that are not complete.
        begun: calls whose bodies did not come with their heads, in this turn.
        complete: calls that arrived whole in this turn.
        timed: calls whose bodies must arrive, or whose replies must be read, and when.
        due: clock seconds of the first of them, or of what else must happen.
    """

    def __init__(self, listener: HTTPListener, accept: Accept, wire: Wire) -> None:
        super().__init__(listener.loop)
        self.listener = listener
        self.accept = accept
        self.quiet = False
        self.due = _NEVER
        self.running = 0
        self.collected = 0
        self.begun: list[ServedStream] = []
        self.complete: list[tuple[ServedStream, bytes]] = []
        self.timed: dict[ServedStream, float] = {}
        self._lingering = False
        self._lost = False
        self._moved = 0
        self._settle_due = listener.clock() + listener.limits.head_seconds
        self._frame_due = _NEVER
        self._read_due = _NEVER
        limits = listener.limits
        bounds = Bounds(
            head=limits.head,
            lines=limits.lines,
            window=limits.buffer,
            budget=max(_BUDGET, 4 * limits.body),
            streams=limits.streams,
        )
        self.link = ServerLink(bounds, listener.clock, listener.http2_names, self.ready, partial(ServedStream, self))
        self.begin(wire, limits.buffer)
        name = wire.get_extra_info("peername")
        address = format_address(name[0], name[1]) if name else ""
        self.peer = Peer(address, wire.get_extra_info("identity"), "h2")
        self.rest()

    @property
    def busy(self) -> bool:
        """Whether a call runs."""
        return self.running > 0

    @property
    def fresh(self) -> bool:
        """Whether nothing has arrived yet that tells what the peer wants."""
        return self.link.last == 0

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        self.quiet = False
        if not self._lingering:
            super().data_received(data)
            if self.begun:
                self._time_bodies()
            if self.link.unfinished:
                self._time_frame()
            elif self._frame_due != _NEVER:
                self._frame_due = _NEVER
                self.rest()
            if self._settle_due != _NEVER and self.link.settled:
                self._settle_due = _NEVER
                self.rest()

    def received(self) -> None:
        """Begins the calls; of many the first, so that their replies go out while the rest is worked on."""
        complete = self.complete
        if complete:
            self.complete = []
            begin, spawn = self.loop.begin, self.loop.spawn
            for at, (stream, body) in enumerate(complete):
                stream.begin(begin if at < AT_ONCE else spawn, body)

    def _time_bodies(self) -> None:
        """Heads whose bodies did not come with them."""
        for stream in self.begun:
            if stream.receiving and stream.collects:
                self.time(stream)
        self.begun.clear()

    def _time_frame(self) -> None:
        """A frame that arrived in part; the one that did so before has arrived whole when the link has moved."""
        if self._frame_due == _NEVER or self._moved != self.link.moved:
            self._moved = self.link.moved
            limits = self.listener.limits
            self._frame_due = self.listener.clock() + (
                limits.body_seconds if self.link.in_body else limits.head_seconds
            )
            self.rest()

    def eof_received(self) -> bool:
        """The peer sends nothing more, and with that gives up what it waits for."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        self._lost = True
        self.link.lost("the connection is gone")
        self.timed.clear()
        if not self.running:
            self.listener.closed(self)

    def pause_writing(self) -> None:
        """The peer does not read."""
        super().pause_writing()
        self.wire.pause_reading()  # it would only ask for more
        self._read_due = self.listener.clock() + self.listener.limits.body_seconds
        self.rest()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self.wire.resume_reading()
        self._read_due = _NEVER
        self.rest()

    # Time

    def time(self, stream: ServedStream) -> None:
        """Its body must arrive, or its reply be read, from now on in time."""
        self.timed[stream] = self.listener.clock() + self.listener.limits.body_seconds
        self.rest()

    def rest(self) -> None:
        """What was waited for has changed; the first of it counts."""
        if self._lingering:
            return
        waiting = min(self.timed.values(), default=_NEVER)
        self.due = min(waiting, self._settle_due, self._frame_due, self._read_due)
        if self.due != _NEVER:
            self.listener.watch(self)

    def expire(self) -> None:
        """It did not happen."""
        now = self.listener.clock()
        if self._lingering or self._read_due <= now or self._settle_due <= now:
            self.due = _NEVER
            if self._read_due <= now:
                cut(self.wire)
            else:
                self.wire.abort()
            return
        if self._frame_due <= now:
            self._frame_due = _NEVER
            self.link.fail(code.ENHANCE_YOUR_CALM, "a frame did not arrive in time")
        for stream, due in tuple(self.timed.items()):
            if due <= now:
                stream.expire()
        self.rest()
        self.flush()

    def close_now(self) -> None:
        """Cancels the calls and closes."""
        self.link.fail(code.NO_ERROR, "the server closes")
        self.flush()
        self.wire.abort()

    def close_if_quiet(self) -> None:
        """Closes it when nothing happened since the last time this was asked."""
        if self.quiet and not self.running:
            self.link.fail(code.NO_ERROR, "idle for too long")
            self.flush()
        self.quiet = True

    def turn_away(self) -> None:
        """It is one too many: none of its calls is taken."""
        self.link.fail(code.ENHANCE_YOUR_CALM, "too many connections (option connections)")
        self.flush()

    def drain(self) -> None:
        """No more calls are wanted, but those on their way are taken."""
        self.link.leave()
        self.flush()

    def leave(self) -> None:
        """Closes once the peer had a chance to read why; see `micro_http.server`."""
        if self._lingering or self._lost:
            return
        self._lingering = True
        if half_closed(self.wire):
            self.due = self.listener.clock() + _LINGER
            self.listener.watch(self)

    def ended(self) -> None:
        """A call has ended."""
        self.running -= 1
        if self._lost and not self.running:
            self.listener.closed(self)
        elif self.listener.draining is not None:
            self.listener.ended()
