"""What msgspec does not check: depth.

Texts hold brackets, too, so they are cut out before brackets are counted: without their escapes, every second piece
between quotes is one. All of it is done by calls that run in C over the whole body, since a body is up to megabytes of
whatever a peer chose.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from micro_core import Buffer
from micro_schema import MAX_DEPTH

_REST = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""Brackets as steps of one level, down or up, of a signed byte."""
_PAIR = b"\x01\xff"
_AT_ONCE = 16 * 1024
_BEGINNING = 4096
"""Bytes that are looked at first: bombs are as deep at once."""


def too_deep(body: Buffer) -> bool:
    """Whether arrays and objects nest deeper than MAX_DEPTH. Two counts of bytes unless there are many brackets."""
    if isinstance(body, memoryview):
        body = bytes(body)
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    return _passes(body[:_BEGINNING]) or (len(body) > _BEGINNING and _passes(body))


def _passes(body: bytes | bytearray) -> bool:
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    steps = b"".join(_outside(body.translate(_STEPS, _REST)))
    limit = MAX_DEPTH
    while len(shorter := steps.replace(_PAIR, b"")) < len(steps) // 2:  # what is innermost is one level
        steps, limit = shorter, limit - 1
    return max(accumulate(memoryview(steps).cast("b")), default=0) > limit


def _outside(steps: bytes | bytearray) -> Iterator[bytes]:
    """What is not between quotes; by and by, since a piece takes more memory than the few bytes it may stand for."""
    within = 0
    for start in range(0, len(steps), _AT_ONCE):
        pieces = steps[start : start + _AT_ONCE].split(b'"')
        yield b"".join(pieces[within::2])
        within ^= len(pieces) - 1 & 1
