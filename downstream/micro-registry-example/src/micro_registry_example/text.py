"""One node's record as a text, and back. What stands in the file may be anything: it is checked, piece by piece."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from micro_core import Endpoint, Node, ServiceRecord, Value


def to_text(record: ServiceRecord) -> str:
    """A record of one node; its name and the node's id stand beside it."""
    (node,) = record.nodes
    return json.dumps(
        {
            "version": record.version,
            "metadata": dict(record.metadata),
            "endpoints": [asdict(replace(each, metadata=dict(each.metadata))) for each in record.endpoints],
            "address": node.address,
            "node": dict(node.metadata),
        }
    )


def from_text(name: str, id: str, text: str) -> ServiceRecord:
    """The record again. Raises ValueError for a text that is none."""
    try:
        plain = json.loads(text)
        node = Node(_text(id), _text(plain["address"]), _texts(plain["node"]))
        endpoints = tuple(_endpoint(each) for each in plain["endpoints"])
        return ServiceRecord(_text(name), _text(plain["version"]), (node,), endpoints, _texts(plain["metadata"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _endpoint(plain: Any) -> Endpoint:
    return Endpoint(
        _text(plain["name"]), _value(plain["request"]), _value(plain["response"]), _texts(plain["metadata"])
    )


def _value(plain: Any) -> Value | None:
    return None if plain is None else _shape(plain)


def _shape(plain: Any) -> Value:
    return Value(_text(plain["name"]), _text(plain["type"]), tuple(_shape(each) for each in plain["values"]))


def _texts(plain: Any) -> dict[str, str]:
    return {_text(key): _text(value, empty=True) for key, value in plain.items()}


def _text(value: Any, *, empty: bool = False) -> str:
    if isinstance(value, str) and (value or empty):
        return value
    raise ValueError(f"expected a text, not {value!r}")
