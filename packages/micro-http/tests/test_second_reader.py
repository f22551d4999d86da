"""Good requests, damaged anywhere: what we accept, another strict reader accepts, and takes for the same.

The other one, h11, is laxer than we are in places, so nothing is said about what we refuse.
"""

from __future__ import annotations

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st
from micro_core import Head
from micro_http.limits import Limits
from micro_http.parse import Parser
from micro_http.tables import Malformed, Tables

Seen = list[tuple[Head, bytes]]
FRAMING = {"connection", "content-length", "transfer-encoding", "expect"}
GOOD = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a?b=c HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nMicro-Id: 7\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    b"PUT / HTTP/1.1\r\nHost: [::1]:80\r\nX: a, b\r\nX: c\r\nEmpty:\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
]
REPLIES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nMicro-Id: 7\r\n\r\nhello",
    b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
]
SPICE = st.sampled_from(
    [
        *(bytes((byte,)) for byte in b"\r\n \t:01;,\0\x0b\xff_-+"),
        b"\r\n",
        b"X: y\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:chunked",
        b"Host: a\r\n",
        b"Connection: close\r\n",
        b" HTTP/1.1",
        b"chunked",
        b"0\r\n\r\n",
        GOOD[0],
    ]
)
Damage = tuple[int, int, bytes]
DAMAGES = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 4), st.one_of(st.binary(max_size=2), SPICE)), min_size=1, max_size=3
)


def damaged(raw: bytes, damages: list[Damage]) -> bytes:
    for at, cut, more in damages:
        at %= len(raw) + 1
        raw = raw[:at] + more + raw[at + cut :]
    return raw


def ours(raw: bytes, *, replies: bool = False) -> Seen:
    """What we accept of it, until something is refused or missing."""
    parser, seen = Parser(Limits(), Tables(), replies=replies), []
    parser.feed(raw)
    try:
        while (message := parser.poll()) is not None:
            head = {name: value for name, value in message.head.items() if name not in FRAMING}
            seen.append((head, bytes(message.body)))
            if not parser.keep_alive:
                break
    except Malformed:
        pass
    return seen


def theirs(raw: bytes, count: int, *, replies: bool = False) -> Seen:
    """The first messages as h11 reads them. Raises its RemoteProtocolError for what it refuses."""
    seen: Seen = []
    while len(seen) < count:
        # One empty line in front of a request is passed over, as RFC 9112 §2.2 asks; h11 does not.
        message, raw = read(raw if replies else raw.removeprefix(b"\r\n"), replies)
        seen += message
        if not message:
            break
    return seen


def read(raw: bytes, replies: bool) -> tuple[Seen, bytes]:
    """The first message, if it is there whole, and what follows it."""
    reader = h11.Connection(h11.CLIENT if replies else h11.SERVER, max_incomplete_event_size=10**6)
    if replies:
        reader.send(h11.Request(method="POST", target="/", headers=[("Host", "a")]))
        reader.send(h11.EndOfMessage())
    reader.receive_data(raw)
    head, body = {}, b""
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Request | h11.Response):
            head = head_of(event)
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return [(head, body)], reader.trailing_data[0]
        elif event is h11.NEED_DATA or event is h11.PAUSED:
            return [], b""


def head_of(event: h11.Request | h11.Response) -> Head:
    head: Head = {}
    if isinstance(event, h11.Request):
        head = {":method": event.method.decode(), ":path": event.target.decode()}
    else:
        head = {":status": str(event.status_code)}
    for name, value in event.headers:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        if name.decode() not in FRAMING:
            head.setdefault(name.decode(), text)
    return head


@settings(max_examples=400, deadline=None)
@given(raws=st.lists(st.sampled_from(GOOD), min_size=1, max_size=2), damages=DAMAGES)
@example(raws=[GOOD[1]], damages=[(40, 0, b"\r\nTransfer-Encoding: chunked")])
def test_requests(raws: list[bytes], damages: list[Damage]) -> None:
    raw = damaged(b"".join(raws), damages)
    accepted = ours(raw)
    assert theirs(raw, len(accepted)) == accepted


@settings(max_examples=200, deadline=None)
@given(raws=st.lists(st.sampled_from(REPLIES), min_size=1, max_size=2), damages=DAMAGES)
@example(raws=[REPLIES[2], REPLIES[1]], damages=[(25, 19, b"")])
@example(raws=[REPLIES[2], REPLIES[0]], damages=[(25, 19, b""), (10, 1, b"3")])
def test_replies(raws: list[bytes], damages: list[Damage]) -> None:
    raw = damaged(b"".join(raws), damages)
    accepted = ours(raw, replies=True)
    assert theirs(raw, len(accepted), replies=True) == accepted


def test_both_read_what_is_good() -> None:
    for raw in GOOD:
        assert ours(raw) == theirs(raw, 1) != []
    for raw in REPLIES:
        assert ours(raw, replies=True) == theirs(raw, 1, replies=True) != []
