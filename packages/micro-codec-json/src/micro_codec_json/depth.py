"""What msgspec does not check: depth, NaN."""

from __future__ import annotations

import math
import re
from typing import Any

from micro_core import Buffer

MAX_DEPTH = 64

_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # possessive: linear, whatever the bytes
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def too_deep(body: Buffer) -> bool:
    """Whether arrays and objects nest deeper than MAX_DEPTH. Two counts of bytes unless there are many brackets."""
    if isinstance(body, memoryview):
        body = bytes(body)
    return body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth_passes(body, MAX_DEPTH)


def _depth_passes(body: bytes | bytearray, limit: int) -> bool:
    depth = 0
    for byte in _TEXT.sub(b"", body).translate(None, _NOT_BRACKETS):
        if byte in b"[{":
            depth += 1
            if depth > limit:
                return True
        else:
            depth -= 1
    return False


def has_infinity(value: Any) -> bool:
    """Whether a NaN or an infinity is anywhere inside of plain dicts, lists and scalars."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(has_infinity, value.values()))
    return isinstance(value, list | tuple | set | frozenset) and any(map(has_infinity, value))
