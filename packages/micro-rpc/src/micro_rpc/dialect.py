"""What separates one protocol from another: how a call is named, timed, refused and read. The class itself is mucp's.

A dialect is chosen by content type at both ends, by the client also by what a node says of itself (`protocol`). Its
content types wrap those of codecs, `application/json-rpc` those of `application/json`; between head and handler
everything else is the same for all.

mucp's path is written out in `routing` and `client`, and asks its dialect for nothing that it can know before a call.
The others go through `Dialect.accept`, and through the hooks that a `Plan` takes over.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from micro_core import Call, Exchange, Head, Message, Peer, RPCError, StreamCall, UnaryCall
from micro_core.errors import Timeout

from micro_rpc.wire import endpoint_of, outgoing_metadata, refusal_of, refuse, remaining, timeout_text
from micro_rpc.work import StreamWork, UnaryWork

if TYPE_CHECKING:
    from micro_rpc.routing import Binding, Served


class Dialect:
    """One protocol. What is not overridden is as in mucp.

    Attributes:
        protocol: what nodes that speak it alone register as `protocol`.
        numbered: whether a request has a `micro-id`, and a stream that as its `micro-stream`.
        timeout_header: where a request says how long it may take.
        unary, stream: the work of accepted calls, which writes replies and ends.
        wraps: whether a codec's bytes are not the body itself, so that `pack` and `unpack` are called.
    """

    protocol: ClassVar[str] = "mucp"
    numbered: ClassVar[bool] = True
    timeout_header: ClassVar[str] = "timeout"
    unary: ClassVar[type[UnaryWork]] = UnaryWork
    stream: ClassVar[type[StreamWork]] = StreamWork
    wraps: ClassVar[bool] = False

    def payload(self, content_type: str) -> str | None:
        """The codec's content type inside one of this dialect (bare); None for one of another dialect."""
        return content_type

    def around(self, payload: str) -> str:
        """This dialect's content type around a codec's."""
        return payload

    # The server

    def accept(self, served: Served, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        """As `Transport.listen` says; see `Served.accept` for mucp."""
        try:
            binding = self.bind(served, head)
            left = self.remaining(head)
            if left is not None and left <= 0.0:
                raise Timeout("the deadline had passed before the call")
        except RPCError as error:
            return self.refuse(error, served.service)
        work = self.stream if binding.streaming else self.unary
        return work(served, binding, head, peer, math.inf if left is None else served.clock() + left)

    def bind(self, served: Served, head: Head) -> Binding:
        """What a head asks for. Raises RPCError where nothing here is that."""
        endpoint = self.route(served, head)
        return served.kept(endpoint, head, lambda content_type: served.bind(endpoint, content_type, self))

    def route(self, served: Served, head: Head) -> str:
        """The endpoint that a head names, or an empty text. Raises RPCError for a head that may not be served."""
        return endpoint_of(head)

    def remaining(self, head: Head) -> float | None:
        """Seconds that a request may take, None when it does not say. Raises RPCError."""
        return remaining(head.get("timeout", ""))

    def refuse(self, error: RPCError, service: str, *, unprocessed: bool = False) -> Message:
        """The reply that carries an error; `unprocessed`: the call may be tried elsewhere, whatever it does."""
        return refuse(error, service, unprocessed=unprocessed)

    # The client

    def head(self, call: Call, content_type: str) -> Head:
        """What the head of each such call begins with."""
        return {
            "micro-service": call.service,
            "micro-endpoint": call.endpoint,
            "micro-method": call.endpoint,
            "content-type": content_type,
            "accept": content_type,
        }

    metadata = staticmethod(outgoing_metadata)
    """What of a caller's metadata is sent. Raises ValueError for what no header may hold."""

    timeout = staticmethod(timeout_text)
    """Seconds as `timeout_header` holds them."""

    refusal = staticmethod(refusal_of)
    """The error, with its outcome, in the head and body of a reply, or in a stream's trailer; or None."""

    def pack(self, head: Head, body: bytes) -> bytes:
        """The body of a unary request, or of a stream's opening, around the codec's bytes."""
        return body

    def unpack(self, body: bytes) -> bytes:
        """The codec's bytes in the body of a reply, or in a stream's message. Raises DecodeError."""
        return body

    def exchange(self, exchange: Exchange) -> Exchange:
        """A stream's exchange: around one where what is sent is wrapped. What arrives is `unpack`'s business."""
        return exchange


MUCP = Dialect()
