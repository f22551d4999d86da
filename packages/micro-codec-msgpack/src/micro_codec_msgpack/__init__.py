"""Codec `msgpack`: application/msgpack, read by the msgpack package within limits, typed by msgspec or pydantic.

The same Python types as JSON, and of these as msgpack has them: bytes as bin, aware datetimes as timestamps, keys of
maps as they are. A value that is annotated None is an empty map, as in JSON; unknown fields are left out, so that peers
of different age understand each other. NaN and infinities are refused, so that a value of one codec is a value of the
other.

What is written is msgspec's: the shortest form of everything. What is read is first measured, without anything being
built (`reading`), then built of plain dicts and lists, then made what the annotation asks for. Where it asks for
something that cannot nest without end there is a shorter way: msgspec reads the value and writes it again, and bytes
that are the same hold no key twice and nothing else that would have been refused. That is what a peer of ours sends, at
a third of the cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from micro_core import Buffer, Codec, Decode, Encode, NoOptions, UnsupportedType, hookimpl
from micro_schema import (
    MAX_DEPTH,
    Shape,
    adapter,
    decoding,
    encoding,
    infinity_in,
    mentions_model,
    name_of,
    refusing,
    shape_of,
    shape_of_model,
    unsupported,
)

from micro_codec_msgpack import models
from micro_codec_msgpack.reading import may_be_too_deep, reader, too_deep

__all__ = ["MAX_DEPTH", "MsgpackCodec", "micro_codec"]

FORM = "msgpack"
NATIVE = (bytes, bytearray)
"""What msgpack has and JSON does not, and is therefore not read from a text; datetimes are read from either."""


class MsgpackCodec(Codec):
    """Msgpack of dataclasses, msgspec Structs, TypedDicts, attrs and pydantic classes, unions, and everything plain."""

    content_types = ("application/msgpack",)

    def __init__(self, options: NoOptions | None = None) -> None:
        pass

    def encoder(self, type_: Any) -> Encode:  # noqa: D102
        if type_ is None or type_ is type(None):
            return _encode_nothing
        if mentions_model(type_):
            model = adapter(type_, FORM)
            plain, shape = models.dumper(model), shape_of_model(model)
        else:
            plain, shape = msgspec.msgpack.Encoder(enc_hook=models.enc_hook).encode, _shape(type_)
        if shape.floats or shape.unbounded:
            return _checked_encoder(plain, type_, deep=shape.unbounded)
        return encoding(plain, type_, FORM)

    def decoder(self, type_: Any) -> Decode:  # noqa: D102
        refuse = refusing(type_, FORM)
        if type_ is None or type_ is type(None):
            return decoding(_decode_nothing, refuse)
        if mentions_model(type_):
            model = adapter(type_, FORM)
            shape = shape_of_model(model)
            read = reader(floats=shape.floats, deep=shape.unbounded, keys=shape.keys)
            return decoding(_joined(read, models.loader(model)), refuse)
        shape = _shape(type_)
        read = reader(floats=shape.floats, deep=shape.unbounded, keys=shape.keys)
        if type_ is Any:
            return decoding(read, refuse)
        careful = decoding(_joined(read, _converter(type_)), refuse)
        return careful if shape.unbounded else _quick_decoder(type_, shape, careful)


def _shape(type_: Any) -> Shape:
    shape = shape_of(type_, FORM)
    if shape.raw:
        raise UnsupportedType(f"msgpack cannot carry {name_of(type_)}: a msgspec.Raw is JSON that was not read yet")
    return shape


def _converter(type_: Any) -> Callable[[Any], Any]:
    """Plain values to values of the type. Raises UnsupportedType where msgspec cannot tell what is meant."""

    def convert(value: Any) -> Any:
        return msgspec.convert(value, type_, builtin_types=NATIVE, dec_hook=models.dec_hook)

    try:
        convert(None)
    except msgspec.ValidationError:
        pass
    except Exception as error:
        raise UnsupportedType(f"msgpack cannot carry {name_of(type_)}: {error}") from error
    return convert


def _joined(read: Decode, convert: Callable[[Any], Any]) -> Decode:
    return lambda body: convert(read(body))


def _quick_decoder(type_: Any, shape: Shape, careful: Decode) -> Decode:
    """Takes what is written as we write; all else, bad bytes among it, is for the careful one."""
    read, write, floats = msgspec.msgpack.Decoder(type_).decode, msgspec.msgpack.Encoder().encode, shape.floats

    def decode(body: Buffer) -> Any:
        if type(body) is not bytes:
            body = bytes(body)
        try:
            value = read(body)
            if write(value) == body and not (floats and infinity_in(body)):
                return value
        except Exception:  # noqa: S110
            pass
        return careful(body)

    return decode


def _encode_nothing(value: Any) -> bytes:
    if value is not None:
        raise UnsupportedType(f"expected None, not {type(value).__qualname__}")
    return b"\x80"


_read_anything = reader(floats=True, deep=True, keys=False)


def _decode_nothing(body: Buffer) -> None:
    value = _read_anything(body)
    if not (value is None or isinstance(value, dict)):
        raise TypeError(f"Expected a map or nil, got {type(value).__qualname__}")


_plain = msgspec.msgpack.Decoder().decode


def _checked_encoder(plain: Encode, type_: Any, *, deep: bool) -> Encode:
    """For types that may hold NaN or nest without end."""

    def encode(value: Any) -> bytes:
        try:
            body = plain(value)
            refused = infinity_in(body)
            endless = deep and may_be_too_deep(body) and too_deep(_plain(body))
        except Exception as error:
            raise unsupported(value, type_, FORM, error) from error
        if refused:
            raise UnsupportedType(f"NaN and infinities are not sent, and this {type(value).__qualname__} holds one")
        if endless:
            raise UnsupportedType(f"a {type(value).__qualname__} nested deeper than {MAX_DEPTH} levels is not sent")
        return body

    return encode


@hookimpl
def micro_codec() -> type[Codec]:
    """The class."""
    return MsgpackCodec
