"""Bytes of HTTP/2 for tests, written without the code that is tested, and streams that note what they are told."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from hpack import Encoder
from micro_core import Head
from micro_http.http2.decoder import Names
from micro_http.http2.ends import ClientLink, ServerLink
from micro_http.http2.sending import Stream
from micro_http.http2.streams import Bounds

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
NAMES = ["DATA", "HEADERS", "PRIORITY", "RST", "SETTINGS", "PUSH", "PING", "GOAWAY", "WINDOW", "CONTINUATION"]
END_STREAM, END_HEADERS, PADDED, PRIORITIZED, ACK = 1, 4, 8, 32, 1
NO_ERROR, PROTOCOL, FLOW, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION, CALM = 0, 1, 3, 5, 6, 7, 8, 9, 11
REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


@cache
def block(*fields: tuple[str, str]) -> bytes:
    """Without the dynamic table, so that it means the same anywhere."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields)


def head(stream: int, *more: tuple[str, str], end: bool = False, fields: list[tuple[str, str]] | None = None) -> bytes:
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(HEADERS, flags, stream, block(*(REQUEST if fields is None else fields), *more))


def data(stream: int, body: bytes, *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, body)


def settings(**values: int) -> bytes:
    names = ["", "table", "push", "streams", "window", "frame", "head"]
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", names.index(key), at) for key, at in values.items()))


def window(stream: int, more: int) -> bytes:
    return frame(WINDOW, 0, stream, struct.pack(">I", more))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST, 0, stream, struct.pack(">I", code))


OPENING = PREFACE + settings()


ENTRY = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000
"""A field of 4 KB that is entered in the table, to be named by a byte."""

NUISANCES: dict[str, Callable[[int], bytes]] = {
    "ping": lambda at: frame(6, 0, 0, bytes(8)),
    "settings": lambda at: settings(),
    "settings acknowledged": lambda at: frame(4, 1),
    "priority": lambda at: frame(2, 0, 2 * at + 1, b"\0\0\0\0\0"),
    "empty data": lambda at: (head(1) if at == 0 else b"") + data(1, b""),
    "padding alone": lambda at: (head(1) if at == 0 else b"") + frame(0, 8, 1, b"\x05" + bytes(5)),
    "window of nobody": lambda at: (head(1, end=True) + reset(1) if at == 0 else b"") + window(1, 1),
    "window of the connection": lambda at: window(0, 1),
    "rapid reset": lambda at: head(2 * at + 1, end=True) + reset(2 * at + 1),
    "heads of streams over the limit": lambda at: head(2 * at + 1),
    "malformed heads": lambda at: head(2 * at + 1, ("connection", "close")),
    "unknown frames": lambda at: frame(0xBB, 0, 0, b"x"),
    "goaway": lambda at: frame(7, 0, 0, bytes(8)),
    "continuations": lambda at: frame(1, 0, 1, b"") if at == 0 else frame(9, 0, 1, b""),
    "late data": lambda at: (head(1, ("content-length", "1")) + data(1, b"xy") if at == 0 else b"") + data(1, b"x"),
    "HPACK bombs": lambda at: frame(1, 5, 2 * at + 1, b"\x83\x86\x84" + (ENTRY if at == 0 else b"") + b"\xbe" * 9000),
}
"""Frames that move nothing forward: what is sent as the n-th."""

REFUSED_HEADS: dict[str, Callable[[int], bytes]] = {
    "methods that are not served": lambda at: head(2 * at + 1, fields=[(":method", "HEAD"), *REQUEST[1:]], end=True),
    "heads over the limit": lambda at: head(2 * at + 1, ("x", "y" * 16_000), ("z", "y" * 400), end=True),
    "lines over the limit": lambda at: frame(1, 5, 2 * at + 1, block(*REQUEST) + b"\x00\x01x\x01y" * 200),
    "targets over the limit": lambda at: head(2 * at + 1, fields=[*REQUEST[:2], (":path", "/" + "x" * 9000)], end=True),
}
"""Heads that are answered with a 4xx: what is sent as the n-th."""


@dataclass(frozen=True)
class Frame:
    kind: str
    flags: int
    stream: int
    payload: bytes

    @property
    def word(self) -> int:
        """The code of RST, the increment of WINDOW; of GOAWAY its code."""
        at = 4 if self.kind == "GOAWAY" else 0
        return int(struct.unpack_from(">I", self.payload, at)[0])


def frames(raw: bytes) -> Iterator[Frame]:
    while len(raw) >= 9:
        size = int.from_bytes(raw[:3])
        kind = NAMES[raw[3]] if raw[3] < len(NAMES) else "UNKNOWN"
        yield Frame(kind, raw[4], int.from_bytes(raw[5:9]) & 0x7FFFFFFF, raw[9 : 9 + size])
        raw = raw[9 + size :]
    assert not raw


class Noted(Stream):
    """Notes what it is told in a list that its connection's streams share."""

    def __init__(self, notes: list[tuple[object, ...]], *, collects: bool = True) -> None:
        self.notes = notes
        self.collects = collects
        self.parts = []

    def on_head(self, head: Head, end: bool) -> None:
        self.notes.append((self.number, "head", tuple(head.items()), end))

    def on_trailer(self, head: Head) -> None:
        self.notes.append((self.number, "trailer", tuple(head.items())))

    def on_data(self, data: bytes, end: bool) -> None:
        self.notes.append((self.number, "data", data, end))

    def on_reset(self, fault: int, text: str, processed: bool) -> None:
        self.notes.append((self.number, "reset", fault, processed))

    def on_sent(self) -> None:
        self.notes.append((self.number, "sent"))


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A server's link and what its streams were told; `link.out` is looked at with `said`."""

    def __init__(self, bounds: Bounds | None = None, *, collects: bool = True, opened: bool = True) -> None:
        self.notes: list[tuple[object, ...]] = []
        self.clock = Clock()
        self.link = ServerLink(
            bounds or Bounds(), self.clock, Names(), lambda: None, lambda: Noted(self.notes, collects=collects)
        )
        if opened:
            self.link.receive(OPENING)
            self.said()

    def said(self) -> list[Frame]:
        return list(frames(self.link.collect()))

    def hears(self, raw: bytes) -> list[Frame]:
        self.link.receive(raw)
        return self.said()


class ClientRig:
    """A client's link, settled."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.notes: list[tuple[object, ...]] = []
        self.clock = Clock()
        self.link = ClientLink(bounds or Bounds(), self.clock, Names(), lambda: None)
        self.link.collect()
        self.link.receive(settings())
        self.link.collect()

    def call(self, *, collects: bool = True) -> Noted:
        stream = Noted(self.notes, collects=collects)
        self.link.open(stream)
        self.link.send_head(stream, block(*REQUEST), True)
        self.link.collect()
        return stream

    def hears(self, raw: bytes) -> list[Frame]:
        self.link.receive(raw)
        return list(frames(self.link.collect()))
