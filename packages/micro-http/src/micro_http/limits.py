"""What a peer may ask of us, at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of HTTP connections; none is infinite.

    Attributes:
        head: bytes of a start line and its headers together.
        lines: header lines.
        uri: bytes of a request's target.
        body: bytes of a message's body.
        head_seconds: time from the first byte of a head to its last.
        body_seconds: time from the end of a head to the last byte of its body; also how long a peer may not read.
        idle_seconds: time after which a quiet connection is closed. Go Micro's clients do not retry on a pooled
            connection that was closed, so it is longer than the 60 s for which they keep one (WIRE §4).
        buffer: bytes that are read ahead of, or written ahead of, a slow reader.
        streams: calls on one HTTP/2 connection at once.
        connections: of all peers, at a listener.
    """

    head: int = 16 * 1024
    lines: int = 100
    uri: int = 8 * 1024
    body: int = 4 * 1024 * 1024
    head_seconds: float = 5.0
    body_seconds: float = 15.0
    idle_seconds: float = 180.0
    buffer: int = 64 * 1024
    streams: int = 256
    connections: int = 10_000
