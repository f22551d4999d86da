"""How a client comes to a connection: TCP, or TCP and TLS, where the peer's choice of a protocol is waited for.

Under TLS a connection counts as made when the peer has said something: HTTP/2's SETTINGS, or, in HTTP/1.1, at least
its part of the handshake. Until then it may still refuse this side's certificate (RFC 8446 §4.4.2.4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
from micro_core import Reset, TransportError

from micro_http.http2.client import HTTP2Client
from micro_http.loops import Loop
from micro_http.tls import HTTP2_NAME, TLS
from micro_http.tls_faults import why_not
from micro_http.tls_wire import TLSWire

Make = Callable[[bool], asyncio.Protocol]
"""Makes the protocol of a connection: whether it speaks HTTP/2 is what the peer chose."""


class Dialing:
    """A dial that others wait for.

    Attributes:
        over: set when it has ended.
        error: why nobody need try again at once; None where it came about, or was given up by the one who dialled.
    """

    __slots__ = ("error", "over")

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.error: TransportError | None = None

    async def wait(self, seconds: float) -> None:
        """Returns when it has ended. Raises TransportError: its own, or DEADLINE after so many seconds."""
        with anyio.move_on_after(seconds):
            await self.over.wait()
        if not self.over.is_set():
            raise TransportError("the deadline passed before there was a connection", Reset.DEADLINE, processed=False)
        if self.error is not None:
            raise TransportError(str(self.error), self.error.reason, processed=False) from self.error.__cause__


class Secure:
    """Dials by TLS."""

    __slots__ = ("_loop", "_seconds", "_tls")

    def __init__(self, loop: Loop, tls: TLS, seconds: float) -> None:
        self._loop = loop
        self._tls = tls
        self._seconds = seconds

    async def connect(self, host: str, port: int, name: str, make: Make, *, http2: bool) -> asyncio.Protocol:
        """A connection to a peer that was verified. Cancelled, it leaves none behind.

        Raises:
            OSError: the peer cannot be reached.
            TransportError: `processed=False`: it is not who it should be, refuses this side, or speaks no TLS.
        """

        def attach(wire: TLSWire) -> asyncio.Protocol:
            protocol = make(wire.alpn == HTTP2_NAME)
            protocol.connection_made(wire)  # type: ignore[arg-type]  # a wire, as everywhere
            return protocol

        wire = self._wire(name, attach, http2)
        await self._loop.connect(host, port, lambda: wire)
        try:
            protocol = await wire.established()
            if isinstance(protocol, HTTP2Client):
                await protocol.settled()
        except (OSError, ValueError) as error:
            raise _refused(why_not(error, name)) from error
        return protocol

    def _wire(self, name: str, attach: Callable[[TLSWire], asyncio.Protocol], http2: bool) -> TLSWire:
        context = self._tls.client(http2=http2)
        try:
            return TLSWire(self._loop, context, attach, self._seconds, name)
        except ValueError as error:
            raise _refused(f"no certificate can hold the name {name!r}: {error}") from error


def _refused(text: str) -> TransportError:
    return TransportError(text, Reset.REFUSED, processed=False)
