"""Writes HTTP/1.1 messages. Nothing that could end a header early gets into one: ValueError, and nothing is written."""

from __future__ import annotations

from http import HTTPStatus

from micro_core import Head

from micro_http.names import METHOD, OF_CALL, TARGET, UNSERVED, VARYING, WireLines

EMPTY_CHUNKED = b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
CLOSE = b"\r\nConnection: close"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK"
ASKS = b"\r\nMicro-Http2: ask"
TELLS = b"\r\nMicro-Http2: 1"
_ID, _TIMEOUT = b"\r\nMicro-Id: ", b"\r\nTimeout: "
_COUNTED = [b"\r\nContent-Length: %d\r\n\r\n" % size for size in range(1024)]


def header_block(lines: WireLines, head: Head) -> bytes:
    r"""`\r\nName: value` for each entry that is not the connection's own.

    Raises:
        ValueError: a name that is no token, or a value with a control character.
    """
    return b"".join(map(lines.line, head.items()))


def call_block(lines: WireLines, head: Head) -> bytes:
    """As `header_block`; quick for a call whose head is another's but for its id and its timeout, which end it."""
    names, values = tuple(head), tuple(head.values())
    known = lines.calls.get(values[:-2])
    if known is not None and known[0] == names:
        number, timeout = values[-2:]
        digits = number + timeout
        if digits.isascii() and digits.isdigit():
            return b"".join((known[1], _ID, number.encode(), _TIMEOUT, timeout.encode()))
    block = header_block(lines, head)
    if names[-2:] == OF_CALL and VARYING.isdisjoint(names[:-2]):
        lines.keep_call(names, values[:-2], header_block(lines, dict(zip(names[:-2], values, strict=False))))
    return block


def check_request(method: str, target: str) -> None:
    """Raises ValueError for a method or target that would not be one, in either version of HTTP."""
    if METHOD.fullmatch(method) is None or method in UNSERVED:
        raise ValueError(f"{method!r} cannot be the method of a call")
    if TARGET.fullmatch(target) is None:
        raise ValueError(f"{target[:80]!r} cannot be the path of a call: it begins with / and is percent-encoded ASCII")


def request_start(method: str, target: str, host: str) -> bytes:
    """The request line and `Host`. Raises ValueError for a method or target that would not be one."""
    check_request(method, target)
    return f"{method} {target} HTTP/1.1\r\nHost: {host}".encode()


def reply_start(status: str) -> bytes:
    """The status line. Raises ValueError for what is no final status."""
    if not (status.isascii() and status.isdigit() and len(status) == 3 and "200" <= status <= "599"):
        raise ValueError(f"{status!r} cannot be the status of a reply")
    try:
        phrase = HTTPStatus(int(status)).phrase
    except ValueError:
        phrase = "Status"
    return f"HTTP/1.1 {status} {phrase}".encode()


def counted(size: int) -> bytes:
    """The end of a header block before a body of so many bytes."""
    return _COUNTED[size] if size < len(_COUNTED) else b"\r\nContent-Length: %d\r\n\r\n" % size
