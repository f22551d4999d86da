"""The cases of `hostile_requests.txt` and `hostile_replies.txt`, and those that are too long to be written down."""

from __future__ import annotations

import ast
from pathlib import Path

H = b"POST / HTTP/1.1\r\nHost: a\r\n"
C = H + b"Transfer-Encoding: chunked\r\n\r\n"
R = b"HTTP/1.1 200 OK\r\n"
LONG: dict[str, bytes] = {
    "uri too long": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "uri endless": b"GET /" + b"x" * 20_000,
    "method endless": b"A" * 30_000,
    "header too long": H + b"X: " + b"y" * 17_000 + b"\r\n\r\n",
    "header endless": H + b"X: " + b"y" * 30_000,
    "name endless": H + b"x" * 30_000,
    "headers endless": H + b"X: y\r\n" * 5000,
    "too many headers": H + b"X: y\r\n" * 101 + b"\r\n",
    "too many different headers": H + b"".join(b"X%d: y\r\n" % at for at in range(101)) + b"\r\n",
    "empty lines endless": b"\r\n" * 5000,
    "spaces endless": b" " * 30_000,
    "cl of many digits": H + b"Content-Length: " + b"9" * 10_000 + b"\r\n\r\n",
    "chunk size of many digits": C + b"0" * 30_000,
    "small chunks endless": C + b"1\r\nx\r\n" * 30_000,
    "chunk extension endless": C + b"1;" + b"a" * 30_000,
    "hosts endless": H + b"Host: a\r\n" * 50 + b"\r\n",
}


def cases(name: str) -> dict[str, bytes]:
    """What one of the files says."""
    found = {}
    for line in (Path(__file__).parent / name).read_text().splitlines():
        if line and not line.startswith("#"):
            case, _, text = line.partition(" | ")
            escaped = text.replace('"', r"\x22")
            raw = bytes(ast.literal_eval(f'b"{escaped}"'))
            assert case not in found, case
            found[case] = raw.replace(b"{H}", H).replace(b"{C}", C).replace(b"{R}", R)
    return found
