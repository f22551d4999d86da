"""gRPC: its clients call services of ours, and its servers are called (`docs/explanation/grpc.md`).

    POST /greeter.Say/Hello        content-type application/grpc[+proto|+json|…], te trailers, grpc-timeout 100m
    200, message, trailers         grpc-status 0; an error without a message has its status in the only head

The path is Go Micro's: `/<service>.<Type>/<Method>`; a server takes the last dotted part and the method for the
endpoint, so that `/helloworld.Greeter/SayHello` is `Greeter.SayHello` whatever its package. An endpoint that begins
with a slash is the path itself. Whether a call streams is settled by the endpoint: the wire knows no difference.

The messages' prefixes are HTTP/2's business (`micro_http.http2`), and with them compression: what comes compressed is
inflated there, nothing is sent so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, unquote

from micro_core import Call, Head, Message, Peer, Reply, RPCError, StreamCall, UnaryCall
from micro_core.errors import BadRequest, NotFound, UnsupportedMediaType

from micro_rpc import grpc_status, health
from micro_rpc.dialect import Dialect
from micro_rpc.plain import refuse as refuse_plainly
from micro_rpc.wire import outgoing_metadata, refuse
from micro_rpc.work import StreamWork, UnaryWork

if TYPE_CHECKING:
    from micro_rpc.routing import Binding, Served

_NAME = "application/grpc"
_PAYLOADS = {"proto": "application/protobuf", "bytes": "application/octet-stream"}
_SUBTYPES = {payload: subtype for subtype, payload in _PAYLOADS.items()}
_PATH = re.compile(r"/([^/]+)/([^/]+)")
_PATH_CHARACTERS = "/!$&'()*+,;=:@._~-"
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1.0, "M": 60.0, "H": 3600.0}
_MOST_DIGITS = 10**8


class GRPCUnary(UnaryWork):
    """A unary call of gRPC."""

    __slots__ = ()

    def succeed(self, reply: Reply, body: bytes) -> Message:
        """The message, and OK as the trailer; wires without trailers have it in the head."""
        message = super().succeed(reply, body)
        if self.peer.protocol == "h2":
            message.trailer = {"grpc-status": "0"}
        else:
            message.head["grpc-status"] = "0"
        return message

    def fail(self, error: RPCError, *, unprocessed: bool = False) -> Message:
        """A head that is all there is."""
        return GRPC.refuse(error, self.served.service, unprocessed=unprocessed)


class GRPCStream(StreamWork):
    """A stream of gRPC."""

    __slots__ = ()

    def trailer(self, error: RPCError | None, *, unprocessed: bool = False) -> Head:
        """OK, or the error's status."""
        if error is None:
            return {"grpc-status": "0"}
        return grpc_status.told(error, self.served.service, unprocessed=unprocessed)


class GRPCDialect(Dialect):
    """See the module."""

    protocol = "grpc"
    numbered = False
    timeout_header = "grpc-timeout"
    unary: ClassVar[type[UnaryWork]] = GRPCUnary
    stream: ClassVar[type[StreamWork]] = GRPCStream

    def payload(self, content_type: str) -> str | None:
        """`application/grpc` alone is protobuf's."""
        if content_type == _NAME:
            return _PAYLOADS["proto"]
        name, plus, subtype = content_type.partition("+")
        return _PAYLOADS.get(subtype, f"application/{subtype}") if name == _NAME and plus else None

    def around(self, payload: str) -> str:
        """`application/grpc+json` for `application/json`."""
        return f"{_NAME}+{_SUBTYPES.get(payload) or payload.removeprefix('application/')}"

    # The server

    def accept(self, served: Served, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        """HTTP/1.1 has no trailers here, and is told so in its own words."""
        if peer.protocol == "http/1.1":
            error = UnsupportedMediaType(f"{_NAME} needs HTTP/2; over HTTP/1.1 send the payload's own content type")
            plain = "micro-endpoint" not in head
            return refuse_plainly(error, served.service) if plain else refuse(error, served.service)
        return super().accept(served, head, peer)

    def bind(self, served: Served, head: Head) -> Binding:
        """Whatever cannot be called here is UNIMPLEMENTED."""
        try:
            return health.bound(self, served, head) or super().bind(served, head)
        except (NotFound, UnsupportedMediaType) as error:
            error.status = "UNIMPLEMENTED"
            raise

    def route(self, served: Served, head: Head) -> str:
        """`/helloworld.Greeter/SayHello` is `Greeter.SayHello`."""
        path = head.get(":path", "").partition("?")[0]
        found = _PATH.fullmatch(path)
        if found is None:
            raise NotFound(f"the path is /<service>.<Type>/<Method>, for example /{served.service}.Say/Hello")
        service, method = found.groups()
        return unquote(f"{service.rpartition('.')[2]}.{method}")

    def remaining(self, head: Head) -> float | None:
        """Up to 8 digits and a unit."""
        text = head.get("grpc-timeout")
        if text is None:
            return None
        found = _TIMEOUT.fullmatch(text)
        if found is None:
            raise BadRequest(f"no grpc-timeout: {text[:20]!r}")
        return int(found[1]) * _UNITS[found[2]]

    def refuse(self, error: RPCError, service: str, *, unprocessed: bool = False) -> Message:
        """A head that is all there is."""
        return Message({"content-type": _NAME, **grpc_status.told(error, service, unprocessed=unprocessed)})

    # The client

    def head(self, call: Call, content_type: str) -> Head:
        """Path, content type, what replies may be compressed by, and `te`, without which no server of gRPC answers.

        Go Micro's servers look for the payload's content type in `x-content-type`, and take it for protobuf without.
        """
        head = {
            ":path": _path(call),
            "content-type": content_type,
            "te": "trailers",
            "grpc-accept-encoding": "identity,gzip,deflate",
        }
        payload = self.payload(content_type)
        return head | {"x-content-type": payload} if payload and payload != _PAYLOADS["proto"] else head

    def metadata(self, metadata: Mapping[str, object]) -> Head:
        """As in mucp, in ASCII."""
        head = outgoing_metadata(metadata)
        for name, value in head.items():
            if not value.isascii():
                raise ValueError(f"gRPC cannot carry metadata {name!r}: it is not ASCII; send base64 as {name}-bin")
        return head

    def timeout(self, seconds: float) -> str:
        """In the finest unit that 8 digits hold; never 0, which means that it has passed."""
        for unit, size in _UNITS.items():
            number = max(1, int(seconds / size))
            if number < _MOST_DIGITS:
                return f"{number}{unit}"
        return f"{_MOST_DIGITS - 1}H"

    refusal = staticmethod(grpc_status.refusal)


def _path(call: Call) -> str:
    endpoint = call.endpoint
    if not endpoint.startswith("/"):
        kind, dot, method = endpoint.rpartition(".")
        if not (kind and dot and method):
            raise ValueError(f"{endpoint!r} is no endpoint for gRPC: it is called Type.Method, or by its path")
        endpoint = f"/{call.service}.{kind}/{method}"
    return quote(endpoint, safe=_PATH_CHARACTERS)


GRPC = GRPCDialect()
