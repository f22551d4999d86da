"""What is remembered of heads that were read, so that the same line is not read twice. All of it is bounded."""

from __future__ import annotations

import re

from micro_core import Head

from micro_http.names import OF_CALL, VARYING, HostNames, LowerNames

_LINES = 1024
_LONGEST_LINE = 128
_REPLIES = 256
_LONGEST_REPLY = 512
_CALLS = 256
_LONGEST_CALL = 1024

_LAST_LINES = b"\r\nMicro-Id: "
_CALL = re.compile(rb"\r\nMicro-Id: ([0-9]{1,20})\r\nTimeout: ([0-9]{1,20})\r\nContent-Length: ([0-9]{1,10})\r\n\r\n")
"""How the heads of our own clients' calls end; what stands before is the same for all calls to an endpoint."""

_END = b"\r\n\r\n"


class Malformed(Exception):
    """What the peer sent is no message, or one over a limit. `status` is what a server answers."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Lines(dict[str, tuple[str, str]]):
    """Name and value of a header line, remembered where it is likely to come again. Raises Malformed."""

    __slots__ = ("_names",)

    def __init__(self, names: LowerNames) -> None:
        self._names = names

    def __missing__(self, line: str) -> tuple[str, str]:
        name, colon, value = line.partition(":")
        try:
            lower = self._names[name] if colon else self._names[""]
        except KeyError:
            raise Malformed(400, f"no header: {line[:80]!r}") from None
        pair = (lower, value.strip(" \t"))
        if lower not in VARYING and len(line) <= _LONGEST_LINE:
            if len(self) >= _LINES:
                self.clear()
            self[line] = pair
        return pair


class Tables:
    """What the parsers of one client or listener share, all of it bounded."""

    __slots__ = ("calls", "hosts", "lines", "names", "replies", "starts")

    def __init__(self) -> None:
        self.names = LowerNames()
        self.hosts = HostNames()
        self.lines = Lines(self.names)
        self.starts: dict[str, tuple[str, str, bool]] = {}
        self.replies: dict[bytes, tuple[Head, int, bool]] = {}
        self.calls: dict[bytes, tuple[Head, bool]] = {}

    def keep_reply(self, raw: bytes, head: Head, need: int, keep_alive: bool) -> None:
        """Remembers what a reply's whole head says, where it is likely to come again."""
        if len(raw) <= _LONGEST_REPLY and head.keys().isdisjoint(VARYING):
            if len(self.replies) >= _REPLIES:
                self.replies.clear()
            self.replies[raw] = head.copy(), need, keep_alive

    def reply(self, data: bytes) -> tuple[Head, bytes, bool] | None:
        """Head and body of a reply whose head came before, and whether the connection is kept."""
        end = data.find(_END)
        known = self.replies.get(data[:end])
        if known is None or len(data) != end + 4 + known[1]:
            return None
        return known[0].copy(), data[end + 4 :], known[2]

    def call(self, data: bytes) -> tuple[Head, bytes, bool] | None:
        """Head and body of a call whose lines but the last three came before, and whether the connection is kept."""
        last = data.find(_LAST_LINES)
        known = self.calls.get(data[:last])
        if known is None or (said := _CALL.match(data, last)) is None:
            return None
        number, timeout, length = said.groups()
        body = data[said.end() :]
        if len(body) != int(length):
            return None
        head = known[0].copy()
        head["micro-id"] = number.decode()
        head["timeout"] = timeout.decode()
        return head, body, known[1]

    def keep_call(self, raw: bytes, head: Head, keep_alive: bool) -> None:
        """Remembers the lines of a call but the last three. `head` is what all of them say, none of them repeated."""
        last = raw.find(_LAST_LINES)
        fits = 0 < last <= _LONGEST_CALL and _CALL.fullmatch(raw + _END, last) is not None
        if fits and head.keys() & VARYING == set(OF_CALL):
            if len(self.calls) >= _CALLS:
                self.calls.clear()
            self.calls[raw[:last]] = head.copy(), keep_alive
