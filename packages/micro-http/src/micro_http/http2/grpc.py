"""What a connection must know of gRPC: which requests are, and how they are refused before anybody else sees them.

A refusal is a status in the head of a reply without a body, under HTTP's 200: an HTTP status would reach the caller as
UNKNOWN at best. The texts here are ASCII without a percent sign, which `grpc-message` need not encode.
"""

from __future__ import annotations

from micro_core import Head, Message

_NAME = "application/grpc"
EXHAUSTED = "8"
COMPRESSED = "12"
INTERNAL = "13"
UNAVAILABLE = "14"
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
    return ended | {"grpc-accept-encoding": "identity"} if status == COMPRESSED else ended
