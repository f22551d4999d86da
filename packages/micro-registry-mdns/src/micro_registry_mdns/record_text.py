"""One node of one service as the bytes of a TXT record, and back; everything that comes back is untrusted.

The text is the JSON of Go Micro's records (WIRE §1.3) with the node beside it, deflated and cut into strings of at most
255 bytes. The first eight bytes of its BLAKE2b digest are its fingerprint: beats name records by it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from micro_core import Endpoint, Node, RegistryUnavailable, ServiceRecord, Value

FINGERPRINT = 8
MAX_TEXT = 8700
"""Bytes of one text: what is left of the 9,000 that RFC 6762 §17 allows for a packet."""
MAX_JSON = 64 * 1024
MAX_NAME = 255
MAX_DEPTH = 16
MAX_ITEMS = 1024


class BadRecord(Exception):
    """A text that is no record; says why."""


def fingerprint(text: bytes) -> bytes:
    """The name of a text by its content."""
    return blake2b(text, digest_size=FINGERPRINT).digest()


def encode_record(record: ServiceRecord) -> bytes:
    """The text of a record with one node.

    Raises:
        ValueError: what no receiver would accept: unprintable or too long names, too many entries.
        RegistryUnavailable: it does not fit into one multicast DNS packet.
    """
    body = json.dumps(_plain_record(record), separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    text = to_strings(zlib.compress(body, 6))
    if len(text) > MAX_TEXT or len(body) > MAX_JSON:
        raise RegistryUnavailable(
            f"the record of {record.name!r} takes {len(text)} bytes ({len(body)} unpacked); multicast DNS carries "
            f"{MAX_TEXT} ({MAX_JSON}): give it less metadata or fewer endpoints, or choose another registry"
        )
    try:
        decode_record(text)
    except BadRecord as error:
        raise ValueError(f"the record of {record.name!r} cannot be announced: {error}") from None
    return text


def to_strings(data: bytes) -> bytes:
    """Cuts data into the length-prefixed strings of a TXT record."""
    pieces = [data[start : start + 255] for start in range(0, len(data), 255)]
    return b"".join(bytes((len(piece),)) + piece for piece in pieces)


def from_strings(text: bytes) -> bytes:
    """Joins the strings of a TXT record. Raises BadRecord when one is cut short."""
    pieces, at = [], 0
    while at < len(text):
        end = at + 1 + text[at]
        if end > len(text):
            raise BadRecord("a TXT string is cut short")
        pieces.append(text[at + 1 : end])
        at = end
    return b"".join(pieces)


def decode_record(text: bytes) -> tuple[ServiceRecord, int]:
    """The record with its one node, and the bytes of its JSON. Raises BadRecord."""
    plain, size = unpack(from_strings(text))
    node = _object(plain.get("Node"), "Node")
    nodes = (Node(_name(node.get("id"), "id"), _name(node.get("address"), "address"), _metadata(node.get("metadata"))),)
    return replace(read_record(plain), nodes=nodes), size


def unpack(data: bytes) -> tuple[Mapping[str, Any], int]:
    """The JSON object that was deflated, and its bytes. Raises BadRecord."""
    body = _inflate(data)
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"not JSON ({type(error).__name__})") from None
    return _object(plain, "record"), len(body)


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(data, MAX_JSON + 1)
    except zlib.error:
        raise BadRecord("not deflated") from None
    if len(body) > MAX_JSON:
        raise BadRecord(f"more than {MAX_JSON} bytes unpacked")
    if not inflater.eof:
        raise BadRecord("cut short")
    return body


def _plain_record(record: ServiceRecord) -> dict[str, Any]:
    node = record.nodes[0]
    return {
        "Service": record.name,
        "Version": record.version,
        "Metadata": dict(record.metadata),
        "Endpoints": plain_endpoints(record),
        "Node": {"id": node.id, "address": node.address, "metadata": dict(node.metadata)},
    }


def plain_endpoints(record: ServiceRecord) -> list[dict[str, Any]]:
    """The endpoints as Go Micro's JSON has them."""
    return [_plain_endpoint(endpoint) for endpoint in record.endpoints]


def _plain_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "request": _plain_value(endpoint.request),
        "response": _plain_value(endpoint.response),
        "metadata": dict(endpoint.metadata),
    }


def _plain_value(value: Value | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"name": value.name, "type": value.type, "values": [_plain_value(inner) for inner in value.values]}


def read_record(plain: Mapping[str, Any]) -> ServiceRecord:
    """What is said of a service, without its nodes; Go says null for what is empty. Raises BadRecord."""
    return ServiceRecord(
        _name(plain.get("Service"), "Service"),
        _name(plain.get("Version"), "Version"),
        (),
        tuple(_endpoint(entry) for entry in _list(plain.get("Endpoints"), "Endpoints")),
        _metadata(plain.get("Metadata")),
    )


def _endpoint(plain: object) -> Endpoint:
    entry = _object(plain, "endpoint")
    return Endpoint(
        _name(entry.get("name"), "endpoint name"),
        _value(entry.get("request"), 0),
        _value(entry.get("response"), 0),
        _metadata(entry.get("metadata")),
    )


def _value(plain: object, depth: int) -> Value | None:
    return None if plain is None else _some_value(plain, depth)


def _some_value(plain: object, depth: int) -> Value:
    if depth >= MAX_DEPTH:
        raise BadRecord(f"values nested more than {MAX_DEPTH} deep")
    entry = _object(plain, "value")
    inner = tuple(_some_value(one, depth + 1) for one in _list(entry.get("values"), "values"))
    return Value(_text(entry.get("name"), "value name"), _text(entry.get("type"), "value type"), inner)


def _object(plain: object, what: str) -> Mapping[str, Any]:
    if not isinstance(plain, dict):
        raise BadRecord(f"{what} is no object")
    return plain


def _list(plain: object, what: str) -> list[Any]:
    if plain is None:
        return []
    if not isinstance(plain, list) or len(plain) > MAX_ITEMS:
        raise BadRecord(f"{what} is no list of at most {MAX_ITEMS}")
    return plain


def _text(plain: object, what: str) -> str:
    if not isinstance(plain, str) or len(plain) > MAX_JSON:
        raise BadRecord(f"{what} is no text")
    return plain


def _name(plain: object, what: str) -> str:
    text = _text(plain, what)
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise BadRecord(f"{what} is empty, unprintable or longer than {MAX_NAME}")
    return text


def _metadata(plain: object) -> Mapping[str, str]:
    entries = _object({} if plain is None else plain, "metadata")
    if len(entries) > MAX_ITEMS or not all(isinstance(value, str) for value in entries.values()):
        raise BadRecord(f"metadata is not at most {MAX_ITEMS} texts")
    return dict(entries)
