"""What is remembered of heads that were read, so that the same line is not read twice. All of it is bounded."""

from __future__ import annotations

from micro_http.names import HostNames, LowerNames

_LINES = 1024
_LONGEST_LINE = 128
# Different each time, or nothing to keep.
_VARYING = frozenset(
    {"authorization", "content-length", "cookie", "date", "micro-id", "micro-stream", "timeout", "traceparent"}
)


class Malformed(Exception):
    """What the peer sent is no message, or one over a limit. `status` is what a server answers."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Tables:
    """What the parsers of one client or listener share, all of it bounded."""

    __slots__ = ("hosts", "lines", "names", "starts")

    def __init__(self) -> None:
        self.names = LowerNames()
        self.hosts = HostNames()
        self.lines: dict[str, tuple[str, str]] = {}
        self.starts: dict[str, tuple[str, str, bool]] = {}

    def read_line(self, line: str) -> tuple[str, str]:
        """Name and value of a header line, remembered where it is likely to come again. Raises Malformed."""
        name, colon, value = line.partition(":")
        try:
            lower = self.names[name] if colon else self.names[""]
        except KeyError:
            raise Malformed(400, f"no header: {line[:80]!r}") from None
        pair = (lower, value.strip(" \t"))
        if lower not in _VARYING and len(line) <= _LONGEST_LINE:
            if len(self.lines) >= _LINES:
                self.lines.clear()
            self.lines[line] = pair
        return pair
