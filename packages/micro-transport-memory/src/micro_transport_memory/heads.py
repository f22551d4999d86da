"""What a head may hold, and the refusals of this transport."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from micro_core import Head, Message

_TOKEN = re.compile(r":?[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check_head(head: Head) -> None:
    """Raises ValueError for a name or value that no header may hold, as any other transport does."""
    for name in head:
        _check_name(name)
    values = "\t".join(head.values())
    if _FORBIDDEN.search(values):
        name = next(name for name, value in head.items() if _FORBIDDEN.search(value))
        raise ValueError(f"header {name!r} holds a line break or another control character")
    values.encode()


@lru_cache(maxsize=1024)
def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no header name")


def refusal(code: int, status: str, detail: str, *, unprocessed: bool) -> Message:
    """An error that the transport itself answers, in Go Micro's form (WIRE §5.3, §12)."""
    error = json.dumps({"id": "micro.transport.memory", "code": code, "detail": detail, "status": status})
    head = {"content-type": "application/json", "micro-error": error}
    if unprocessed:
        head["micro-unprocessed"] = "1"
    return Message(head)
