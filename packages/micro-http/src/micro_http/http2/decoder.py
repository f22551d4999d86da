"""Reads header blocks (RFC 7541).

Whoever decodes must follow every change of the table, also in blocks that are refused otherwise, so `Decoder.decode`
reads a block to its end and says only then what was wrong with it.

A call's head is mostly what the last one's was: what a run of one-byte indices stands for is remembered until the table
changes, and a run with plain literals behind it is the common case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from micro_core import Head

from micro_http.http2.faults import ENHANCE_YOUR_CALM, CompressionFault, Fault, StreamFault
from micro_http.http2.fields import LONGEST, NAME, OVERHEAD, PSEUDO, ROOM, STATIC, TABLE_SIZE
from micro_http.names import ALIKE, OF_CALL

_INDICES = bytes(range(0x81, 0xFF))
_RUNS = 256
_REFUSED = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
_TELLING = frozenset({"", *PSEUDO, "content-length", "content-type", "host", "te"})
"""Names that a known run may not be followed by without a second look."""

_BOMB = 16
"""A head so many times over its limit is an attack: a byte may stand for 4 KB of the table."""

_FEW = 64
"""Fields of a head that may be remembered."""

_ONCE = frozenset({"content-length", "host", "content-type", "te"})
_NEW = b"\x00\x08micro-id"
_CALL = re.compile(rb"\x00\x08micro-id(.)([0-9]{1,20})\x00\x07timeout(.)([0-9]{1,20})", re.DOTALL)
"""How the heads of our own clients' calls end."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Entry: TypeAlias = tuple[str, str, int, int]
"""Name, value, bytes of the name, and the size of both (RFC 7541 §4.1): by what arrived, not by what became of it."""

_STATIC: tuple[Entry, ...] = tuple(
    ("" if name in _REFUSED else name, value, len(name), len(name) + len(value) + OVERHEAD) for name, value in STATIC
)


class Names(dict[bytes, str]):
    """From a name as it arrives to the name in memory; an empty text for one that HTTP/2 does not allow. Bounded."""

    def __missing__(self, raw: bytes) -> str:
        name = raw.decode("latin-1")
        good = name in PSEUDO or (NAME.fullmatch(name) is not None and name not in _REFUSED and name not in ALIKE)
        found = name if good else ""
        if len(self) < ROOM and len(raw) <= LONGEST:
            self[raw] = found
        return found


class Block:
    """What a header block said.

    Attributes:
        head: names and values; of a name that came more than once, the first.
        size: bytes by RFC 9113 §10.5.1, whatever came more than once counted.
        lines: how many fields there were.
        fault: why no message may hold it; empty when one may.
        checked: whether `check` has seen it.
        sized: whether there is a content-length, of one that is remembered.
        plain: whether there is no id and no timeout, of one that is remembered.
    """

    __slots__ = ("checked", "fault", "head", "lines", "plain", "size", "sized")

    def __init__(self, head: Head, size: int, lines: int, fault: str = "", checked: bool = False) -> None:
        self.head = head
        self.size = size
        self.lines = lines
        self.fault = fault
        self.checked = checked
        self.sized = False
        self.plain = False


