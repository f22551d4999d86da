"""Codec `bytes`: application/octet-stream, bytes as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from micro_core import Buffer, Codec, Decode, Encode, NoOptions, UnsupportedType, hookimpl

__all__ = ["BytesCodec", "micro_codec"]


class BytesCodec(Codec):
    """Carries `bytes`, `bytearray` and `memoryview`; an endpoint annotated `typing.Any` is given `bytes`."""

    content_types = ("application/octet-stream",)

    def __init__(self, options: NoOptions | None = None) -> None:
        pass

    def encoder(self, type_: Any) -> Encode:  # noqa: D102
        _check(type_)
        return _encode

    def decoder(self, type_: Any) -> Decode:  # noqa: D102
        return _DECODERS[_check(type_)]


def _encode(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise UnsupportedType(f"application/octet-stream carries bytes, not {type(value).__qualname__}")


def _decode_view(body: Buffer) -> memoryview:
    return memoryview(bytes(body))


_DECODERS: dict[Any, Callable[[Buffer], Any]] = {
    Any: bytes,
    bytes: bytes,
    bytearray: bytearray,
    memoryview: _decode_view,
}


def _check(type_: Any) -> Any:
    try:
        if type_ in _DECODERS:
            return type_
    except TypeError:  # an annotation that has no hash
        pass
    raise UnsupportedType(
        f"application/octet-stream carries bytes, bytearray or memoryview, not {_name(type_)}; "
        "annotate one of them, or choose another content type such as application/json"
    )


def _name(type_: Any) -> str:
    return type_.__qualname__ if isinstance(type_, type) and not hasattr(type_, "__args__") else repr(type_)


@hookimpl
def micro_codec() -> type[Codec]:
    """The class."""
    return BytesCodec
