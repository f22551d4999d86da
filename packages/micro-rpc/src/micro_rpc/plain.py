"""Requests without a `micro-` header: `curl --json '{"name": "Ada"}' host:port/greeter/Say.Hello`.

They are routed by their path, `POST /<service>/<endpoint>`, and answered with HTTP's own status codes and the error as
the body. What a web page can send without asking (a form, a text, anything with `origin`) is refused, so that no page
that someone visits calls the services on their machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import unquote

from micro_core import Head, Message, Peer, RPCError, UnaryCall
from micro_core.errors import BadRequest, Forbidden, MethodNotAllowed, NotFound, UnsupportedMediaType

from micro_rpc.dialect import Dialect
from micro_rpc.wire import bare, error_text, remaining
from micro_rpc.work import UnaryWork

if TYPE_CHECKING:
    from micro_core import Reply

    from micro_rpc.routing import Binding, Served

_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})


def _bind(served: Served, head: Head) -> Binding:
    if "origin" in head:
        raise Forbidden("requests of web pages (with an Origin) are not taken here")
    service, endpoint = _path(served.service, head)
    if service != served.service:
        _check_path_of_grpc(served, service, endpoint)
        raise NotFound(f"this is service {served.service!r}, not {service!r}")
    handler = served.handlers.get(endpoint)
    content_type = bare(head.get("content-type", "application/json"))
    if handler is not None and head.get(":method", "POST") != "POST":
        raise MethodNotAllowed(f"{endpoint} is called by POST, not {head[':method']}")
    if handler is not None and content_type in _FORMS:
        raise UnsupportedMediaType(f"{content_type} is not taken; send JSON as application/json, as curl --json does")
    binding = served.bind(endpoint, content_type)
    if binding.handler.streaming:
        raise BadRequest(f"{endpoint} is a stream, which plain HTTP cannot carry; call it by a client of Go Micro")
    return binding


def _check_path_of_grpc(served: Served, service: str, method: str) -> None:
    endpoint = f"{service.rpartition('.')[2]}.{method}"
    if endpoint in served.handlers:
        text = (
            f"this is the path of gRPC, whose content type is application/grpc; else it is /{served.service}/{endpoint}"
        )
        raise UnsupportedMediaType(text)


def _path(service: str, head: Head) -> tuple[str, str]:
    parts = unquote(head.get(":path", "").partition("?")[0]).strip("/").split("/")
    if len(parts) != 2:
        raise NotFound(f"the path is /<service>/<endpoint>, for example /{service}/Say.Hello")
    return parts[0], parts[1]


def refuse(error: RPCError, service: str) -> Message:
    """An error with HTTP's own status, its JSON as the body."""
    status = error.code if 400 <= error.code <= 599 else 500
    return Message(
        {":status": str(status), "content-type": "application/json"}, error_text(error, service).encode() + b"\n"
    )


class PlainWork(UnaryWork):
    """A unary call that came without `micro-` headers."""

    __slots__ = ()

    def succeed(self, reply: Reply, body: bytes) -> Message:
        """As for any call, with HTTP's status."""
        message = super().succeed(reply, body)
        message.head[":status"] = "200"
        return message

    def fail(self, error: RPCError, *, unprocessed: bool = False) -> Message:
        """HTTP's own status."""
        return refuse(error, self.served.service)


class Plain(Dialect):
    """What a server makes of such requests; clients do not speak it."""

    def accept(self, served: Served, head: Head, peer: Peer) -> UnaryCall | Message:
        """See `Dialect.accept`. A deadline that has passed is not told apart from one that is about to."""
        try:
            binding = _bind(served, head)
        except RPCError as error:
            return refuse(error, served.service)
        left = remaining(head.get("timeout", ""))
        return PlainWork(served, binding, head, peer, math.inf if left is None else served.clock() + left)

    def refuse(self, error: RPCError, service: str, *, unprocessed: bool = False) -> Message:
        """HTTP's own status."""
        return refuse(error, service)
