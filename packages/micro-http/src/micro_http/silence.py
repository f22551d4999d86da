"""Peers that fell silent: their machine, cable or kernel is gone, so that neither FIN nor RST will ever come.

The system finds out, on every connection of a client or a listener. One that is quiet is asked by keepalive, from
`QUIET` seconds on; on one that is not, what was sent and is not acknowledged fails after `UNANSWERED`
(TCP_USER_TIMEOUT, RFC 5482). Both are over within ten seconds, and the connection is lost like any other: handlers are
cancelled with GONE, calls and streams fail with it. Where a platform lacks one of the options, what the system does by
itself remains.

A peer that is there but does not read is not silent, yet Linux takes it for that: by the same option it ends a
connection whose window was closed for as long. For calls that is as good. A stream may be stalled by its reader for
any time, so `Slack` takes the option off a pipe that is full, and puts it back on one that flows again. A reader that
falls silent while it rests is then noticed by its sender as late as the system finds out, which Linux cannot be told:
keepalive asks nothing while something waits to be sent, and probes of a closed window come ever more seldom.

Nor is a peer that left while nobody read from it: its end waits behind what it had sent. `Resting` looks for it.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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

LOOK = 2.0
"""Seconds between two looks at the pipe of a stream; several fit into `UNANSWERED`."""

SOON = 0.03
"""Seconds between two looks whether peers have left that nobody reads from."""

_LEFT = getattr(select, "POLLRDHUP", 0)
_AT_ONCE = struct.pack("ii", 1, 0)
_IN_TURN = struct.pack("ii", 0, 0)
_INFO = struct.Struct("=24xI116xI")
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


def full(peer: Any) -> bool:
    """Whether the peer has acknowledged what it was sent and takes no more."""
    unacknowledged, unsent = _waiting(peer)
    return bool(unsent) and not unacknowledged


def stuck(peer: Any) -> bool:
    """Whether an end would wait behind what the peer has not taken yet."""
    return bool(_waiting(peer)[1])


def _waiting(peer: Any) -> tuple[int, int]:
    """`tcpi_unacked` and `tcpi_notsent_bytes`; zeros where the system does not tell."""
    if _TCP_INFO is None:
        return 0, 0
    try:
        told = peer.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO.size)
    except _GONE:
        return 0, 0
    return _INFO.unpack(told) if len(told) == _INFO.size else (0, 0)


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

    __slots__ = ("_loop", "_timer", "_wire", "taken_off")

    def __init__(self, loop: Loop, wire: Wire) -> None:
        self.taken_off = False
        self._loop = loop
        self._wire = wire
        self._timer: Timer | None = None
        if _TCP_INFO is not None and _USER_TIMEOUT is not None:
            self._timer = loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._wire.is_closing():
            self._allow(full(self._wire.get_extra_info("socket")))
            self._timer = self._loop.call_later(LOOK, self._look)

    def _allow(self, stalled: bool) -> None:
        if stalled != self.taken_off and _USER_TIMEOUT is not None:
            self.taken_off = stalled
            milliseconds = 0 if stalled else int(UNANSWERED * 1000)
            _set(self._wire.get_extra_info("socket"), socket.IPPROTO_TCP, _USER_TIMEOUT, milliseconds)

    def stop(self) -> None:
        """The stream is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._wire.is_closing():
            self._allow(False)
