"""What msgspec does not check, whatever the bytes: NaN."""

from __future__ import annotations

import math
from typing import Any

MAX_DEPTH = 64
"""How deep arrays and maps may nest."""


def has_infinity(value: Any) -> bool:
    """Whether a NaN or an infinity is anywhere inside of plain dicts, lists and scalars."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(has_infinity, value)) or any(map(has_infinity, value.values()))
    return isinstance(value, list | tuple | set | frozenset) and any(map(has_infinity, value))
