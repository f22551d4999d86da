"""Reads HTTP/1.1 messages from bytes that were cut anywhere. No I/O, no clock: bytes in, messages out.

One rule stands behind every check: what two readers could take for different messages is refused, never mended. So a
line ends with CRLF and nothing else; a header's name is a token, followed by its colon at once; no line is folded; no
header holds a control character but the tab; there is one `Host`, one `Content-Length` of digits alone, or one
`Transfer-Encoding` that is `chunked`, never two of these; a chunk's size is hexadecimal digits and nothing behind
them; there are no trailers. Both sides are read like that: a reply that is open to two readings is as bad.

The common case is fast because it is taken whole: a head that is there completely is decoded and split once, lines are
looked up in a bounded table of good ones, since a peer sends most of them again and again, and *one* pass over the raw
bytes removes every control character: the head is clean when exactly the line ends are missing afterwards. Repeated
names are noticed by the count of entries. A head that arrives in pieces is joined and searched from where the last
search ended; a body that does is collected.

What arrives as known messages begin, whole and alone, is recognised as bytes that were read before (`take`): of all
calls of our own clients to one endpoint only the id, the timeout and the length differ, which they write last, and the
heads of replies come again as they are.

Of a repeated header the first value counts, as in Go. Text is UTF-8, which Go sends raw; a line that is not is read as
Latin-1.
"""

from __future__ import annotations

import re

from micro_core import Head, Message

from micro_http.limits import Limits
from micro_http.names import CONTROLS, METHOD, TARGET, UNSERVED
from micro_http.tables import Malformed, Tables

