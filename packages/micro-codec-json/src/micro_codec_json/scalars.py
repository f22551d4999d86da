"""Single values of protobuf's kinds, between JSON and what messages hold. More is read than is written (WIRE §5.2)."""

from __future__ import annotations

import binascii
import math
import re
import struct
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from micro_schema.misfit import Misfit, expected

Read = Callable[[Any], Any]
Write = Callable[[Any], Any]

MAX_FLOAT = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")
_URL_SAFE = str.maketrans("-_", "+/")


def integer(name: str, bits: int, *, signed: bool) -> Read:
    """Reads a number, also a quoted one, and one written as a fraction that is whole."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    def read(value: Any) -> int:
        if (type(value) is str and _INTEGER.fullmatch(value)) or (type(value) is float and value.is_integer()):
            value = int(value)
        if type(value) is not int:
            raise expected(name, value)
        if not low <= value <= high:
            raise Misfit(("", f"Number out of range of `{name}`"))
        return value

    return read


def floating(name: str, most: float) -> Read:
    """Reads a number, also a quoted one, but neither NaN nor infinity."""

    def read(value: Any) -> float:
        if type(value) is str and _NUMBER.fullmatch(value):
            value = float(value)
        if type(value) not in (float, int):
            raise expected(name, value)
        if not abs(value) <= most:
            raise Misfit(("", f"Number out of range of `{name}`"))
        return float(value)

    return read


def read_bool(value: Any) -> bool:
    """Reads a truth value."""
    if type(value) is not bool:
        raise expected("bool", value)
    return value


def read_text(value: Any) -> str:
    """Reads a text."""
    if type(value) is not str:
        raise expected("string", value)
    return value


def read_bytes(value: Any) -> bytes:
    """Reads base64 of either alphabet, with or without padding."""
    if type(value) is not str:
        raise expected("base64", value)
    text = value.translate(_URL_SAFE)
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise Misfit(("", "Invalid base64")) from None


def enum(type_: EnumDescriptor) -> Read:
    """Reads the name or the number of a member; a number without a name only where the enum is open."""
    numbers = {value.name: value.number for value in type_.values}
    known = frozenset(numbers.values())
    read_number = integer(type_.full_name, 32, signed=True)

    def read(value: Any) -> int:
        if type(value) is str and value in numbers:
            return numbers[value]
        try:
            number: int = read_number(value)
        except Misfit:
            if type(value) is not str:
                raise
            raise Misfit(("", f"Unknown member {value[:40]!r} of enum `{type_.full_name}`")) from None
        if type_.is_closed and number not in known:
            raise Misfit(("", f"Unknown member {number} of enum `{type_.full_name}`"))
        return number

    return read


def write_double(value: float) -> float:
    """As it is. Raises ValueError for what JSON has not."""
    if not math.isfinite(value):
        raise ValueError("JSON has no NaN and no infinity, and this message holds one")
    return value


def write_float(value: float) -> float:
    """The shortest of the numbers that are the same 32 bits. Raises ValueError as `write_double`."""
    short = float(f"{write_double(value):.7g}")
    return short if abs(short) <= MAX_FLOAT and struct.pack("<f", short) == struct.pack("<f", value) else value


def _readers() -> dict[int, Read]:
    kind = FieldDescriptor
    int32, int64 = integer("int32", 32, signed=True), integer("int64", 64, signed=True)
    uint32, uint64 = integer("uint32", 32, signed=False), integer("uint64", 64, signed=False)
    return {
        **dict.fromkeys((kind.TYPE_INT32, kind.TYPE_SINT32, kind.TYPE_SFIXED32), int32),
        **dict.fromkeys((kind.TYPE_INT64, kind.TYPE_SINT64, kind.TYPE_SFIXED64), int64),
        **dict.fromkeys((kind.TYPE_UINT32, kind.TYPE_FIXED32), uint32),
        **dict.fromkeys((kind.TYPE_UINT64, kind.TYPE_FIXED64), uint64),
        kind.TYPE_FLOAT: floating("float", MAX_FLOAT),
        kind.TYPE_DOUBLE: floating("double", math.nextafter(math.inf, 0)),
        kind.TYPE_BOOL: read_bool,
        kind.TYPE_STRING: read_text,
        kind.TYPE_BYTES: read_bytes,
    }


READERS = _readers()
"""By the kind of a field, enums and messages left out."""

WRITERS: dict[int, Write] = {FieldDescriptor.TYPE_FLOAT: write_float, FieldDescriptor.TYPE_DOUBLE: write_double}
"""By the kind of a field; what is not here is JSON as it is."""
