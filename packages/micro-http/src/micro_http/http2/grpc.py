"""What a connection must know of gRPC: which requests are, and how they are refused before anybody else sees them.

A refusal is a status in the head of a reply without a body, under HTTP's 200: an HTTP status would reach the caller as
UNKNOWN at best. The texts here are ASCII without a percent sign, which `grpc-message` need not encode.

Messages may come compressed, each for itself, by what `grpc-encoding` names; none is sent so. A message of a stream is
inflated when it is received and not when it arrives, so that what waits takes the room that the peer sent.
"""

from __future__ import annotations

import zlib

from micro_core import Buffer, Head, Message

_NAME = "application/grpc"
EXHAUSTED = "8"
COMPRESSED = "12"
INTERNAL = "13"
UNAVAILABLE = "14"
ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""What messages may be compressed by, with zlib's name for each."""
_STATUSES = {"408": "4", "413": EXHAUSTED, "431": EXHAUSTED}


def is_grpc(head: Head) -> bool:
    """Whether a request is one of gRPC; `application/grpc-web` is something else."""
    content_type = head.get("content-type", "").lower()
    return content_type.startswith(_NAME) and content_type[len(_NAME) : len(_NAME) + 1] in ("", "+", ";")


def status_of(status: str) -> str:
    """For an HTTP status that a connection answers by itself."""
    return _STATUSES.get(status, INTERNAL)


def refusal(status: str, text: str) -> Message:
    """A reply that ends a call."""
    return Message(trailer(status, text) | {"content-type": "application/grpc"})


def trailer(status: str, text: str) -> Head:
    """What ends a call."""
    ended = {"grpc-status": status, "grpc-message": text}
    return ended | {"grpc-accept-encoding": ",".join(("identity", *ENCODINGS))} if status == COMPRESSED else ended


class Packed(bytes):
    """A message that is compressed."""


class Unreadable(Exception):
    """A message that is not taken: the status, and the text, that say why."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


def inflated(data: Buffer, encoding: str, limit: int) -> bytes:
    """What is in a message that says it is compressed; no more than `limit` bytes are made. Raises Unreadable."""
    if encoding not in ENCODINGS:
        raise Unreadable(COMPRESSED, f"a message is compressed, and not by {' or '.join(ENCODINGS)}")
    inflating = zlib.decompressobj(ENCODINGS[encoding])
    try:
        body = inflating.decompress(data, limit + 1)
    except zlib.error:
        raise Unreadable(INTERNAL, f"a message is no {encoding}") from None
    if len(body) > limit:
        raise Unreadable(EXHAUSTED, f"a message of more than {limit} bytes, which is the limit (option message_limit)")
    if not inflating.eof or inflating.unused_data:
        raise Unreadable(INTERNAL, f"a message is not one whole {encoding}")
    return body
