"""gRPC's statuses: how they are numbered and named, which HTTP code is which, and how an error is told and read.

    grpc-status, grpc-message     what every client of gRPC reads; the message is percent-encoded UTF-8
    grpc-status-details-bin       the same and Go Micro's own error in protobuf, for its clients
    micro-error                   what neither can say: the details of an error's class, for clients of ours

Go Micro's servers send the JSON of their error as the message, which is read, too.

The two do not map onto each other: 404 is NOT_FOUND where a handler says it, and UNIMPLEMENTED where the endpoint is
not there; ABORTED and ALREADY_EXISTS are both 409. So an error's `status` may hold a name of gRPC, which then counts:
that of an error read here does, and a handler may write `RPCError("…", code=409, status="ABORTED")`.
"""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote, unquote

from micro_core import Head, Outcome, RPCError
from micro_core.errors import BadGateway, from_wire

from micro_rpc.protobuf import data_field, number_field, text_field
from micro_rpc.wire import CLIENT_ID, error_text, read_error, refusal_of

NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_NUMBERS = {name: number for number, name in enumerate(NAMES)}
_CODES = (0, 499, 500, 400, 408, 404, 409, 403, 429, 412, 409, 400, 501, 500, 503, 500, 401)
"""HTTP's code for each number."""

_BY_CODE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    410: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    415: "UNIMPLEMENTED",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_UNQUOTED = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}~"
_MOST = 2048
"""Bytes of either text: gRPC's own clients take 8 KiB of trailers."""


def number_of(error: RPCError) -> int:
    """The status for an error: the one it names, else by its code, else UNKNOWN."""
    return _NUMBERS.get(error.status, 0) or _NUMBERS[_BY_CODE.get(error.code, "UNKNOWN")]


def told(error: RPCError, service: str, *, unprocessed: bool = False) -> Head:
    """How a call ends with an error."""
    number, text = number_of(error), str(error.detail)
    head = {"grpc-status": str(number), "grpc-message": message_text(text)}
    details = _details(number, error, text, error.id or service)
    if len(details) <= _MOST:
        head["grpc-status-details-bin"] = b64encode(details).decode().rstrip("=")
    more = error_text(error, service, detail="")
    if len(more) <= _MOST:
        head["micro-error"] = more
    if unprocessed:
        head["micro-unprocessed"] = "1"
    return head


def _details(number: int, error: RPCError, text: str, id: str) -> bytes:
    """`google.rpc.Status` with an `errors.Error` of Go Micro's, which has four fields."""
    code = error.code if 0 < error.code < 2**31 else 0
    go = text_field(1, id) + number_field(2, code) + text_field(3, text) + text_field(4, error.status)
    packed = text_field(1, "type.googleapis.com/errors.Error") + data_field(2, go)
    return number_field(1, number) + text_field(2, text) + data_field(3, packed)


def message_text(text: str) -> str:
    """As `grpc-message` holds it, cut where that would be too long."""
    encoded = quote(text, safe=_UNQUOTED, errors="replace")
    while len(encoded) > _MOST:
        text = text[: min(len(text) - 1, len(text) * _MOST // len(encoded))]
        encoded = quote(text + "…", safe=_UNQUOTED, errors="replace")
    return encoded


def refusal(head: Head, body: bytes = b"") -> RPCError | None:
    """The error, with its outcome, in what a call ended with; None where that says OK."""
    status = head.get("grpc-status")
    if status == "0":
        return None
    if status is None:
        return refusal_of(head, body) or _unended()
    message = unquote(head.get("grpc-message", ""), errors="replace")
    error = _described(head.get("micro-error", ""), message) or _described(message) or _read(status, message)
    if head.get("micro-unprocessed") == "1":
        error.outcome = Outcome.NOT_PROCESSED
    elif error.code == 408:
        error.outcome = Outcome.UNKNOWN
    return error


def _read(status: str, message: str) -> RPCError:
    number = int(status) if status.isascii() and status.isdigit() and len(status) < 3 else 2
    number = number if number < len(NAMES) else 2
    return from_wire(message, code=_CODES[number], status=NAMES[number])


def _described(text: str, message: str | None = None) -> RPCError | None:
    """An error in the JSON of Go Micro, with its detail or another; any other text is None."""
    if not text.startswith("{"):
        return None
    error = read_error(text)
    if not error.code:
        return None
    if message is not None:
        error.detail = message
        error.args = (message,)
    return error


def _unended() -> RPCError:
    error = BadGateway("the server ended the call without a grpc-status", id=CLIENT_ID)
    error.outcome = Outcome.UNKNOWN
    return error
