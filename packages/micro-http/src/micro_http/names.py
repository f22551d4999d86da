"""Header names: lower-case in memory, `Micro-Service` on the wire. Both ways are looked up, not computed."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HOST = re.compile(r"(?:[A-Za-z0-9._~%\-]*|\[[0-9A-Fa-f:.%]+\])(?::[0-9]{1,5})?")
METHOD = re.compile(r"[A-Z]{1,32}")
TARGET = re.compile(r"/[!\"$-~]*")
"""What names a resource here: a path, percent-encoded ASCII, without a fragment."""

UNSERVED = frozenset({"CONNECT", "HEAD", "TRACE"})
"""Methods that ask for something else than a reply with a body."""

_ROOM = 1024
_LONGEST = 128
_CALLS = 256
_LONGEST_CALL = 1024

CONTROLS = bytes(byte for byte in range(32) if byte != 9) + b"\x7f"
"""What no header may hold; the line ends among them are counted."""

FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Names that belong to the connection: never written from a head."""

VARYING = frozenset({"authorization", "cookie", "date", "micro-id", "micro-stream", "timeout", "traceparent"})
"""Names whose values differ each time, or are nothing to keep."""

OF_CALL = ("micro-id", "timeout")
"""What alone differs between two calls of our own clients to one endpoint; they write it last."""

_NUMBERED = frozenset({"micro-id", "micro-stream", "timeout"})

ALIKE = frozenset(name.replace("-", "_") for name in FRAMING if "-" in name)
"""Names that some readers take for those: never read nor written."""


class LowerNames(dict[str, str]):
    """From a name as it arrives to the name in memory. `KeyError` for what is no token. Bounded."""

    def __missing__(self, name: str) -> str:
        if _TOKEN.fullmatch(name) is None:
            raise KeyError(name)
        lower = name.lower()
        if lower in ALIKE:
            raise KeyError(name)
        if len(self) < _ROOM and len(name) <= _LONGEST:
            self[name] = lower
        return lower


class HostNames(dict[str, bool]):
    """Whether a `Host` is one. Bounded."""

    def __missing__(self, host: str) -> bool:
        good = HOST.fullmatch(host) is not None
        if len(self) < _ROOM and len(host) <= _LONGEST:
            self[host] = good
        return good


class WireLines(dict[tuple[str, str], bytes]):
    r"""From an entry of a head to `\r\nMicro-Service: greeter`, or to nothing for what is not written. Bounded.

    Raises ValueError for a name that is no token, or a value with a control character: nothing that could end a line
    early gets into one.
    """

    __slots__ = ("_names", "_numbers", "calls", "line")

    def __init__(self) -> None:
        self.line = self.__getitem__
        self._names: dict[str, bytes] = {}
        self._numbers: dict[str, bytes] = {}
        self.calls: dict[tuple[str, ...], tuple[tuple[str, ...], bytes]] = {}

    def __missing__(self, entry: tuple[str, str]) -> bytes:
        name, value = entry
        start = self._numbers.get(name)
        if start is not None and value.isascii() and value.isdigit():
            return start + value.encode()
        start = self._names.get(name)
        if start is None:
            start = self._start(name)
        raw = value.encode()
        if len(raw.translate(None, CONTROLS)) != len(raw):
            raise ValueError(f"header {name!r} holds a line break or another control character: {value[:80]!r}")
        line = start + raw if start else b""
        if name not in VARYING and len(line) <= _LONGEST:
            if len(self) >= _ROOM:
                self.clear()
            self[entry] = line
        return line

    def keep_call(self, names: tuple[str, ...], values: tuple[str, ...], block: bytes) -> None:
        """Remembers the lines of a call but the last two, by their values."""
        if len(block) <= _LONGEST_CALL:
            if len(self.calls) >= _CALLS:
                self.calls.clear()
            self.calls[values] = names, block

    def _start(self, name: str) -> bytes:
        if name.startswith(":") or name.lower() in FRAMING:
            start = b""
        elif _TOKEN.fullmatch(name) is None or name.lower() in ALIKE:
            raise ValueError(f"{name!r} cannot be the name of a header")
        else:
            start = f"\r\n{canonical(name)}: ".encode()
        if len(self._names) < _ROOM and len(name) <= _LONGEST:
            self._names[name] = start
            if name in _NUMBERED:
                self._numbers[name] = start
        return start


def canonical(name: str) -> str:
    """As Go writes it: `micro-id` becomes `Micro-Id`."""
    return "-".join(part.capitalize() for part in name.split("-"))
