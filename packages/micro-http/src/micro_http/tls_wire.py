"""TLS between a connection and its protocol: written once, over OpenSSL's memory buffers, for every event loop.

    loop  ── ciphertext ──▶  TLSWire (an asyncio protocol)  ── plaintext ──▶  the protocol that ALPN chose
          ◀── ciphertext ──                                 ◀── plaintext ──  which has it as its wire

The loops' own TLS was not taken: asyncio's holds 256 KiB a connection and drops the alert that says why a peer was
refused, and trio's is another one.

The end. `close` says close_notify. A server then reads on for a moment and drops what it reads, since closing a socket
with unread bytes resets it and the last reply, or the alert that says why a client was refused, would be lost. A peer
that closes without close_notify may have been cut off by somebody between (RFC 8446 §6.1): that is a connection lost,
never the end of a stream.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from micro_http.loops import Loop, Timer, Waiter, Wire, half_closed
from micro_http.tls_faults import why_not
from micro_http.write import CLOSE, counted, reply_start

_log = logging.getLogger("micro.http")
_RECORD = 16_384
_LINGER = 0.5
_HANDSHAKE = 0x16
"""The first byte of a TLS connection: a handshake record (RFC 8446 §5.1)."""

_PLAIN = b"this address speaks TLS; set MICRO_TRANSPORT_TLS_CA to its CA, or use https\n"

Attach = Callable[["TLSWire"], asyncio.Protocol]
"""Makes the protocol of a connection whose handshake is done, and tells it that it is there."""


class TLSWire(asyncio.Protocol):
    """One connection.

    Args:
        context: the side's.
        attach: makes the protocol, once `wire.alpn` is known.
        seconds: for the handshake.
        name: what the server's certificate must hold; None at the server.
        over: told when the handshake has ended, well or not, or the connection is lost before.

    Attributes:
        alpn: the protocol that was agreed on, or None.
        identity: the verified name of the peer, or None.
    """

    __slots__ = (
        "_attach",
        "_broken",
        "_closing",
        "_ended",
        "_heard",
        "_incoming",
        "_inner",
        "_loop",
        "_name",
        "_outgoing",
        "_over",
        "_raw",
        "_seconds",
        "_timer",
        "_tls",
        "_waiter",
        "alpn",
        "identity",
    )

    def __init__(
        self,
        loop: Loop,
        context: ssl.SSLContext,
        attach: Attach,
        seconds: float,
        name: str | None = None,
        over: Callable[[TLSWire], None] | None = None,
    ) -> None:
        self.alpn: str | None = None
        self.identity: str | None = None
        self._loop = loop
        self._attach = attach
        self._seconds = seconds
        self._name = name
        self._over = over
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=name is None, server_hostname=name)
        self._inner: asyncio.Protocol | None = None
        self._waiter: Waiter | None = None
        self._timer: Timer | None = None
        self._broken: Exception | None = None
        self._closing = False
        self._ended = False
        self._heard = False
        self._raw: Wire = cast("Wire", None)

    async def established(self) -> asyncio.Protocol:
        """The protocol, once there is one. Raises OSError when the handshake fails; cancelled, it closes."""
        if self._inner is None:
            if self._broken is not None:
                raise self._broken
            self._waiter = self._loop.waiter()
            try:
                await self._waiter
            except BaseException:
                self.abort()
                raise
        assert self._inner is not None
        return self._inner

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there; the handshake begins."""
        self._raw = cast("Wire", transport)
        self._timer = self._loop.call_later(self._seconds, self._late)
        if self._name is not None:
            self._shake()

    def data_received(self, data: bytes) -> None:
        """Ciphertext arrived."""
        if self._inner is not None:
            if not self._closing:
                self._incoming.write(data)
                self._read()
        elif self._broken is None:
            if self._name is None and not self._heard and data[0] != _HANDSHAKE:
                self._answer_plainly()
                return
            self._heard = True
            self._incoming.write(data)
            self._shake()

    def eof_received(self) -> bool:
        """The peer sends nothing more; without a close_notify before, it was cut off."""
        if self._inner is None:
            if self._broken is None:
                self._fail(ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed during the handshake"))
        elif not self._ended and not self._closing:
            self._broken = ConnectionResetError("closed without the close_notify of TLS")
            self._raw.abort()
        return self._ended and not self._closing

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inner is not None:
            self._inner.connection_lost(self._broken or exc)
            return
        if self._broken is None:
            self._fail(exc or ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed during the handshake"))
        if self._over is not None:
            self._over(self)

    def pause_writing(self) -> None:
        """The peer does not read."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        if self._inner is not None:
            self._inner.resume_writing()

    # The handshake

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except (ssl.SSLError, ValueError) as error:
            self._flush()
            self._fail(error)
            return
        self._flush()
        self._begin()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.alpn = self._tls.selected_alpn_protocol()
        self.identity = self._verified()
        if self._over is not None:
            self._over(self)
        self._inner = self._attach(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._incoming.pending and not self._closing:
            self._read()

    def _verified(self) -> str | None:
        """The first name of the peer's certificate, or at a client the one that was asked for."""
        certificate = cast("dict[str, Any] | None", self._tls.getpeercert())
        if not certificate:
            return None
        names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
        return self._name or (names[0] if names else None)

    def _late(self) -> None:
        self._timer = None
        self._fail(TimeoutError(f"no TLS handshake within {self._seconds:g} s"))
        self._raw.abort()

    def _fail(self, error: Exception) -> None:
        """There will be no protocol."""
        self._broken = error
        if self._name is None:
            _log.debug("a client at %s was refused: %s", self._raw.get_extra_info("peername"), why_not(error, ""))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self._leave()

    def _answer_plainly(self) -> None:
        """A client without TLS is told so, in its own words."""
        kind = b"\r\nContent-Type: text/plain; charset=utf-8"
        self._raw.write(b"".join((reply_start("400"), kind, CLOSE, counted(len(_PLAIN)), _PLAIN)))
        self._fail(ConnectionError("a client without TLS"))

    # Plaintext

    def _read(self) -> None:
        data, ended = self._decrypted()
        if self._outgoing.pending:
            self._flush()
        if data:
            self._now().data_received(data)
        if self._broken is not None:
            self._raw.abort()
        elif ended and not self._ended:
            self._ended = True
            if not self._closing and not self._now().eof_received():
                self.close()

    def _now(self) -> asyncio.Protocol:
        assert self._inner is not None
        return self._inner

    def _decrypted(self) -> tuple[bytes, bool]:
        """What can be read, and whether the peer has said its close_notify. Sets `_broken` when nothing can be."""
        parts: list[bytes] = []
        read, incoming = self._tls.read, self._incoming
        ended = False
        try:
            while True:
                data = read(_RECORD)
                if not data:
                    ended = True
                    break
                parts.append(data)
                if not incoming.pending and not self._tls.pending():
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._broken = error
        return parts[0] if len(parts) == 1 else b"".join(parts), ended

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    # The wire of the protocol

    def write(self, data: bytes) -> None:
        """See `Wire`."""
        if self._closing or self._broken is not None:
            return
        try:
            sent = self._tls.write(data)
            while sent < len(data):
                sent += self._tls.write(memoryview(data)[sent:])
        except ssl.SSLError as error:
            self._broken = error
            self._raw.abort()
            return
        self._raw.write(self._outgoing.read())

    def can_write_eof(self) -> bool:
        """No: many peers close when they read a close_notify."""
        return False

    def write_eof(self) -> None:
        """Closes, since TLS has no half-close; see `can_write_eof`."""
        self.close()

    def close(self) -> None:
        """See `Wire`."""
        if self._closing:
            return
        with suppress(ssl.SSLError, ValueError):
            self._tls.unwrap()
        self._flush()
        self._leave()

    def _leave(self) -> None:
        self._closing = True
        if self._raw.is_closing():
            return
        if self._name is not None:
            self._raw.close()
            return
        if not half_closed(self._raw):
            return
        self._raw.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_LINGER, self._raw.abort)

    def abort(self) -> None:
        """See `Wire`. Without a close_notify: the peer sees that something is missing."""
        self._closing = True
        if self._raw is not None:
            self._raw.abort()

    def is_closing(self) -> bool:
        """See `Wire`."""
        return self._closing or self._raw.is_closing()

    def pause_reading(self) -> None:
        """See `Wire`."""
        if not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """See `Wire`."""
        if not self._raw.is_closing():
            self._raw.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `Wire`."""
        self._inner = cast("asyncio.Protocol", protocol)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `Wire`."""
        self._raw.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `Wire`; `identity` is the peer's verified name."""
        if name == "identity":
            return self.identity
        return self._raw.get_extra_info(name, default)
