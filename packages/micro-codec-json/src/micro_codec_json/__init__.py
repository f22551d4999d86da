"""Codec `json`: application/json by msgspec; annotations that hold pydantic models by pydantic, messages by `messages`.

What goes out is what every release of Go Micro reads (WIRE §5.2): names as written, integers as numbers, never an empty
body (a reply annotated None is `{}`), bytes as base64. What comes in may be more: quoted integers, as Go's protojson
writes them, are read where an integer is due; unknown fields are left out, so that peers of different age understand
each other. NaN and infinities are refused, for JSON has none, and so is nesting deeper than MAX_DEPTH.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from micro_core import Buffer, Codec, Decode, DecodeError, Encode, NoOptions, UnsupportedType, hookimpl
from micro_schema import (
    MAX_DEPTH,
    Mend,
    Shape,
    adapter,
    decoding,
    encoding,
    holds_infinity,
    mentions_model,
    name_of,
    refusing,
    shape_of,
    shape_of_model,
    unsupported,
)

from micro_codec_json import models
from micro_codec_json.depth import too_deep

__all__ = ["MAX_DEPTH", "JsonCodec", "micro_codec"]


class JsonCodec(Codec):
    """JSON of dataclasses, msgspec Structs, TypedDicts, attrs and pydantic classes, messages, unions, plain things."""

    content_types = ("application/json",)

    def __init__(self, options: NoOptions | None = None) -> None:
        pass

    def encoder(self, type_: Any) -> Encode:  # noqa: D102
        if type_ is None or type_ is type(None):
            return _encode_nothing
        if mentions_model(type_):
            model = adapter(type_, "JSON")
            plain, shape = models.dumper(model), shape_of_model(model)
        else:
            plain, shape = msgspec.json.Encoder(enc_hook=models.enc_hook).encode, shape_of(type_, "JSON", messages=True)
        if shape.floats or shape.unbounded:
            return _checked_encoder(plain, type_, deep=shape.unbounded)
        return encoding(plain, type_, "JSON")

    def decoder(self, type_: Any) -> Decode:  # noqa: D102
        if type_ is None or type_ is type(None):
            return _decode_nothing
        if mentions_model(type_):
            model = adapter(type_, "JSON")
            shape = shape_of_model(model)
            read, refuse = models.loader(model, floats=shape.floats), refusing(type_, "JSON")
            return _deep_decoder(read, refuse) if shape.unbounded else decoding(read, refuse)
        shape = shape_of(type_, "JSON", messages=True)
        try:
            plain = msgspec.json.Decoder(type_, dec_hook=models.dec_hook).decode
        except Exception as error:
            raise UnsupportedType(f"JSON cannot carry {name_of(type_)}: {error}") from error
        mend = _lenient(type_, shape) if shape.integers else refusing(type_, "JSON")
        return (
            _deep_decoder(_copying(plain) if shape.raw else plain, mend) if shape.unbounded else decoding(plain, mend)
        )


def _encode_nothing(value: Any) -> bytes:
    if value is not None:
        raise UnsupportedType(f"expected None, not {type(value).__qualname__}")
    return b"{}"


_decode_any_object = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode


def _decode_nothing(body: Buffer) -> None:
    try:
        _decode_any_object(body)
    except Exception as error:
        raise DecodeError(f"this is not the JSON of None: {error}") from error


_null = re.compile(b"null").search  # `in` first takes the text for a number, which costs more than the search


def _checked_encoder(plain: Encode, type_: Any, *, deep: bool) -> Encode:
    """For types that may hold NaN, which msgspec and pydantic write as `null`, or nest without end."""

    def encode(value: Any) -> bytes:
        try:
            body = plain(value)
            refused = _null(body) is not None and holds_infinity(value)
        except Exception as error:
            raise unsupported(value, type_, "JSON", error) from error
        if refused:
            raise UnsupportedType(f"JSON has no NaN and no infinity, and this {type(value).__qualname__} holds one")
        if deep and too_deep(body):
            raise UnsupportedType(f"a {type(value).__qualname__} nested deeper than {MAX_DEPTH} levels is not sent")
        return body

    return encode


def _deep_decoder(plain: Decode, mend: Mend) -> Decode:
    decode = decoding(plain, mend)

    def decode_checked(body: Buffer) -> Any:
        if too_deep(body):
            raise DecodeError(f"nested deeper than {MAX_DEPTH} levels")
        return decode(body)

    return decode_checked


def _copying(plain: Decode) -> Decode:
    """A `msgspec.Raw` points into the bytes it was decoded from; they are made its own."""
    return lambda body: plain(bytes(memoryview(body)))


def _lenient(type_: Any, shape: Shape) -> Mend:
    """Reads quoted integers (WIRE §5.2), after the strict reading has failed over one."""
    lax = msgspec.json.Decoder(type_, strict=False, dec_hook=models.dec_hook).decode
    fail = refusing(type_, "JSON")

    def mend(body: Buffer, error: Exception) -> Any:
        if not (isinstance(error, msgspec.ValidationError) and "`int" in str(error) and "got `str`" in str(error)):
            return fail(body, error)
        try:
            value = lax(bytes(memoryview(body)))
            if shape.floats and holds_infinity(value):
                raise ValueError("JSON has no NaN and no infinity")
        except Exception as second:
            return fail(body, second)
        return value

    return mend


@hookimpl
def micro_codec() -> type[Codec]:
    """The class."""
    return JsonCodec
