"""Codec `proto`: application/protobuf, messages that protoc made (WIRE §5.2).

The library refuses most of what a peer should not send: truncated and forged lengths, bytes behind the end, nesting
deeper than 100 levels, text of proto3 that is not UTF-8. It lets through what proto2 permits itself: a required field
that is missing, and text that is not UTF-8, which would reach the handler as bytes. Both are refused here. Fields that
the receiver does not know are kept by the message, as protobuf has it. No value at all is the message without fields.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, get_args, get_origin

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from micro_core import Buffer, Codec, Decode, DecodeError, Encode, NoOptions, UnsupportedType, hookimpl
from micro_core.codec import is_protobuf
from micro_schema import lacking

from micro_codec_proto.checks import may_lack, takes_any_bytes, unreadable

__all__ = ["ProtoCodec", "micro_codec"]


class ProtoCodec(Codec):
    """Protobuf messages, and None. An encoder for `typing.Any` takes any message; a decoder needs the class."""

    content_types = ("application/protobuf",)

    def __init__(self, options: NoOptions | None = None) -> None:
        pass

    def encoder(self, type_: Any) -> Encode:  # noqa: D102
        if type_ is Any:
            return _encode_any
        if type_ is None or type_ is type(None):
            return _encode_nothing
        return _encoder(_message_class(type_))

    def decoder(self, type_: Any) -> Decode:  # noqa: D102
        if type_ is None or type_ is type(None):
            return _decoder_of_nothing()
        return _decoder(_message_class(type_))


@lru_cache(maxsize=1024)
def _encoder_of(cls: type[Any]) -> Encode:
    return _encoder(_message_class(cls))


def _encode_any(value: Any) -> bytes:
    cls: Any = type(value)
    return b"" if value is None else _encoder_of(cls)(value)


def _encode_nothing(value: Any) -> bytes:
    if value is not None:
        raise UnsupportedType(f"expected None, not {type(value).__qualname__}")
    return b""


def _encoder(cls: type[Message]) -> Encode:
    serialize, required = cls.SerializePartialToString, may_lack(cls)

    def encode(value: Any) -> bytes:
        if type(value) is not cls:
            raise UnsupportedType(f"expected {_name(cls)}, not {type(value).__qualname__}")
        try:
            if required and (paths := lacking(value)):
                raise ValueError(f"it lacks {', '.join(paths)}")
            return serialize(value)
        except Exception as error:
            raise UnsupportedType(f"this {_name(cls)} cannot be written as protobuf: {error}") from error

    return encode


def _decoder(cls: type[Message]) -> Decode:
    parse, name = _parser(cls), _name(cls)
    required, texts = may_lack(cls), takes_any_bytes(cls)
    if not (required or texts):
        return parse

    def decode(body: Buffer) -> Any:
        if type(body) is not bytes:
            body = bytes(body)
        value = parse(body)
        if texts and not body.isascii() and (path := unreadable(value)):
            raise DecodeError(f"this is not the protobuf of {name}: String field had bad UTF-8 at {path}")
        if required and (paths := lacking(value)):
            raise DecodeError(f"this is not the protobuf of {name}: it lacks {', '.join(paths)}")
        return value

    return decode


def _parser(cls: type[Message]) -> Decode:
    parse, name = cls.FromString, _name(cls)

    def decode(body: Buffer) -> Any:
        try:
            return parse(body)  # type: ignore[arg-type]  # any buffer, whatever the stub says
        except Exception as error:
            reason = str(error).rpartition("': ")[2]
            raise DecodeError(f"this is not the protobuf of {name}: {reason}") from error

    return decode


def _decoder_of_nothing() -> Decode:
    parse = _parser(Empty)

    def decode(body: Buffer) -> None:
        parse(body)

    return decode


def _message_class(type_: Any) -> type[Message]:
    cls = get_args(type_)[0] if get_origin(type_) is Annotated else type_
    if is_protobuf(cls):
        message: type[Message] = cls
        return message
    raise UnsupportedType(
        f"application/protobuf carries messages that protoc made, not {_name(type_)}; "
        "annotate one, or choose another content type such as application/json"
    )


def _name(type_: Any) -> str:
    return type_.__qualname__ if isinstance(type_, type) and not hasattr(type_, "__args__") else repr(type_)


@hookimpl
def micro_codec() -> type[Codec]:
    """The class."""
    return ProtoCodec
