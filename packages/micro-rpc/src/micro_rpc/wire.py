"""The heads of mucp: which names belong to the protocol, how an error is written, how long a call may take.

    micro-service, micro-endpoint, micro-method, micro-id, micro-stream, timeout, content-type, accept     requests
    micro-error, micro-unprocessed                                                                         replies

Names that begin with `grpc-` belong to gRPC, here too, so that metadata is the same in either protocol.

Go Micro's servers give every header of a request to the handler as metadata, and its clients send all of that on
(WIRE §4). Ours keep the two apart: what the protocol or HTTP owns never becomes metadata, nor the reverse. Of the
`micro-` names only those that travel with a call are metadata: trace, span and namespace. Releases before 1.18 write
`x-micro-` names beside the plain ones; they are read when the plain ones are missing.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from micro_core import Codec, DecodeError, Head, Message, Node, Outcome, RPCError, UnsupportedType
from micro_core.codec import bare as bare
from micro_core.errors import from_wire
from micro_core.revival import to_wire

log = logging.getLogger("micro.rpc")

CLIENT_ID = "go.micro.client"
"""The id of errors that a client makes itself, as in Go Micro."""

_PLUMBING = frozenset(
    [
        "accept",
        "accept-encoding",
        "accept-language",
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "local",
        "remote",
        "te",
        "timeout",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        ":path",
        ":method",
        ":status",
        ":scheme",
        ":authority",
        "micro-service",
        "micro-endpoint",
        "micro-method",
        "micro-id",
        "micro-stream",
        "micro-error",
        "micro-from-service",
        "micro-unprocessed",
        "x-micro-service",
        "x-micro-endpoint",
        "x-micro-method",
        "x-micro-id",
        "x-micro-error",
        "x-content-type",
    ]
)
_KEPT = frozenset({"micro-trace-id", "micro-span-id", "micro-namespace"})
_PREFIXES = ("micro-", "x-micro-", "grpc-", "content-", "accept", ":")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_LONGEST_DETAIL, _LONGEST_TYPE = 2000, 100
_NANOSECONDS = 1_000_000_000
_LONGEST = 10**18


@lru_cache(maxsize=1024)
def is_plumbing(name: str) -> bool:
    """Whether a header belongs to the protocol or to HTTP, not to the user."""
    return name in _PLUMBING or (name.startswith(_PREFIXES) and name not in _KEPT)


def user_metadata(head: Head) -> dict[str, str]:
    """What of a request's head the handler is given as metadata."""
    metadata = {}
    for name in _names_of_users(tuple(head)):
        metadata[name] = head[name]
    return metadata


@lru_cache(maxsize=1024)
def _names_of_users(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not is_plumbing(name))


def outgoing_metadata(metadata: Mapping[str, object]) -> Head:
    """What of a caller's metadata is sent: lower-case names, nothing of the protocol's own.

    Raises ValueError, naming the header, for a name or value that no header may hold.
    """
    head: Head = {}
    for name, value in metadata.items():
        sent = _sent_as(name)
        if not isinstance(value, str):
            raise ValueError(f"metadata {name.lower()!r} is {type(value).__name__}, not a text")
        if not value.isprintable():
            check_value(name.lower(), value)
        if sent:
            head[sent] = value
    return head


def check_value(name: str, value: str) -> None:
    """Raises ValueError for a value that no header may hold."""
    if _CONTROL.search(value):
        raise ValueError(f"{name!r} holds a line break or another control character")


@lru_cache(maxsize=1024)
def _sent_as(name: str) -> str:
    """The header of a caller's metadata; empty for what is the protocol's own. Raises ValueError."""
    lower = name.lower()
    if not lower.isascii() or not _TOKEN.fullmatch(lower):
        raise ValueError(f"metadata {name!r} is no header name")
    return "" if is_plumbing(lower) else lower


def reply_header(header: Head) -> Head:
    """What middleware may add to a reply; line breaks become spaces, as Go Micro sends them (WIRE §4)."""
    return {name.lower(): _CONTROL.sub(" ", value) for name, value in header.items() if not is_plumbing(name.lower())}


