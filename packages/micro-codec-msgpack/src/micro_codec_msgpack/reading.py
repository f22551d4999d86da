"""Untrusted bytes to plain values, within limits.

An array of msgpack begins with its length, and a reader that believes it makes room before it has seen an element: five
bytes ask for gigabytes, and a thousand nested ones for a thousand times the size of the message. So a message is first
walked from end to end without building anything, which finds what is truncated, forged, left over or endless at the
speed of C. Only then is it read.

    depth       64 levels where the annotation lets a value nest; what it does not name is skipped
    lengths     of what is there
    keys        none twice; a map of more than 64 has keys of text or bytes, unless the annotation names others, since
                numbers can be chosen so that a dict of them takes quadratic time
    texts       UTF-8, so no unpaired surrogate
    numbers     64 bits, which is all msgpack has; no NaN, no infinity
"""

from __future__ import annotations

from typing import Any

from micro_core import Buffer, Decode
from micro_schema import MAX_DEPTH, has_infinity, may_hold_infinity
from msgpack import Unpacker, unpackb
from msgpack.exceptions import FormatError, OutOfData, StackError
from msgspec.msgpack import Ext

FEW = 64
"""Keys of any kind that a map may have."""

_NOT_CONTAINERS = bytes(set(range(256)) - {*range(0x80, 0xA0), *range(0xDC, 0xE0)})
_DATETIME = 3
"""The name that the msgpack package has for reading timestamps as datetimes, in UTC."""


def reader(*, floats: bool, deep: bool, keys: bool) -> Decode:
    """A function from bytes to plain values; what they may hold decides which checks there are.

    Args:
        floats: there may be NaN.
        deep: there may be nesting without end.
        keys: maps may have many keys that are not texts.
    """
    as_map = _map if keys else _map_of_texts

    def read(body: Buffer) -> Any:
        if type(body) is not bytes:
            body = bytes(body)
        _walk(body)
        value = unpackb(body, object_pairs_hook=as_map, ext_hook=Ext, timestamp=_DATETIME, strict_map_key=False)
        if deep and may_be_too_deep(body) and too_deep(value):
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if floats and may_hold_infinity(body) and has_infinity(value):
            raise ValueError("NaN and infinities are not read")
        return value

    return read


def _walk(body: bytes) -> None:
    unpacker = Unpacker(max_buffer_size=len(body))
    try:
        unpacker.feed(body)
        unpacker.skip()
    except OutOfData:
        raise ValueError("Input data was truncated") from None
    except StackError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    except FormatError:
        raise ValueError("a byte of 0xc1, which msgpack does not have") from None
    if unpacker.tell() != len(body):
        raise ValueError(f"trailing bytes after byte {unpacker.tell()}")


def _map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    try:
        found = dict(pairs)
    except TypeError:
        found = {_hashable(key): value for key, value in pairs}
    if len(found) != len(pairs):
        raise ValueError("a map holds a key twice")
    return found


def _map_of_texts(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    if len(pairs) > FEW and not {type(key) for key, _ in pairs} <= {str, bytes}:
        raise ValueError(f"a map of more than {FEW} keys has one that is no text, which the annotation does not name")
    return _map(pairs)


def _hashable(key: Any) -> Any:
    if isinstance(key, dict):
        raise ValueError("a map is the key of another")
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def may_be_too_deep(body: bytes) -> bool:
    """Whether there are enough bytes that may begin an array or a map."""
    return len(body) > MAX_DEPTH and len(body.translate(None, _NOT_CONTAINERS)) > MAX_DEPTH


def too_deep(value: Any) -> bool:
    """Whether dicts and lists nest deeper than MAX_DEPTH; level by level, so it may be as deep as it likes."""
    level = [value] if isinstance(value, _NESTING) else []
    for _ in range(MAX_DEPTH):
        level = [part for each in level for part in _parts(each) if isinstance(part, _NESTING)]
        if not level:
            return False
    return True


_NESTING = (dict, list, tuple, set, frozenset)


def _parts(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value
