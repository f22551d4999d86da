"""json-rpc and proto-rpc: mucp whose bodies are in Go Micro's envelopes (WIRE §5.2, §5.6).

Heads are mucp's, and an error stands in `micro-error` as well as in the envelope. So the server takes the envelope off
in front of mucp and puts it on behind; nothing between knows of it. The id of a reply is the request's, that of an
error or of the end of a stream is empty, and proto-rpc names the method only in the messages of a stream, as in Go.

A head that names no endpoint comes from peers older than such heads. What it calls is the method that the envelope
names, which is there to be read only when the call has been accepted, so it is routed then. It can be no stream: how to
serve one is settled by its opening, whose body no transport shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from micro_core import (
    Buffer,
    Call,
    DecodeError,
    Exchange,
    Head,
    Message,
    Peer,
    Reset,
    RPCError,
    StreamCall,
    UnaryCall,
)
from micro_core.errors import BadRequest, Forbidden, NotFound

from micro_rpc.dialect import Dialect
from micro_rpc.envelopes import JSON_RPC, PROTO_RPC, Envelope
from micro_rpc.wire import endpoint_of, refusal_of, refuse

if TYPE_CHECKING:
    from micro_rpc.routing import Served


class Enveloped(Dialect):
    """One envelope around the payloads of one codec."""

    wraps: ClassVar[bool] = True

    def __init__(self, envelope: Envelope, name: str, inner: str, spoken: str = "") -> None:
        """Chosen by the content type `name`; `inner` is the codec's, `spoken` what requests say if that is another."""
        self.envelope = envelope
        self._name = name
        self._inner = inner
        self._spoken = spoken or name

    def payload(self, content_type: str) -> str | None:
        """See `Dialect.payload`."""
        return self._inner if content_type == self._name else None

    def accept(self, served: Served, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        """See `Dialect.accept`."""
        if not endpoint_of(head):
            return self._without_endpoint(served, head, peer)
        work = served.accept({**head, "content-type": self._inner}, peer)
        if isinstance(work, Message):
            return self.wrapped(work)
        return _Stream(self, work) if work.streams else _Unary(self, work, served.service)

    def _without_endpoint(self, served: Served, head: Head, peer: Peer) -> UnaryCall | Message:
        if "origin" not in head:
            return _Unrouted(self, served, head, peer)
        return self.refuse(Forbidden("requests of web pages (with an Origin) are not taken here"), served.service)

    def refuse(self, error: RPCError, service: str, *, unprocessed: bool = False) -> Message:
        """See `Dialect.refuse`."""
        return self.wrapped(refuse(error, service, unprocessed=unprocessed))

    def wrapped(self, reply: Message, id: str = "") -> Message:
        """A reply of mucp in its envelope."""
        error, envelope = reply.head.get("micro-error"), self.envelope
        reply.head["content-type"] = self._spoken
        reply.body = envelope.write_reply("", id, reply.body) if error is None else envelope.write_error("", "", error)
        return reply

    def head(self, call: Call, content_type: str) -> Head:
        """See `Dialect.head`."""
        return super().head(call, self._spoken)

    def pack(self, head: Head, body: bytes) -> bytes:
        """See `Dialect.pack`."""
        return self.envelope.write_request(head["micro-endpoint"], head["micro-id"], body)

    def unpack(self, body: bytes) -> bytes:
        """See `Dialect.unpack`."""
        reply = self.envelope.read_reply(body)
        if reply.error is not None:
            raise DecodeError(f"the envelope holds an error, and the head none: {reply.error}")
        return reply.payload

    def refusal(self, head: Head, body: bytes = b"") -> RPCError | None:
        """See `Dialect.refusal`. The error may stand in the envelope alone."""
        error = refusal_of(head, body)
        if error is not None or not body:
            return error
        try:
            text = self.envelope.read_reply(body).error
        except DecodeError:
            return None  # `unpack` says why
        return None if text is None else refusal_of({**head, "micro-error": text})

    def exchange(self, exchange: Exchange) -> Exchange:
        """See `Dialect.exchange`."""
        return _ClientExchange(self, exchange)


class _Unary(UnaryCall):
    """The work of mucp on what is in an envelope."""

    __slots__ = ("_dialect", "_service", "_work")

    def __init__(self, dialect: Enveloped, work: UnaryCall, service: str) -> None:
        self._dialect = dialect
        self._work = work
        self._service = service

    async def run(self, body: bytes) -> Message | None:
        dialect = self._dialect
        try:
            request = dialect.envelope.read_request(body)
        except DecodeError as error:
            return dialect.refuse(BadRequest(f"the request cannot be read: {error}"), self._service)
        reply = await self._work.run(request.payload)
        return None if reply is None else dialect.wrapped(reply, request.id)

    def cancel(self, reason: Reset) -> None:
        self._work.cancel(reason)


class _Unrouted(UnaryCall):
    """A call that is routed by its envelope."""

    __slots__ = ("_dialect", "_head", "_peer", "_reason", "_served", "_work")

    def __init__(self, dialect: Enveloped, served: Served, head: Head, peer: Peer) -> None:
        self._dialect = dialect
        self._served = served
        self._head = head
        self._peer = peer
        self._work: UnaryCall | StreamCall | Message | None = None
        self._reason: Reset | None = None

    async def run(self, body: bytes) -> Message | None:
        reply = await self._reply(body)
        if reply is not None:
            reply.head["content-type"] = self._head["content-type"]
        return reply

    async def _reply(self, body: bytes) -> Message | None:
        dialect, service = self._dialect, self._served.service
        try:
            method = dialect.envelope.read_request(body).method
        except DecodeError as error:
            return dialect.refuse(BadRequest(f"the request cannot be read: {error}"), service)
        if not method:
            text = (
                f"the envelope names no method; what is in none is posted to /<service>/<endpoint>, as /{service}/A.B"
            )
            return dialect.refuse(NotFound(text), service)
        self._work = work = dialect.accept(self._served, {**self._head, "micro-endpoint": method}, self._peer)
        if isinstance(work, Message):
            return work
        if work.streams:
            return dialect.refuse(BadRequest(f"{method} is a stream, which a head with micro-endpoint opens"), service)
        if self._reason is not None:
            work.cancel(self._reason)
        return await work.run(body)

    def cancel(self, reason: Reset) -> None:
        self._reason = self._reason or reason
        if isinstance(self._work, UnaryCall):
            self._work.cancel(reason)


class _Stream(StreamCall):
    """The work of mucp on a stream whose messages are in envelopes."""

    __slots__ = ("_dialect", "_work")

    def __init__(self, dialect: Enveloped, work: StreamCall) -> None:
        self._dialect = dialect
        self._work = work

    async def run(self, exchange: Exchange) -> None:
        await self._work.run(_ServerExchange(self._dialect, exchange))

    def cancel(self, reason: Reset) -> None:
        self._work.cancel(reason)


class _Exchange(Exchange):
    """An exchange around another."""

    __slots__ = ("_envelope", "_id", "_method", "_within")

    def __init__(self, dialect: Enveloped, within: Exchange) -> None:
        self.request = within.request
        self.reply = within.reply
        self.trailer = within.trailer
        self.peer = within.peer
        self._within = within
        self._envelope = dialect.envelope
        self._method = endpoint_of(within.request)
        self._id = within.request.get("micro-id", "")

    async def recv(self) -> bytes:
        try:
            return await self._within.recv()
        finally:
            self.reply = self._within.reply
            self.trailer = self._within.trailer

    def reset(self, reason: Reset) -> None:
        self._within.reset(reason)


class _ServerExchange(_Exchange):
    __slots__ = ()

    async def send(self, body: Buffer) -> None:
        self.reply["content-type"] = self.request["content-type"]
        await self._within.send(self._envelope.write_reply(self._method, self._id, bytes(body)))

    async def end(self, trailer: Head | None = None, body: Buffer = b"") -> None:
        self.reply["content-type"] = self.request["content-type"]
        await self._within.end(trailer, self._envelope.write_error("", "", _end_of(trailer)))

    async def recv(self) -> bytes:
        body = await super().recv()
        try:
            return self._envelope.read_request(body).payload
        except DecodeError as error:
            raise BadRequest(f"a message of the stream cannot be read: {error}") from None


class _ClientExchange(_Exchange):
    """What arrives is left in its envelope, which `Dialect.unpack` takes off where values are decoded."""

    __slots__ = ()

    async def send(self, body: Buffer) -> None:
        await self._within.send(self._envelope.write_request(self._method, self._id, bytes(body)))

    async def end(self, trailer: Head | None = None, body: Buffer = b"") -> None:
        await self._within.end(trailer, self._envelope.write_error(self._method, self._id, _end_of(trailer)))


def _end_of(trailer: Head | None) -> str:
    return trailer.get("micro-error", "EOS") if trailer else "EOS"


class Unnamed(Dialect):
    """What a node speaks that registers no `protocol`: payloads of Go Micro's own codecs are in envelopes."""

    protocol: ClassVar[str] = ""

    def around(self, payload: str) -> str:
        """See `Dialect.around`."""
        return _AROUND.get(payload, payload)


_BYTES = "application/proto-rpc+octet-stream"
_AROUND = {
    "application/json": "application/json-rpc",
    "application/protobuf": "application/proto-rpc",
    "application/octet-stream": _BYTES,
}

JSON = Enveloped(JSON_RPC, "application/json-rpc", "application/json")
PROTO = Enveloped(PROTO_RPC, "application/proto-rpc", "application/protobuf")
BYTES = Enveloped(PROTO_RPC, _BYTES, "application/octet-stream", spoken="application/octet-stream")
"""Bytes have no envelope of a name of their own: they are in proto-rpc's, under their own content type."""
UNNAMED = Unnamed()
