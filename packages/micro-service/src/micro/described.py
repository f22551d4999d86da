"""What requests and replies look like as JSON, in an endpoint's metadata: JSON Schema, as short as it can be.

Go Micro's own shapes (see `schema`) end at three levels and know nothing of optional fields, defaults, enums and maps.
So our nodes add a JSON Schema of their own under KEY (`micro_schema.json_schema`), which everybody else ignores.

A record must stay small: it travels in one datagram over multicast DNS, and in tags of Consul. So schemas are added as
long as the endpoints of the service, deflated together, stay within `register.schemas` bytes. By default the record
then fits, with names, node and metadata, into the 1,472 bytes of a datagram that no network cuts up. What has no schema
for want of room is described by its shape alone.

Schemas are plain text, since registries deflate what they keep, and find what schemas share with each other and with
the shapes. Deflated beforehand, each for itself, they take two to three times as much.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from micro_core import Endpoint, Handler, Value

KEY = "micro-py-schema"
"""The metadata of an endpoint that holds its schema."""

STREAM_KEY = "micro-py-stream"
"""The metadata of an endpoint that streams: who does, `client`, `server` or `both`. Go Micro says only that it does."""


def described(handlers: Sequence[Handler], room: int) -> list[Endpoint]:
    """The endpoints of handlers; as many as `room` bytes allow have a schema, the shortest first."""
    bare = [handler.endpoint for handler in handlers]
    texts = {at: text for at, handler in enumerate(handlers) if room and (text := _text(handler))}
    added = [_with(endpoint, texts.get(at, "")) for at, endpoint in enumerate(bare)]
    if packed_size(added) <= room:
        return added
    for at in sorted(texts, key=lambda at: (len(texts[at]), bare[at].name)):
        tried = [*bare[:at], added[at], *bare[at + 1 :]]
        if packed_size(tried) > room:
            break
        bare = tried
    return bare


def _with(endpoint: Endpoint, text: str) -> Endpoint:
    return replace(endpoint, metadata={**endpoint.metadata, KEY: text}) if text else endpoint


def packed_size(endpoints: Iterable[Endpoint]) -> int:
    """Bytes that endpoints take in a record."""
    return len(zlib.compress(_compact([_plain(endpoint) for endpoint in endpoints]).encode("utf-8", "replace"), 6))


def _text(handler: Handler) -> str:
    """Empty where there is nothing to say, or no way to say it."""
    from micro_schema.json_schema import schema_of

    try:
        made = schema_of(handler.request_type, handler.reply_type)
    except Exception:  # a type that has no JSON is served all the same
        return ""
    return _compact(made) if made else ""


def _plain(endpoint: Endpoint) -> dict[str, Any]:
    request, response = _plain_value(endpoint.request), _plain_value(endpoint.response)
    return {
        "name": endpoint.name, "request": request, "response": response, "metadata": dict(endpoint.metadata)
    }  # fmt: skip


def _plain_value(value: Value | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"name": value.name, "type": value.type, "values": [_plain_value(inner) for inner in value.values]}


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