_REQUEST = re.compile(rf"({METHOD.pattern}) ({TARGET.pattern}) HTTP/1\.([01])")
_REPLY = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [^\r\n]*)?")
_BROKEN = re.compile(rb"(?<!\r)\n|\r[^\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BEGIN = re.compile(rb"(?:\r\n?)?(?:[A-Z]|\Z)")
_VERSION = b"HTTP/1."
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_SINGLE = frozenset({"content-length", "host", "transfer-encoding"})
_END = b"\r\n\r\n"
_STARTS = 512
_CHUNKS = 4096
_INTERIMS = 100
_AROUND_TARGET = 64
_SIZE_LINE = 12
_UNTIL_CLOSE = -1
_CHUNKED = -2


class Parser:
    """Messages of one direction of one connection.

    Attributes:
        keep_alive: whether the connection may be used again after the message that was returned last.
        expects_continue: the body that is missing is sent after `100 Continue` alone.
        alone: whether the message that was returned last arrived whole, with nothing before or behind it.
    """

    __slots__ = (
        "_chunks",
        "_data",
        "_head",
        "_interims",
        "_left",
        "_limits",
        "_need",
        "_parts",
        "_pos",
        "_quick",
        "_recall",
        "_replies",
        "_scanned",
        "_size",
        "_skipped",
        "_tables",
        "alone",
        "expects_continue",
        "keep_alive",
    )

    def __init__(self, limits: Limits, tables: Tables, *, replies: bool = False) -> None:
        self._limits = limits
        self._tables = tables
        self._replies = replies
        self._recall = tables.reply if replies else tables.call
        self._quick = min(limits.head, limits.body)
        self._data = b""
        self._pos = 0
        self._scanned = 0
        self._skipped = False
        self._head: Head | None = None
        self._interims = 0
        self._need = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._chunks = 0
        self._left = 0
        self.keep_alive = True
        self.expects_continue = False
        self.alone = False

    @property
    def waiting(self) -> int:
        """Bytes that were fed and not looked at yet."""
        return len(self._data) - self._pos

    @property
    def unread(self) -> bytes:
        """What was fed and not looked at yet."""
        return self._data[self._pos :]

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._pos < len(self._data) or self._head is not None

    @property
    def in_body(self) -> bool:
        """Whether the head of the unfinished message is complete."""
        return self._head is not None

    def take(self, data: bytes) -> Message | None:
        """`feed` and `poll`: quick where a message arrives whole and alone, and begins as one that was read before."""
        if self._head is None and self._pos == len(self._data):
            recall = self._recall
            known = recall(data) if len(data) <= self._quick else None
            if known is not None:
                head, body, self.keep_alive = known
                self._interims = 0
                self._skipped = False
                self.alone = True
                return Message(head, body)
        self.feed(data)
        return self.poll()

    def feed(self, data: bytes) -> None:
        """Takes what arrived."""
        self.alone = False
        if self._pos == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._pos :] + data
        self._pos = 0

    def poll(self) -> Message | None:
        """The next message that is there whole. Raises Malformed, after which the parser is of no use."""
        while self._head is None:
            if not self._take_head():
                return None
        if self._need >= 0:
            return self._take_counted()
        return self._take_chunked() if self._need == _CHUNKED else self._take_rest()

    def finish(self) -> Message | None:
        """The peer will send nothing more. Raises Malformed within a message; None between two."""
        if self._head is not None and self._need == _UNTIL_CLOSE:
            self._take_rest()
            return self._message(b"".join(self._parts))
        if self.partial:
            raise Malformed(400, "the connection was closed within a message")
        return None

    # Head

    def _take_head(self) -> bool:
        """Reads one head; False where it is not there yet. One of an interim reply leaves nothing behind."""
        data, pos = self._data, self._pos
        if pos == len(data):
            return False
        if not self._replies and not self._skipped and data.startswith(b"\r\n", pos):
            self._skipped = True
            pos = self._pos = pos + 2
        end = data.find(_END, pos + self._scanned)
        if end < 0:
            self._look_at_part(data[pos:])
            return False
        if end - pos > self._limits.head:
            self._look_at_part(data[pos : end + 4])
        self._scanned = 0
        self._skipped = False
        self._pos = end + 4
        self._read_head(data[pos:end])
        return True

    def _look_at_part(self, data: bytes) -> None:
        """A head that is broken beyond repair is refused before its end has arrived."""
        if (broken := _BROKEN.search(data, max(0, self._scanned - 1))) is not None:
            raise Malformed(400, f"unexpected byte {broken.group()[-1]:#04x} in a header")
        if self._replies and not data.startswith(_VERSION[: len(data)]):
            raise Malformed(400, f"no status line: {data[:80]!r}")
        if not self._replies and not _BEGIN.match(data):
            raise Malformed(400, f"no request line: {data[:80]!r}")
        if len(data) > self._limits.uri + _AROUND_TARGET and b"\r\n" not in data[: self._limits.uri + _AROUND_TARGET]:
            raise Malformed(400 if self._replies else 414, f"the request target is over {self._limits.uri} bytes")
        if len(data) > self._limits.head + 3:
            raise Malformed(431, f"the header is over {self._limits.head} bytes")
        self._scanned = max(0, len(data) - 3)

    def _read_head(self, raw: bytes) -> None:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = "\r\n".join(map(_decode, raw.split(b"\r\n")))
        lines = text.split("\r\n")
        if len(raw.translate(None, CONTROLS)) != len(raw) - 2 * len(lines) + 2:
            raise Malformed(400, "a control character in a header")
        if len(lines) > self._limits.lines + 1:
            raise Malformed(431, f"more than {self._limits.lines} header lines")
        start = lines[0]
        first, second, modern = self._tables.starts.get(start) or self._read_start(start)
        head: Head = {":status": first} if self._replies else {":method": first, ":path": second}
        expected = len(head) + len(lines) - 1
        del lines[0]
        known = self._tables.lines
        for line in lines:
            name, value = known[line]
            head[name] = value
        simple = len(head) == expected and "expect" not in head
        if len(head) != expected:
            self._resolve_repeated(head, lines)
        self._decide(head, modern)
        if self._replies and self._head is not None:
            self._tables.keep_reply(raw, head, self._need, self.keep_alive)
        elif simple and not self._replies:
            self._tables.keep_call(raw, head, self.keep_alive)

    def _read_start(self, start: str) -> tuple[str, str, bool]:
        if self._replies:
            reply = _REPLY.fullmatch(start)
            if reply is None:
                raise Malformed(400, f"no status line: {start[:80]!r}")
            found = (reply.group(2), "", reply.group(1) == "1")
        else:
            found = self._read_request_line(start)
        if len(self._tables.starts) < _STARTS and len(start) < 256:
            self._tables.starts[start] = found
        return found

    def _read_request_line(self, start: str) -> tuple[str, str, bool]:
        target = start.partition(" ")[2].partition(" ")[0]
        if len(target) > self._limits.uri:
            raise Malformed(414, f"the request target is over {self._limits.uri} bytes")
        request = _REQUEST.fullmatch(start)
        if request is None:
            raise Malformed(400, f"no request line: {start[:80]!r}")
        if request.group(1) in UNSERVED:
            raise Malformed(405, f"{request.group(1)} is not served here")
        return request.group(1), request.group(2), request.group(3) == "1"

    def _resolve_repeated(self, head: Head, lines: list[str]) -> None:
        seen: dict[str, str] = {}
        for line in lines:
            name, value = self._tables.lines[line]
            if name not in seen:
                seen[name] = value
            elif name in _SINGLE:
                raise Malformed(400, f"more than one {name}")
            elif name == "connection":
                seen[name] += "," + value
        head.update(seen)

    # What the head says about the body

    def _decide(self, head: Head, modern: bool) -> None:
        length = head.pop("content-length", None)
        coding = head.pop("transfer-encoding", None)
        options = head.pop("connection", None)
        self.keep_alive = modern if options is None else _keeps_alive(options, modern)
        if not self._replies:
            host = head.get("host")
            if host is None:
                if modern:
                    raise Malformed(400, "no Host")
            elif not self._tables.hosts[host]:
                raise Malformed(400, f"no host: {host[:80]!r}")
        if coding is not None:
            self._need = _chunked(coding, length, modern)
        elif length is not None:
            self._need = self._length(length)
        else:
            self._need = self._unsaid(head)
        if self._replies:
            self._begin_reply(head)
        else:
            self._head = head
            if "expect" in head:
                self._expect(head)

    def _expect(self, head: Head) -> None:
        if head.pop("expect").lower() != "100-continue":
            raise Malformed(417, "only 100-continue can be expected")
        self.expects_continue = self._need != 0

    def _begin_reply(self, head: Head) -> None:
        status = head[":status"]
        if status[0] != "1":
            if status == "304" and self._need > 0:
                self._need = 0  # the length is that of another reply (RFC 9110 §15.4.5)
            elif status in ("204", "304") and self._need:
                raise Malformed(400, "a reply without a body that has one")
            self._head = head
            return
        self._interims += 1
        if status == "101" or self._need or self._interims > _INTERIMS:
            raise Malformed(400, "an interim reply that nobody asked for")

    def _length(self, length: str) -> int:
        if not (length.isascii() and length.isdigit()):
            raise Malformed(400, f"no content length: {length[:80]!r}")
        need = int(length) if len(length) < 20 else self._limits.body + 1
        if need > self._limits.body:
            raise Malformed(413, f"the body is over the limit of {self._limits.body} bytes (option message_limit)")
        return need

    def _unsaid(self, head: Head) -> int:
        if not self._replies or head[":status"][0] == "1" or head[":status"] in ("204", "304"):
            return 0
        self.keep_alive = False
        return _UNTIL_CLOSE

    # Body

    def _take_counted(self) -> Message | None:
        data, pos, need = self._data, self._pos, self._need
        if not self._parts and len(data) - pos >= need:
            self._pos = pos + need
            return self._message(data[pos : pos + need])
        self._collect(self._take(need - self._size))
        return self._message(b"".join(self._parts)) if self._size == need else None

    def _take_rest(self) -> Message | None:
        self._collect(self._take(len(self._data)))
        return None

    def _take(self, size: int) -> bytes:
        """At most so many of the bytes that are there."""
        taken = self._data[self._pos : self._pos + size]
        self._pos += len(taken)
        return taken

    def _take_chunked(self) -> Message | None:
        while True:
            if self._left > 0:
                if not self._take_chunk():
                    return None
                continue
            line = self._chunk_line()
            if line is None:
                return None
            if not line:
                return self._message(b"".join(self._parts))

    def _take_chunk(self) -> bool:
        """The data of a chunk and the line end behind it; `_left` counts both."""
        taken = self._take(max(self._left - 2, 0))
        self._collect(taken)
        self._left -= len(taken)
        if self._left > 2:
            return False
        tail = self._take(self._left)
        if not b"\r\n"[2 - self._left :].startswith(tail):
            raise Malformed(400, "a chunk is longer than it said")
        self._left -= len(tail)
        return self._left == 0

    def _chunk_line(self) -> bool | None:
        """Reads a chunk's size: True for one with data, False behind the last, None where it is not there yet."""
        line = self._data[self._pos : self._pos + _SIZE_LINE]
        end = line.find(b"\r\n")
        if end < 0:
            if len(line) == _SIZE_LINE or _SIZE.fullmatch(line.rstrip(b"\r") or b"0") is None:
                raise Malformed(400, "no chunk size")
            return None
        if _SIZE.fullmatch(line, 0, end) is None:
            raise Malformed(400, "no chunk size")
        size = int(line[:end], 16)
        if size == 0:
            return self._last_chunk(end)
        self._chunks += 1
        if self._size + size > self._limits.body:
            raise Malformed(413, f"the body is over the limit of {self._limits.body} bytes (option message_limit)")
        if self._chunks > _CHUNKS and self._size < 8 * self._chunks:
            raise Malformed(400, "too many small chunks")
        self._pos += end + 2
        self._left = size + 2
        return True

    def _last_chunk(self, end: int) -> bool | None:
        tail = self._data[self._pos + end + 2 : self._pos + end + 4]
        if not b"\r\n".startswith(tail):
            raise Malformed(400, "trailers are not taken")
        if len(tail) < 2:
            return None
        self._pos += end + 4
        return False

    def _collect(self, data: bytes) -> None:
        if data:
            self._size += len(data)
            if self._size > self._limits.body:
                raise Malformed(413, f"the body is over the limit of {self._limits.body} bytes (option message_limit)")
            self._parts.append(data)

    def _message(self, body: bytes) -> Message:
        head = self._head
        assert head is not None
        self._head = None
        if self._pos == len(self._data):
            self._data = b""
            self._pos = 0
        self.expects_continue = False
        if self._parts or self._chunks:
            self._parts = []
            self._chunks = 0
        self._size = 0
        self._interims = 0
        return Message(head, body)


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _keeps_alive(options: str, modern: bool) -> bool:
    words = {word.strip().lower() for word in options.split(",")}
    return "close" not in words and (modern or "keep-alive" in words)


def _chunked(coding: str, length: str | None, modern: bool) -> int:
    if length is not None:
        raise Malformed(400, "both Content-Length and Transfer-Encoding")
    if not coding.isascii() or coding.lower() != "chunked" or not modern:
        raise Malformed(400, f"unknown transfer encoding: {coding[:80]!r}")
    return _CHUNKED
