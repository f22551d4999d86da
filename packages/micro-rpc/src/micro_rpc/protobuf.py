"""Fields of protobuf, for the few messages of the protocols themselves, which need no library for it."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """A number of at least 0: seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def sized(data: bytes) -> bytes:
    """Bytes behind their length."""
    return varint(len(data)) + data


def data_field(number: int, data: bytes) -> bytes:
    """A field of bytes, or of a message; `number` is below 16."""
    return bytes((number << 3 | 2,)) + sized(data)


def text_field(number: int, text: str) -> bytes:
    """A field of text; what UTF-8 cannot say is a question mark."""
    return data_field(number, text.encode(errors="replace"))


def number_field(number: int, value: int) -> bytes:
    """A field of a number; nothing for 0, which is what a field that is not there holds."""
    return bytes((number << 3,)) + varint(value) if value else b""
