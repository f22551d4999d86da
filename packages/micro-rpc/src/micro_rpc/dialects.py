"""The dialects there are, and which of them a head or a content type is in."""

from __future__ import annotations

from functools import lru_cache

from micro_core import Head

from micro_rpc.dialect import MUCP, Dialect
from micro_rpc.enveloped import BYTES, JSON, PROTO, UNNAMED
from micro_rpc.grpc import GRPC
from micro_rpc.plain import Plain
from micro_rpc.wire import bare, endpoint_of

PLAIN = Plain()
BESIDE: tuple[Dialect, ...] = (JSON, PROTO, BYTES, GRPC)
"""Those that are told by their content types."""

BY_PROTOCOL: dict[str, Dialect] = {dialect.protocol: dialect for dialect in (MUCP, UNNAMED, GRPC)}
"""Which a node speaks, by the `protocol` in its metadata; empty where it says nothing."""

_NAMING = ("micro-service", "x-micro-service", "micro-protocol")


@lru_cache(maxsize=1024)
def dialect_for(content_type: str) -> Dialect:
    """The dialect of a content type."""
    name = bare(content_type)
    return next((dialect for dialect in BESIDE if dialect.payload(name) is not None), MUCP)


def dialect_of(head: Head) -> Dialect:
    """The dialect of a request."""
    dialect = dialect_for(head.get("content-type", ""))
    return dialect if dialect is not MUCP or endpoint_of(head) else _without_endpoint(head)


def _without_endpoint(head: Head) -> Dialect:
    """What a head is in that names no endpoint: its path does, or an envelope, or nothing (WIRE §5.6)."""
    dialect = dialect_for(UNNAMED.around(bare(head.get("content-type", ""))))
    if dialect is not MUCP and _at_the_root(head) and not any(name in head for name in _NAMING):
        return dialect
    return MUCP if any(name.startswith(("micro-", "x-micro-")) for name in head) else PLAIN


def _at_the_root(head: Head) -> bool:
    return head.get(":method") == "POST" and head.get(":path", "").partition("?")[0] == "/"


def content_type_at(node_speaks: Dialect, content_type: str) -> str:
    """The content type for a call that asks for one, at a node that speaks mucp or another dialect.

    What a caller asks for by name goes to any node that does not name one of its own.
    """
    asked = dialect_for(content_type)
    if node_speaks is MUCP or asked is node_speaks or (asked is not MUCP and not node_speaks.protocol):
        return content_type
    name = bare(content_type)
    return node_speaks.around(asked.payload(name) or name)