def remaining(timeout: str) -> float | None:
    """Seconds that a `timeout` header leaves, None when it says nothing: it is nanoseconds in decimal (WIRE §5.5)."""
    try:
        nanoseconds = int(timeout)
    except ValueError:
        return None
    if nanoseconds > _LONGEST:
        return None
    return nanoseconds / _NANOSECONDS if nanoseconds > 0 else 0.0


def timeout_text(seconds: float) -> str:
    """A `timeout` header; never 0, which means that it has passed (WIRE §5.5)."""
    nanoseconds = int(seconds * _NANOSECONDS)
    return str(nanoseconds) if nanoseconds > 0 else "1"


def endpoint_of(head: Head) -> str:
    """The endpoint that a request's head names, or an empty text."""
    for name in ("micro-endpoint", "micro-method", "x-micro-endpoint", "x-micro-method"):
        if head.get(name):
            return head[name]
    return ""


def error_text(error: RPCError, service: str, *, detail: str | None = None) -> str:
    """An error as `micro-error` holds it: JSON in ASCII, its detail cut to what a header may reasonably hold.

    `detail` is written instead of the error's own.
    """
    if detail is None:
        given: Any = error  # whose detail is what a handler gave it
        detail = str(given.detail)
    if len(detail) > _LONGEST_DETAIL:
        detail = detail[:_LONGEST_DETAIL] + "…"
    fields: dict[str, Any] = {"id": error.id or service, "code": error.code, "detail": detail, "status": error.status}
    try:
        name, details = to_wire(error)
        if name:
            fields.update(type=name, details=details)
    except ValueError as why:
        log.error("%s: the details of %s are not told: %s", service, error.type_name, why)
    return json.dumps(fields, separators=(",", ":"), default=str)


def read_error(text: str) -> RPCError:
    """The error that `micro-error` describes; a text that is not Go Micro's JSON is the detail itself (WIRE §5.3)."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return from_wire(text)
    code = fields.get("code")
    code = code if isinstance(code, int) and not isinstance(code, bool) else 0
    status, name, details = fields.get("status"), fields.get("type"), fields.get("details")
    return from_wire(
        str(fields.get("detail", "")),
        id=str(fields.get("id", "")),
        code=code,
        status=status if isinstance(status, str) and status else None,
        type_name=name if isinstance(name, str) else "",
        details=details if isinstance(details, dict) else {},
    )


def refusal_of(head: Head, body: bytes = b"") -> RPCError | None:
    """The error that a reply's head or a stream's trailer holds, with its outcome; None when it holds none."""
    text = head.get("micro-error") or head.get("x-micro-error")
    if text:
        error = read_error(text)
    elif head.get(":status", "200") != "200":
        error = _http_error(head[":status"], body)
    else:
        return None
    if head.get("micro-unprocessed") == "1":
        error.outcome = Outcome.NOT_PROCESSED
    elif error.code == HTTPStatus.REQUEST_TIMEOUT:
        error.outcome = Outcome.UNKNOWN
    return error


def _http_error(status: str, body: bytes) -> RPCError:
    code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 0
    text = body[:200].decode("utf-8", "replace").strip()
    return from_wire(text or f"the peer answered HTTP status {status} without a word", id=CLIENT_ID, code=code)


def unreadable(what: str, node: Node | None, head: Head, body: bytes, asked: str, error: DecodeError) -> DecodeError:
    """The error of a body that is not what was asked for: whose it is and what its head says that it is."""
    said = head.get("content-type", "without a content type")[:_LONGEST_TYPE]
    source = "the server" if node is None else node.id if node.id == node.address else f"{node.id} at {node.address}"
    return DecodeError(f"{what} from {source} ({said}, {len(body)} bytes) cannot be read as {asked}: {error}")


def refuse(error: RPCError, service: str, *, unprocessed: bool = False) -> Message:
    """The reply that carries an error, with an empty body (WIRE §5.2)."""
    head = {"content-type": "application/json", "micro-error": error_text(error, service)}
    if unprocessed:
        head["micro-unprocessed"] = "1"
    return Message(head)


def empty_body(codec: Codec) -> bytes:
    """What stands for no value: `{}` where the codec can say so, since Go's JSON cannot read an empty body."""
    try:
        return codec.encoder(dict)({})
    except UnsupportedType:
        return b""


def nothing(type_: object) -> bool:
    """Whether an annotation says that there is no value."""
    return type_ is None or type_ is type(None)
