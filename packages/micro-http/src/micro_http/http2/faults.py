"""What goes wrong on an HTTP/2 connection, and the codes that say so (RFC 9113 §7)."""

from __future__ import annotations

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
SETTINGS_TIMEOUT = 0x4
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB


class Fault(Exception):
    """The peer broke the protocol; the connection ends with GOAWAY and that code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class CompressionFault(Fault):
    """A header block that cannot be read: from here on both tables differ."""

    def __init__(self, text: str) -> None:
        super().__init__(COMPRESSION_ERROR, text)


class StreamFault(Exception):
    """The peer broke the protocol on one stream, which ends with RST_STREAM and that code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