class Decoder:
    """Reads the heads of one direction of one connection.

    Args:
        most: bytes of one head; what is over it is counted, but not kept.
        lines: fields of one head.
        names: shared by the connections of one client or listener.
        check: whether a block is a first head. What it makes of one is remembered with it; what it raises is not its
            last word.
    """

    __slots__ = ("_check", "_dynamic", "_few", "_most", "_names", "_room", "_runs", "_size")

    def __init__(self, most: int, lines: int, names: Names, check: Callable[[Block], None]) -> None:
        self._check = check
        self._dynamic: list[Entry] = []
        self._few = min(lines, _FEW)
        self._size = 0
        self._room = TABLE_SIZE
        self._most = most
        self._names = names
        self._runs: dict[bytes, Block] = {}

    def decode(self, data: bytes) -> Block:
        """Reads a block and follows what it does to the table.

        Raises Fault when it cannot be read or is far too large, after which the connection is of no use.
        """
        rest = data.lstrip(_INDICES)
        run = data[: len(data) - len(rest)] if rest else data
        known = self._runs.get(run)
        if known is None:
            return self._read(data, run)
        head = known.head.copy()
        if not rest:
            return Block(head, known.size, known.lines, checked=True)
        size = self._extend(head, known, rest)
        if not size:
            return self._read(data, b"")
        return Block(head, size, known.lines + len(head) - len(known.head), checked=True)

    def quick(self, data: bytes) -> Head | None:
        """The head of a block that is like earlier ones and changes nothing; None for any other, which `decode` reads.

        What it gives has been checked, and has no content-length.
        """
        runs = self._runs
        known = runs.get(data)
        if known is not None:
            return None if known.sized else known.head.copy()
        at = data.find(_NEW)
        known = runs.get(data[:at]) if at > 0 else None
        if known is not None and not known.sized and (said := _CALL.fullmatch(data, at)) is not None:
            first, number, second, timeout = said.groups()
            if (
                first[0] == len(number)
                and second[0] == len(timeout)
                and known.size + len(data) - at + 2 * OVERHEAD <= self._most
                and known.lines + 2 <= self._few
                and known.plain
            ):
                head = known.head.copy()
                head["micro-id"] = number.decode()
                head["timeout"] = timeout.decode()
                return head
        return self._quick(data)

    def _quick(self, data: bytes) -> Head | None:
        rest = data.lstrip(_INDICES)
        known = self._runs.get(data[: len(data) - len(rest)] if rest else data)
        if known is None or known.sized:
            return None
        head = known.head.copy()
        return head if self._extend(head, known, rest) else None

    def _extend(self, head: Head, known: Block, data: bytes) -> int:
        """Takes plain literals behind a known run, the common case, and says how large the head is; 0 for others."""
        size, names, pos, end = known.size, self._names, 0, len(data)
        while pos < end:
            if data[pos] or end - pos < 3 or not 0 < (length := data[pos + 1]) < 127:
                return 0
            at = pos + 2 + length
            if at >= end or (more := data[at]) > 126:
                return 0
            name = names[data[pos + 2 : at]]
            pos = at + 1 + more
            raw = data[at + 1 : pos]
            if name in head or name in _TELLING or pos > end:
                return 0
            if raw.isdigit():
                value = raw.decode()
            else:
                value = _text(raw)
                if value.strip(" \t") != value or (not value.isprintable() and _unfit(value)):
                    return 0
            head[name] = value
            size += length + more + OVERHEAD
        lines = known.lines + len(head) - len(known.head)
        return size if size <= self._most and lines <= self._few else 0

    def _read(self, data: bytes, run: bytes) -> Block:
        """Any block."""
        reading = _Reading(self, data)
        while reading.pos < reading.end:
            reading.field()
        fault = reading.fault or _order_fault(reading.names)
        block = Block(reading.head, reading.size, len(reading.names), fault)
        if not run or fault or reading.size > self._most:
            return block
        if len(run) == len(data):
            self._remember(run, block)
        elif not reading.changed:
            self._read(run, run)
        return block

    def _remember(self, run: bytes, block: Block) -> None:
        if len(self._runs) >= _RUNS:
            self._runs.clear()
        known = Block(block.head.copy(), block.size, block.lines)
        try:
            self._check(known)
        except StreamFault:
            return
        known.sized = "content-length" in known.head
        known.plain = known.head.keys().isdisjoint(OF_CALL)
        final = known.head.get(":status", "200")[0] != "1"
        if final and block.lines <= self._few:
            self._runs[run] = known

    def entry(self, index: int) -> Entry:
        """A field of the table."""
        if 0 < index <= len(_STATIC):
            return _STATIC[index - 1]
        back = index - len(_STATIC)
        if index == 0 or back > len(self._dynamic):
            raise CompressionFault(f"no field has the index {index}")
        return self._dynamic[-back]

    def enter(self, entry: Entry) -> None:
        """A new field; the oldest ones go where there is no room."""
        self._runs.clear()
        self._dynamic.append(entry)
        self._size += entry[3]
        self._evict()

    def resize(self, room: int) -> None:
        """The peer keeps less, or more again."""
        if room > TABLE_SIZE:
            raise CompressionFault(f"a table of {room} bytes, at most {TABLE_SIZE} were offered")
        self._runs.clear()
        self._room = room
        self._evict()

    def _evict(self) -> None:
        gone = 0
        while self._size > self._room:
            self._size -= self._dynamic[gone][3]
            gone += 1
        del self._dynamic[:gone]

    @property
    def names(self) -> Names:
        """Names that were read before."""
        return self._names

    @property
    def most(self) -> int:
        """Bytes of a head that are kept."""
        return self._most


