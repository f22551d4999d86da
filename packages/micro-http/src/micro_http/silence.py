"""Peers that fell silent: their machine, cable or kernel is gone, so that neither FIN nor RST will ever come.

The system finds out, on every connection of a client or a listener. One that is quiet is asked by keepalive, from
`QUIET` seconds on; on one that is not, what was sent and is not acknowledged fails after `UNANSWERED`
(TCP_USER_TIMEOUT, RFC 5482). Both are over within ten seconds, and the connection is lost like any other: handlers are
cancelled with GONE, calls and streams fail with it. Where a platform lacks one of the options, what the system does by
itself remains.

A peer that is there but does not read is not silent, yet Linux takes it for that: by the same option it ends a
connection whose window was closed for as long. For calls that is as good. A stream may be stalled by its reader for
any time, so `Slack` moves that end of a pipe that is full ahead of itself, by `AHEAD` at every look. It stays near,
because Linux, since 5.11, probes the closed window once more before it: otherwise the probes, which a reader that rests
answers, would come ever more seldom, and keepalive asks nothing while something waits to be sent. Who gave no answer
for `UNHEARD` seconds is silent. On an older kernel such an end is taken off instead, and the silence of a reader that
rests is noticed when the system does.

Nor is a peer that left while nobody read from it: its end waits behind what it had sent. `Resting` looks for it.
"""

from __future__ import annotations

import platform
import re
import select
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from micro_http.loops import Loop, Timer, Wire

QUIET = 4
"""Seconds without a sign of the peer after which the system asks for one."""

AGAIN = 2
"""Seconds between two such questions."""

TIMES = 2
"""How many of them may remain without an answer."""

UNANSWERED = 7.0
"""Seconds for which what was sent may remain without an acknowledgement."""

LOOK = 1.0
"""Seconds between two looks at the pipe of a stream; several fit into `AHEAD`."""

AHEAD = UNANSWERED - LOOK
"""Seconds by which the end of a full pipe is moved ahead; its peer is asked at least every `AHEAD + LOOK`."""

UNHEARD = UNANSWERED + 1.0
"""Seconds after which whoever owes the pipe of a stream an answer, and gave none, is silent."""

SOON = 0.03
"""Seconds between two looks whether peers have left that nobody reads from."""

_LEFT = getattr(select, "POLLRDHUP", 0)
_AT_ONCE = struct.pack("ii", 1, 0)
_IN_TURN = struct.pack("ii", 0, 0)
_INFO = struct.Struct("=24xI28xI84xI")
_GONE = (OSError, ValueError)
"""What options of a closed socket raise; the latter by uvloop, which makes a socket of its number, now negative."""

_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_QUIET: int | None = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))


def notice_silence(peer: Any) -> None:
    """Sets the options on a socket, or on a listening one for those that it accepts. Never raises."""
    wanted = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, _QUIET, QUIET),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), AGAIN),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), TIMES),
        (socket.IPPROTO_TCP, _USER_TIMEOUT, int(UNANSWERED * 1000)),
    )
    for level, name, value in wanted:
        if name is not None:
            _set(peer, level, name, value)


def cut(wire: Wire) -> None:
    """Closes a connection whose peer does not read, for whom the kernel would keep what it was sent, and the end."""
    ends_by_reset(wire, True)
    wire.abort()


def ends_by_reset(wire: Wire, reset: bool) -> None:
    """Whether the peer sees a reset, at once, when this is closed, by the end of the process too, or an end in turn."""
    _set(wire.get_extra_info("socket"), socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE if reset else _IN_TURN)


def _set(peer: Any, level: int, name: int, value: int | bytes) -> None:
    try:
        peer.setsockopt(level, name, value)
    except _GONE:  # not a TCP socket, closed meanwhile, or a system that does not know the option after all
        return


def stuck(peer: Any) -> bool:
    """Whether an end would wait behind what the peer has not taken yet."""
    return bool(_told(peer).unsent)


