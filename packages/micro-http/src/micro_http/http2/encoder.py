"""Writes header blocks (RFC 7541).

A field is entered in the table when it is sent the second time, and nothing is ever evicted: once the table is full,
the rest is sent literally. The bytes of every field that has an index are kept. Names whose values differ each time, or
are secret, are never entered.
"""

from __future__ import annotations

from micro_core import Head

from micro_http.http2.fields import LONGEST, NAME, OVERHEAD, ROOM, STATIC, TABLE_SIZE
from micro_http.names import ALIKE, CONTROLS, FRAMING, OF_CALL, VARYING


def integer(value: int, bits: int, first: int) -> bytes:
    """A number with a prefix of so many bits, in a byte whose other bits are `first` (RFC 7541 §5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out = bytearray((first | most,))
    value -= most
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SIZES = tuple(bytes((size,)) for size in range(127))
_NUMBERED = tuple(enumerate(STATIC, start=1))
_STATIC_NUMBERS = {name: at for at, (name, _) in reversed(_NUMBERED)}
_ID = b"\x00\x08micro-id"
_CALLS = 256
_PSEUDO = {name: integer(at, 4, 0) for name, at in _STATIC_NUMBERS.items() if name[0] == ":"}


class Encoder:
    """Writes the heads of one direction of one connection.

    Attributes:
        calls: of calls that differ by their id and timeout alone, by their other values: all of their names, and how
            their blocks begin.
    """

    __slots__ = ("_fields", "_firsts", "_names", "_order", "_pseudo", "_room", "_seen", "_update", "_varying", "calls")

    def __init__(self) -> None:
        # Apart, so that nothing in a head can be taken for what stands in front of it.
        self._firsts: dict[tuple[tuple[str, str], ...], bytes] = {}
        self.calls: dict[tuple[str, ...], tuple[tuple[str, ...], bytes]] = {}
        self._pseudo: dict[tuple[str, str], bytes] = {}
        self._fields: dict[tuple[str, str], bytes] = {}
        self._names: dict[str, bytes | None] = {}
        self._order: list[tuple[str, str]] = []
        self._varying: dict[str, bytes] = {}
        self._seen: dict[tuple[str, str], None] = {}
        self._room = TABLE_SIZE
        self._update = b""
        self._index()

    def resize(self, size: int) -> None:
        """The peer keeps no more than so many bytes: what was entered is forgotten, on both sides."""
        size = min(size, TABLE_SIZE)
        self._order.clear()
        self._index()
        self._room = size
        self._update = integer(0, 5, 0x20) + integer(size, 5, 0x20)

    def encode(self, head: Head, *pseudo: tuple[str, str]) -> bytes:
        """The block of a head, behind its pseudo headers, without what belongs to an HTTP/1.1 connection.

        Raises ValueError for a name or value that no header may hold.
        """
        known, entered = self._fields.get, len(self._order)
        try:
            block = self._firsts.get(pseudo) or self._first(pseudo)
            for item in head.items():
                block += known(item) or self._literal(item)
        except ValueError:
            self._withdraw(entered)
            raise
        if self._update:
            block = self._update + block
            self._update = b""
        return block

    def keep_call(self, head: Head, *pseudo: tuple[str, str]) -> None:
        """Remembers a call of mucp, until the table changes, if all of it but its id and its timeout has an index."""
        names, values = tuple(head), tuple(head.values())[:-2]
        if names[-2:] != OF_CALL or "micro-endpoint" not in names or pseudo not in self._firsts:
            return
        known = [self._fields.get(item) for item in zip(names, values, strict=False)]
        if None not in known:
            if len(self.calls) >= _CALLS:
                self.calls.clear()
            self.calls[values] = names, b"".join(filter(None, (self._firsts[pseudo], *known, _ID)))

    def _first(self, pseudo: tuple[tuple[str, str], ...]) -> bytes:
        """The pseudo headers; remembered once all of them have an index."""
        known = [self._pseudo.get(item) for item in pseudo]
        if None not in known:
            first = self._firsts[pseudo] = b"".join(filter(None, known))
            return first
        return b"".join([self._pseudo.get(item) or self._literal(item, True) for item in pseudo])

    def _withdraw(self, entered: int) -> None:
        """The peer will not hear of what was entered since."""
        self._room += sum(_size(item) for item in self._order[entered:])
        del self._order[entered:]
        self._index()

    def check(self, head: Head) -> None:
        """Raises the ValueError that `encode` would raise."""
        for name, value in head.items():
            if name not in self._names:
                self._name(name)
            _check_value(name, value, value.encode())

    def _literal(self, item: tuple[str, str], pseudo: bool = False) -> bytes:
        name, value = item
        start = self._varying.get(name)
        if start is not None and value.isascii() and value.isdigit() and (size := len(value)) < 127:
            return start + _SIZES[size] + value.encode()
        if (bare := value.strip(" \t")) != value:  # as HTTP/1.1's readers do; no value may hold it (RFC 9113 §8.2.1)
            item = name, value = name, bare
            if (known := self._fields.get(item)) is not None:
                return known
        if pseudo:
            prefix: bytes | None = _PSEUDO[name]
        else:
            prefix = self._names[name] if name in self._names else self._name(name)
        if prefix is None or (name == "te" and value != "trailers"):
            return b""
        raw = value.encode()
        _check_value(name, value, raw)
        size = len(raw)
        if name in VARYING:
            self._varying[name] = prefix
        else:
            if item not in self._seen:
                if len(self._seen) >= ROOM:
                    self._seen.clear()
                self._seen[item] = None
            elif _size(item) <= self._room:
                return self._enter(item, prefix, raw)
        return b"".join((prefix, bytes((size,)) if size < 127 else integer(size, 7, 0), raw))

    def _enter(self, item: tuple[str, str], prefix: bytes, raw: bytes) -> bytes:
        """Literal with incremental indexing; the name is literal where its index is not one of the static ones."""
        self._room -= _size(item)
        del self._seen[item]
        number = _STATIC_NUMBERS.get(item[0], 0)
        name = integer(number, 6, 0x40) if number else b"\x40" + prefix[1:]
        self._order.append(item)
        self._index()
        return b"".join((name, integer(len(raw), 7, 0), raw))

    def _index(self) -> None:
        """Numbers all fields anew, in place: a head of which half is written goes on with these."""
        self._firsts.clear()
        self.calls.clear()
        self._fields.clear()
        self._pseudo.clear()
        dynamic = ((62 + back, item) for back, item in enumerate(reversed(self._order)))
        for at, item in (*_NUMBERED, *dynamic):
            if item[0] in FRAMING:
                continue
            fields = self._pseudo if item[0][0] == ":" else self._fields
            fields[item] = integer(at, 7, 0x80)

    def _name(self, name: str) -> bytes | None:
        """How a literal field of that name begins; None for what is not written."""
        lower = name.lower()
        if (lower in FRAMING and lower != "te") or lower.startswith(":"):
            return None
        if NAME.fullmatch(lower) is None or lower in ALIKE:
            raise ValueError(f"{name!r} cannot be the name of a header")
        raw = lower.encode()
        number = _STATIC_NUMBERS.get(lower, 0)
        prefix = integer(number, 4, 0) if number else b"\x00" + integer(len(raw), 7, 0) + raw
        if len(self._names) < ROOM and len(name) <= LONGEST:
            self._names[name] = prefix
        return prefix


def _size(item: tuple[str, str]) -> int:
    """Bytes of a field by RFC 7541 §4.1."""
    return len(item[0]) + len(item[1].encode()) + OVERHEAD


def _check_value(name: str, value: str, raw: bytes) -> None:
    if not value.isprintable() and len(raw.translate(None, CONTROLS)) != len(raw):
        raise ValueError(f"header {name!r} holds a line break or another control character: {value[:80]!r}")
