"""Transport `http`: Go Micro's HTTP/1.1 message pipe, HTTP/2, and gRPC's messages over that.

A unary call is one POST and one reply on a pooled connection; a stream is a connection of its own, see
`micro_transport_http.streams`. Heads travel as headers (`micro-id` as `Micro-Id`), the way WIRE §4 says.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from micro_core import (
    Accept,
    Buffer,
    Exchange,
    Finding,
    Head,
    Listener,
    Message,
    Peer,
    Reset,
    StreamCall,
    Transport,
    UnaryCall,
    hookimpl,
    option,
)
from micro_http import HTTP2, TLS, HTTPClient, HTTPListener, Limits, grpc, listen

from micro_transport_http.streams import ServerExchange, ending, is_end, last_head, opened

__all__ = ["HTTPTransport", "micro_doctor", "micro_transport"]


@dataclass(frozen=True, slots=True)
class HTTPOptions:
    """Options of transport `http`."""

    pool_size: int = option(100, help="idle connections kept per address", minimum=0)
    pool_ttl: float = option(60.0, help="seconds after which a connection is not used again", minimum=0.0)
    dial_timeout: float = option(5.0, help="seconds for a connection to be made", minimum=0.001)
    message_limit: int = option(4 * 1024 * 1024, help="bytes of a message's body, at most", minimum=1)
    header_limit: int = option(16 * 1024, help="bytes of a message's header, at most", minimum=256)
    header_lines: int = option(100, help="header lines of a message, at most", minimum=1)
    uri_limit: int = option(8 * 1024, help="bytes of a request's target, at most", minimum=1)
    header_timeout: float = option(5.0, help="seconds in which a header must arrive once it began", minimum=0.001)
    body_timeout: float = option(15.0, help="seconds in which a body must arrive, or a reply be read", minimum=0.001)
    idle_timeout: float = option(180.0, help="seconds after which a server closes a quiet connection", minimum=0.001)
    buffer: int = option(64 * 1024, help="bytes read or written ahead of a slow reader", minimum=1024)
    streams: int = option(256, help="calls that a peer may have on one HTTP/2 connection at once", minimum=1)
    connections: int = option(10_000, help="connections that a listener takes at once", minimum=1)
    http2: HTTP2 = option(HTTP2.AUTO, help="to servers that offer it (auto); without TLS also always; or never")
    tls_cert: Path | None = option(None, help="PEM file of the certificate to serve with, and to show to servers")
    tls_key: Path | None = option(None, help="PEM file of its key; where there is none, it is in tls_cert")
    tls_ca: Path | None = option(None, help="PEM file of the CAs of peers, revocation lists too; none: the system's")
    tls_identity: str = option("service", help="name that a server's certificate must hold: service, host, or a name")
    tls_client_auth: bool = option(False, help="whether a server demands a certificate of its clients")

    def limits(self) -> Limits:
        """As `micro_http` takes them."""
        return Limits(
            head=self.header_limit,
            lines=self.header_lines,
            uri=self.uri_limit,
            body=self.message_limit,
            head_seconds=self.header_timeout,
            body_seconds=self.body_timeout,
            idle_seconds=self.idle_timeout,
            buffer=self.buffer,
            streams=self.streams,
            connections=self.connections,
        )

    def tls(self, server: ssl.SSLContext | None, client: ssl.SSLContext | None) -> TLS | None:
        """What TLS stands on; None without."""
        if not (self.tls_cert or self.tls_key or self.tls_ca or self.tls_client_auth or server or client):
            return None
        return TLS(
            certificate=self.tls_cert,
            key=self.tls_key,
            ca=self.tls_ca,
            identity=self.tls_identity,
            client_auth=self.tls_client_auth,
            server_context=server,
            client_context=client,
        )


class HTTPTransport(Transport):
    """Carries messages over HTTP, compatible with Go Micro. Leaving it closes its connections and listeners.

    With any of the TLS options, or a context, everything goes over TLS: nothing is dialled or served without. Entering
    it reads the files; it raises ConfigurationError where one cannot be used.

    Args:
        options: `HTTPTransport.Options`.
        server_context: serves, instead of `tls_cert` and `tls_key`.
        client_context: dials, instead of `tls_ca`. Both are told the protocols to offer (ALPN).
    """

    Options = HTTPOptions

    def __init__(
        self,
        options: HTTPOptions,
        *,
        server_context: ssl.SSLContext | None = None,
        client_context: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = options.limits()
        self._tls = options.tls(server_context, client_context)
        self.node_metadata = {} if self._tls is None else {"tls": "1"}
        self._client = HTTPClient(
            self._limits,
            pool_size=options.pool_size,
            pool_ttl=options.pool_ttl,
            dial_timeout=options.dial_timeout,
            http2=options.http2,
            tls=self._tls,
        )
        self._listeners: list[HTTPListener] = []

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        listeners, self._listeners = self._listeners, []
        try:
            for listener in listeners:
                await listener.aclose()
        finally:
            await self._client.__aexit__(kind, error, trace)

    def call(
        self, address: str, request: Message, *, verify_name: str | None = None, deadline: float
    ) -> Coroutine[Any, Any, Message]:
        """See `Transport.call`. Deadlines are kept to about 20 ms. Calls of gRPC are made by HTTP/2 alone."""
        if ":path" in request.head and grpc.is_grpc(request.head):
            return self._client.call_http2(address, request, verify_name=verify_name, deadline=deadline)
        return self._client.call(address, request, verify_name=verify_name, deadline=deadline)

    async def open(
        self, address: str, head: Head, *, opening: Buffer = b"", verify_name: str | None = None, deadline: float
    ) -> Exchange:
        """See `Transport.open`. A head without `micro-stream` is given one, so that the peer knows a stream.

        Streams of gRPC have none, and are opened by HTTP/2 alone.
        """
        if ":path" in head and grpc.is_grpc(head):
            return await self._client.exchange_http2(address, head, verify_name=verify_name, deadline=deadline)
        head = head.copy()
        head.setdefault("micro-stream", head.get("micro-id", "0"))
        exchange = await self._client.exchange(address, head, verify_name=verify_name, deadline=deadline)
        return exchange or await opened(self._client, address, head, opening, verify_name, deadline)

    def forget(self, address: str) -> None:
        """See `Transport.forget`: idle connections are closed, one of HTTP/2 once the calls on it have ended."""
        self._client.forget(address)

    async def listen(self, address: str, accept: Accept) -> Listener:
        """See `Transport.listen`. Calls that arrive while it drains get an unprocessed 503 (WIRE §12)."""
        listener = await listen(
            address,
            accept,
            self._limits,
            draining=_leaving,
            exchanges=ServerExchange,
            piped=partial(_accepted, accept),
            tls=self._tls,
        )
        self._listeners.append(listener)
        return listener


class _Stray(UnaryCall):
    """The end of a stream that is not here: Go Micro closes the connection, and so do we."""

    __slots__ = ()

    async def run(self, body: bytes) -> Message | None:
        return None

    def cancel(self, reason: Reset) -> None:
        return None


def _accepted(accept: Accept, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
    """A message of a stream has a connection of its own, which ends with a refusal: more of the stream may follow."""
    if is_end(head):
        return _Stray()
    answer = accept(head.copy(), peer)
    if type(answer) is Message:
        return _ending(answer)
    return answer


def _ending(refusal: Message) -> Message:
    """A refusal ends the stream; one without an error of its own needs an EOS, in front: what follows is trailer."""
    head = refusal.head if ending(refusal.head) else {**last_head(None), **refusal.head}
    head["connection"] = "close"
    return Message(head, refusal.body, refusal.trailer)


_LEAVING = json.dumps(
    {"id": "go.micro.server", "code": 503, "detail": "the server is stopping", "status": "Service Unavailable"},
    separators=(",", ":"),
)


def _leaving(head: Head) -> Message:
    if grpc.is_grpc(head):
        refusal = grpc.refusal(grpc.UNAVAILABLE, "the server is stopping")
        refusal.head["micro-unprocessed"] = "1"
        return refusal
    answer = {"micro-error": _LEAVING, "micro-unprocessed": "1"}
    if "content-type" in head:
        answer["content-type"] = head["content-type"]
    if "micro-stream" in head:
        answer["connection"] = "close"
    return Message(answer)


@hookimpl
def micro_transport() -> type[Transport]:
    """The class behind `MICRO_TRANSPORT=http`."""
    return HTTPTransport


@hookimpl
def micro_doctor(options: HTTPOptions) -> Iterable[Finding]:
    """Whether this host lets the process dial itself and open as many files as the pool may need; and of TLS."""
    from micro_transport_http.doctor import findings

    return findings(options.pool_size, options.tls(None, None))