class _Reading:
    """One pass over one block."""

    __slots__ = ("_decoder", "changed", "data", "end", "fault", "head", "names", "pos", "size")

    def __init__(self, decoder: Decoder, data: bytes) -> None:
        self._decoder = decoder
        self.data = data
        self.end = len(data)
        self.pos = 0
        self.head: Head = {}
        self.names: list[str] = []
        self.size = 0
        self.fault = ""
        self.changed = False

    def field(self) -> None:
        """One field, or a change of the table's size."""
        first = self.data[self.pos]
        if first & 0x80:
            self._take(self._decoder.entry(self._integer(7)))
        elif first & 0x40:
            entry = self._literal(6)
            self._decoder.enter(entry)
            self.changed = True
            self._take(entry)
        elif first & 0x20:
            if self.names:
                raise CompressionFault("the table changes its size between two fields")
            self._decoder.resize(self._integer(5))
            self.changed = True
        else:
            self._take(self._literal(4))

    def _take(self, entry: Entry) -> None:
        name, value, _, size = entry
        self.size += size
        self.names.append(name)
        if self.size > self._decoder.most:
            if self.size > _BOMB * self._decoder.most:
                raise Fault(ENHANCE_YOUR_CALM, "a head that grows as it is read")
            return
        if not name:
            self.fault = self.fault or "a header name that HTTP/2 does not allow"
        elif name not in self.head:
            if value.strip(" \t") != value:
                self.fault = self.fault or f"white space around the header {name}"
            elif not value.isprintable() and _unfit(value):
                self.fault = self.fault or f"a control character in the header {name}"
            self.head[name] = value
        elif name[0] == ":" or name in _ONCE:
            self.fault = self.fault or f"more than one {name}"

    def _literal(self, bits: int) -> Entry:
        index = self._integer(bits)
        if index:
            name, _, length, _ = self._decoder.entry(index)
        else:
            raw = self._string()
            name, length = self._decoder.names[raw], len(raw)
        value = self._string()
        return name, _text(value), length, length + len(value) + OVERHEAD

    def _integer(self, bits: int) -> int:
        most = (1 << bits) - 1
        value = self.data[self.pos] & most
        self.pos += 1
        if value < most:
            return value
        for shift in (0, 7, 14, 21):
            if self.pos >= self.end:
                break
            byte = self.data[self.pos]
            self.pos += 1
            value += (byte & 127) << shift
            if byte < 128:
                return value
        raise CompressionFault("a number that has no end")

    def _string(self) -> bytes:
        if self.pos >= self.end:
            raise CompressionFault("a field that has no end")
        coded = self.data[self.pos] & 0x80
        size = self._integer(7)
        raw = self.data[self.pos : self.pos + size]
        self.pos += size
        if self.pos > self.end:
            raise CompressionFault("a field that has no end")
        if not coded:
            return raw
        try:
            return decode_huffman(raw)
        except HPACKDecodingError:
            raise CompressionFault("a field that is no Huffman code") from None


def _unfit(value: str) -> bool:
    return _CONTROL.search(value) is not None


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _order_fault(names: list[str]) -> str:
    plain = False
    for name in names:
        if name[:1] != ":":
            plain = True
        elif plain:
            return f"{name} behind an ordinary header"
    return ""
