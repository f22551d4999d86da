"""What msgspec does not check, whatever the bytes: NaN."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from micro_schema.models import is_model

MAX_DEPTH = 64
"""How deep arrays and maps may nest."""

_float64 = re.compile(rb"\xcb[\x7f\xff]").search  # one each: a pattern that begins with one byte is found quickly
_float32 = re.compile(rb"\xca[\x7f\xff]").search


def holds_infinity(value: Any) -> bool:
    """Whether a NaN or an infinity is anywhere inside of a value. Written as msgpack, it is seen by its bytes."""
    try:
        body = _write(value)
    except Exception:  # an integer of more than 64 bits
        return has_infinity(msgspec.to_builtins(value, enc_hook=_dump))
    return infinity_in(body)


def infinity_in(body: bytes) -> bool:
    """Whether a NaN or an infinity is there, in msgpack as msgspec writes it, which has 64 bits for a float."""
    return _float64(body) is not None and has_infinity(msgspec.msgpack.decode(body))


def may_hold_infinity(body: bytes) -> bool:
    """Whether a NaN or an infinity can be there, in msgpack, since the two bytes with which one begins are."""
    return _float64(body) is not None or _float32(body) is not None


def has_infinity(value: Any) -> bool:
    """Whether a NaN or an infinity is anywhere inside of plain dicts, lists and scalars."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(has_infinity, value)) or any(map(has_infinity, value.values()))
    return isinstance(value, list | tuple | set | frozenset) and any(map(has_infinity, value))


def _dump(value: Any) -> Any:
    return value.model_dump() if is_model(type(value)) else None


_write = msgspec.msgpack.Encoder(enc_hook=_dump).encode
