"""JSON of what is not msgspec's: pydantic writes and reads its models, `messages` protobuf's messages.

Msgspec hands them what stands inside of other classes; a message also where it stands alone.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from micro_core import Buffer, Decode, Encode
from micro_core.codec import is_protobuf
from micro_schema import holds_infinity, is_model

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def dumper(adapter: TypeAdapter[Any]) -> Encode:
    """Values to bytes; a value that is not of the type is an error instead of pydantic's warning."""
    dump = adapter.serializer.to_json

    def encode(value: Any) -> bytes:
        return dump(value, by_alias=True, warnings="error")

    return encode


def loader(adapter: TypeAdapter[Any], *, floats: bool) -> Decode:
    """Bytes to values; pydantic's own reader makes infinities, so bodies that may hold one are for msgspec first."""
    validate = adapter.validator.validate_json

    def decode(body: Buffer) -> Any:
        text = body if type(body) is bytes else bytes(body)
        if _nan(text) is None and _infinity(text) is None and not (floats and _may_overflow(text)):
            return validate(text)
        msgspec.json.decode(text)
        value = validate(text)
        if floats and holds_infinity(value):
            raise ValueError("JSON has no NaN and no infinity")
        return value

    return decode


_nan, _infinity = re.compile(b"NaN").search, re.compile(b"Infinity").search
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")


_MANY = b"0" * 200


def _may_overflow(text: bytes) -> bool:
    """Whether there may be a number above 1.8e308: with an exponent of three digits, or with very many of its own."""
    plain = text.translate(_DIGITS)
    return plain.find(b"e000") >= 0 or plain.find(b"e+000") >= 0 or plain.find(_MANY) >= 0


def enc_hook(value: Any) -> Any:
    """A model or a message inside of something else, as JSON."""
    if is_model(type(value)):
        return msgspec.Raw(value.model_dump_json(by_alias=True, warnings="error").encode())
    if is_protobuf(type(value)):
        return _messages().plain_of(value)
    raise TypeError(f"there is no JSON for {type(value).__module__}.{type(value).__qualname__}")


def dec_hook(type_: type[Any], value: Any) -> Any:
    """A model or a message inside of something else, from what msgspec read."""
    if is_protobuf(type_):
        return _messages().message_of(type_, value)
    return type_.model_validate_json(msgspec.json.encode(value))


@cache
def _messages() -> Any:
    from micro_codec_json import messages

    return messages
