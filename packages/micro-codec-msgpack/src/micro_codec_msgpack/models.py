"""Msgpack of pydantic models, by way of plain values: bytes and datetimes stay what they are.

A strict model takes a UUID from JSON's text and refuses it from Python's. What a strict model refuses is therefore read
again as JSON, unless there are bytes, for which JSON has no form that could be told from a text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from micro_core import Encode
from micro_schema import is_model

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def dumper(adapter: TypeAdapter[Any]) -> Encode:
    """Values to bytes; a value that is not of the type is an error instead of pydantic's warning."""
    dump = adapter.serializer.to_python
    return lambda value: _write(dump(value, by_alias=True, warnings="error"))


def loader(adapter: TypeAdapter[Any]) -> Callable[[Any], Any]:
    """Plain values to values of the type."""
    return _twice(adapter.validator.validate_python, adapter.validator.validate_json)


def enc_hook(value: Any) -> Any:
    """A model inside of something else, as msgpack."""
    if is_model(type(value)):
        return msgspec.Raw(_write(value.model_dump(by_alias=True, warnings="error")))
    raise TypeError(f"there is no msgpack for {type(value).__module__}.{type(value).__qualname__}")


def dec_hook(type_: type[Any], value: Any) -> Any:
    """A model inside of something else, from plain values."""
    return _twice(type_.model_validate, type_.model_validate_json)(value)


def _jsonable(value: Any) -> Any:
    """What pydantic knows and msgspec does not, URLs and paths among them, as in JSON."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


_write = msgspec.msgpack.Encoder(enc_hook=_jsonable).encode


def _twice(validate: Callable[[Any], Any], validate_json: Callable[[bytes], Any]) -> Callable[[Any], Any]:
    def load(value: Any) -> Any:
        try:
            return validate(value)
        except ValueError:
            if _holds_bytes(value):
                raise
        return validate_json(msgspec.json.encode(value))

    return load


def _holds_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_bytes, value)) or any(map(_holds_bytes, value.values()))
    return isinstance(value, bytes) or (isinstance(value, list) and any(map(_holds_bytes, value)))