class _Told(NamedTuple):
    """`tcpi_unacked` in segments, `tcpi_last_ack_recv` in milliseconds, `tcpi_notsent_bytes`."""

    unacknowledged: int = 0
    unheard: int = 0
    unsent: int = 0

    @property
    def full(self) -> bool:
        """Whether the peer has acknowledged what it was sent and takes no more."""
        return bool(self.unsent) and not self.unacknowledged


def _told(peer: Any) -> _Told:
    """What the system tells of a connection; zeros where it does not."""
    if _TCP_INFO is None:
        return _Told()
    try:
        told = peer.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO.size)
    except _GONE:
        return _Told()
    return _Told(*_INFO.unpack(told)) if len(told) == _INFO.size else _Told()


def _probes_before_the_end() -> bool:
    """Whether this is Linux 5.11 or later."""
    found = re.match(r"(\d+)\.(\d+)", platform.release()) if sys.platform == "linux" else None
    return found is not None and (int(found[1]), int(found[2])) >= (5, 11)


_PROBES = _probes_before_the_end()


class Resting:
    """Connections of a loop that nobody reads from; tells, once, those whose peers have left, or that were lost.

    One timer looks at all of them, and there is none where none rests.
    """

    __slots__ = ("_asked", "_loop", "_tell", "_timer")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._asked = select.poll() if hasattr(select, "poll") else None
        self._tell: dict[int, Callable[[], None]] = {}
        self._timer: Timer | None = None

    def begin(self, wire: Wire, tell: Callable[[], None]) -> int:
        """Nobody reads from now on. Gives what `end` takes."""
        number: int = wire.get_extra_info("socket").fileno()
        if self._asked is not None and number >= 0:
            self._asked.register(number, _LEFT)  # errors, and the end of both directions, are told unasked
            self._tell[number] = tell
            if self._timer is None:
                self._timer = self._loop.call_later(SOON, self._look)
        return number

    def end(self, number: int, tell: Callable[[], None]) -> None:
        """Somebody reads again, or there is nothing more to be read; may be said twice."""
        if self._asked is not None and self._tell.get(number) == tell:
            self._asked.unregister(number)
            del self._tell[number]

    def _look(self) -> None:
        self._timer = None
        if self._asked is None or not self._tell:
            return
        for number, _ in self._asked.poll(0):
            tell = self._tell[number]
            self.end(number, tell)
            tell()
        self._timer = self._loop.call_later(SOON, self._look)


class Slack:
    """Looks at the connection of a stream now and then, until it is stopped or the connection closes."""

    __slots__ = ("_allowed", "_flowed", "_loop", "_timer", "_wire")

    def __init__(self, loop: Loop, wire: Wire) -> None:
        self._loop = loop
        self._wire = wire
        self._allowed = UNANSWERED
        self._flowed = loop.clock()
        self._timer: Timer | None = None
        if _TCP_INFO is not None and _USER_TIMEOUT is not None:
            self._timer = loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._wire.is_closing():
            return
        told, now = _told(self._wire.get_extra_info("socket")), self._loop.clock()
        if told.unheard > UNHEARD * 1000 and (told.unacknowledged or (told.full and _PROBES)):
            cut(self._wire)
            return
        if not told.full:
            self._flowed = now
        stalled = now - self._flowed
        self._allow(UNANSWERED if not stalled else stalled + AHEAD if _PROBES else 0.0)
        self._timer = self._loop.call_later(LOOK, self._look)

    def _allow(self, seconds: float) -> None:
        """How long the system lets what was sent, or waits to be, stay unanswered; 0 is for ever."""
        if seconds != self._allowed and _USER_TIMEOUT is not None:
            self._allowed = seconds
            _set(self._wire.get_extra_info("socket"), socket.IPPROTO_TCP, _USER_TIMEOUT, int(seconds * 1000))

    def stop(self) -> None:
        """The stream is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._wire.is_closing():
            self._allow(UNANSWERED)
