"""What drives an HTTP/2 connection: bytes from the wire into the link, what the link has to say back to the wire.

Frames are written together once a turn of the loop, since each write is a system call; at once where the connection
carries a single call, since then there is nothing to wait for.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from micro_http.http2.link import Link
from micro_http.loops import Loop, Wire

if TYPE_CHECKING:
    from micro_http.http2.channel import Channel


L = TypeVar("L", bound=Link)


class Driver(asyncio.Protocol, Generic[L]):
    """One connection.

    Attributes:
        may_write: whether the wire takes more.
        senders: who waits until it does.
        holding: whether what is said waits for a `flush` that is sure to come.
        enough: pieces of messages that are written without waiting for more, see `Loop.enough`.
        silent: whether nothing has arrived since this was set.
    """

    link: L
    wire: Wire

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.may_write = True
        self.senders: set[Channel] = set()
        self.holding = True
        self.silent = False
        self.enough = loop.enough

    def begin(self, wire: Wire, buffer: int) -> None:
        """From now on it writes to that wire."""
        self.wire = wire
        wire.set_write_buffer_limits(high=buffer)
        self.holding = False
        self.flush()

    def ready(self) -> None:
        """The link has something to say."""
        if not self.holding:
            if self.loop.soon is None:
                self.holding = True  # trio's wires gather by themselves, but the frame that is meant is not there yet
                self.loop.spawn(self._flush_later())
            else:
                self.loop.soon(self.flush)

    async def _flush_later(self) -> None:
        self.holding = False
        self.flush()

    def flush(self) -> None:
        """Writes what there is."""
        data = self.link.collect()
        if data and not self.wire.is_closing():
            self.wire.write(data)
        if self.link.failed:
            self.leave()

    @abstractmethod
    def leave(self) -> None:
        """The link has failed, and has said why."""

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        self.silent = False
        self.holding = True
        self.link.receive(data)
        self.received()
        self.holding = False
        self.flush()

    def received(self) -> None:
        """The link has taken what arrived; what is said now goes out with what it had to say."""

    def pause_writing(self) -> None:
        """The peer does not read."""
        self.may_write = False

    def resume_writing(self) -> None:
        """It does again."""
        self.may_write = True
        for channel in tuple(self.senders):
            channel.sent()


def wire_of(transport: asyncio.BaseTransport) -> Wire:
    """The transports of uvloop are no `asyncio.Transport`."""
    return cast("Wire", transport)
