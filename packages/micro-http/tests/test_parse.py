"""Framing by tables and by arbitrary cuts; no sockets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_core import Message
from micro_http.limits import Limits
from micro_http.names import WireLines
from micro_http.parse import Parser
from micro_http.tables import Malformed, Tables
from micro_http.write import counted, header_block, reply_start, request_start

START = b"POST / HTTP/1.1\r\nHost: a\r\n"


def parse(*pieces: bytes, replies: bool = False, limits: Limits | None = None) -> list[Message]:
    parser = Parser(limits or Limits(), Tables(), replies=replies)
    found = []
    for piece in pieces:
        message = parser.take(piece)
        while message is not None:
            found.append(message)
            message = parser.poll()
    return found


def seen(messages: list[Message]) -> list[tuple[dict[str, str], bytes]]:
    return [(message.head, message.body) for message in messages]


@pytest.mark.parametrize(
    ("raw", "head", "body"),
    [
        (START + b"Content-Length: 3\r\n\r\nabc", {}, b"abc"),
        (START + b"\r\n", {}, b""),
        (b"\r\n" + START + b"\r\n", {}, b""),
        (START + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {}, b""),
        (START + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n", {}, b"abc0123456789"),
        (START + b"Micro-Service:greeter\r\n\r\n", {"micro-service": "greeter"}, b""),
        (START + b"Micro-Id: \t 7 \t\r\n\r\n", {"micro-id": "7"}, b""),
        (START + b"X: a: b\r\nEmpty:\r\n\r\n", {"x": "a: b", "empty": ""}, b""),
        (START + b"X: first\r\nx: second\r\n\r\n", {"x": "first"}, b""),
        (START + "X: grüße\r\n\r\n".encode(), {"x": "grüße"}, b""),
        (START + b"X: gr\xfc\xdfe\r\nY: \xc3\xbc\r\n\r\n", {"x": "grüße", "y": "ü"}, b""),
        (START + b"Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n\r\n", {"upgrade": "h2c"}, b""),
    ],
)
def test_requests_are_read(raw: bytes, head: dict[str, str], body: bytes) -> None:
    expected = {":method": "POST", ":path": "/", "host": "a", **head}
    assert seen(parse(raw)) == [(expected, body)]
    assert seen(parse(*[raw[at : at + 1] for at in range(len(raw))])) == [(expected, body)]


@pytest.mark.parametrize(
    ("raw", "keep_alive"),
    [
        (START + b"\r\n", True),
        (START + b"Connection: close\r\n\r\n", False),
        (START + b"Connection: x, Close\r\n\r\n", False),
        (START + b"Connection: x\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_whether_the_connection_is_kept(raw: bytes, keep_alive: bool) -> None:
    parser = Parser(Limits(), Tables())
    parser.feed(raw)
    assert parser.poll() is not None
    assert parser.keep_alive is keep_alive


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200", b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204", b""),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "404", b"x"),
    ],
)
def test_replies_are_read(raw: bytes, status: str, body: bytes) -> None:
    for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
        (message,) = parse(*pieces, replies=True)
        assert (message.head[":status"], message.body) == (status, body)


def test_a_reply_without_length_ends_with_the_connection() -> None:
    parser = Parser(Limits(), Tables(), replies=True)
    parser.feed(b"HTTP/1.1 200 OK\r\n\r\nab")
    assert parser.poll() is None
    parser.feed(b"cd")
    assert parser.poll() is None
    message = parser.finish()
    assert message is not None
    assert message.body == b"abcd"
    assert not parser.keep_alive


@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", b"HTTP/1.1 20"])
def test_an_end_within_a_message_is_malformed(raw: bytes) -> None:
    parser = Parser(Limits(), Tables(), replies=True)
    parser.feed(raw)
    assert parser.poll() is None
    with pytest.raises(Malformed):
        parser.finish()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"200 OK\r\n\r\n",
    ],
)
def test_replies_that_are_none(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse(raw, replies=True)


def of_head(size: int) -> bytes:
    """A head of that many bytes without the empty line."""
    return START + b"X: " + b"x" * (size - len(START) - 3) + b"\r\n\r\n"


@pytest.mark.parametrize("over", [-1, 0, 1])
@pytest.mark.parametrize(
    ("status", "make"),
    [
        (431, lambda over: of_head(1000 + over)),
        (431, lambda over: START + b"X: y\r\n" * (9 + over) + b"\r\n"),
        (413, lambda over: START + b"Content-Length: %d\r\n\r\n" % (50 + over) + b"x" * (50 + over)),
        (
            413,
            lambda over: (
                START + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (50 + over, b"x" * (50 + over))
            ),
        ),
        (414, lambda over: b"GET /" + b"x" * (99 + over) + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_limits_are_exact(over: int, status: int, make: object, whole: bool) -> None:
    assert callable(make)
    raw = make(over)
    limits = Limits(head=1000, lines=10, uri=100, body=50)
    pieces = [raw] if whole else [raw[at : at + 1] for at in range(len(raw))]
    if over <= 0:
        assert len(parse(*pieces, limits=limits)) == 1
    else:
        with pytest.raises(Malformed) as caught:
            parse(*pieces, limits=limits)
        assert caught.value.status == status


def test_many_small_chunks_are_refused() -> None:
    raw = START + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 10_000
    with pytest.raises(Malformed):
        parse(raw)


def test_interim_replies_are_passed_over_up_to_a_hundred_for_a_reply() -> None:
    raw = b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + b"HTTP/1.1 204 No Content\r\n\r\n"
    assert [message.head[":status"] for message in parse(raw * 3, replies=True)] == ["204"] * 3
    with pytest.raises(Malformed):
        parse(b"HTTP/1.1 100 Continue\r\n\r\n" + raw, replies=True)


def test_a_reply_that_comes_again_is_read_as_the_first_one_was() -> None:
    parser = Parser(Limits(), Tables(), replies=True)
    http_1_0 = b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nX: %d\r\n\r\n"
    heads = []
    for at in (1, 2, 1, 2, 1):
        message = parser.take(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX: %d\r\n\r\n%d%d" % (at, at, at))
        assert message is not None
        assert (message.head, message.body) == ({":status": "404", "x": str(at)}, b"%d%d" % (at, at))
        assert parser.keep_alive
        message.head["x"] = "changed by whoever got it"
        assert parser.take(http_1_0 % at + b"z") is not None
        assert not parser.keep_alive
        heads.append(message.head)
    assert len({id(head) for head in heads}) == 5


BEGINNING = [
    b"POST / HTTP/1.1",
    b"POST / HTTP/1.0",
    b"Host: a",
    b"Host: a b",
    b"Micro-Service: greeter",
    b"micro-id: 5",
    b"Timeout: 1",
    b"timeout: 1",
    b"Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"Connection: close",
    b"Expect: 100-continue",
    b"X: gr\xfc\xdfe",
    b"X: \xc3\xbc",
    b"X: a\x00",
    b"X: a\r",
    b" folded",
    b"no header",
]
END = [
    b"Micro-Id: 7\r\nTimeout: 4000\r\nContent-Length: 3",
    b"Micro-Id: 8\r\nTimeout: 5000\r\nContent-Length: 4",
    b"Micro-Id: 7\r\nTimeout: 4000\r\nContent-Length: 4194305",
    b"Micro-Id: 7\r\nTimeout: 4000\r\nContent-Length: +3",
    b"Micro-Id: 7\r\nTimeout: -4000\r\nContent-Length: 3",
    b"Micro-Id: 7\x00\r\nTimeout: 4000\r\nContent-Length: 3",
    b"Micro-Id: 7\nTimeout: 4000\r\nContent-Length: 3",
    b"Micro-Id: 7\r\nTimeout: 4000\r\nContent-Length: 3\r\nContent-Length: 3",
    b"Micro-Id: 7\r\nTimeout: 4000\r\nContent-Length: 3\r\nMicro-Service: other",
    b"Micro-Id: 7\r\nContent-Length: 3",
    b"Micro-Id: \xd9\xa3\r\nTimeout: 4000\r\nContent-Length: 3",
]
CALL = st.tuples(
    st.lists(st.sampled_from(BEGINNING), max_size=4), st.sampled_from(END), st.sampled_from([b"abcd", b""])
)


def raw_of(beginning: list[bytes], end: bytes, body: bytes) -> bytes:
    return b"\r\n".join((b"POST / HTTP/1.1", b"Host: a", *beginning, end)) + b"\r\n\r\n" + body


def read_with(tables: Tables, raw: bytes, *, replies: bool = False) -> object:
    """Everything that can be seen of one message."""
    parser = Parser(Limits(lines=8, head=200), tables, replies=replies)
    try:
        message = parser.take(raw)
    except Malformed as error:
        return error.status, str(error)
    head = None if message is None else list(message.head.items())
    return head, message and message.body, parser.keep_alive, parser.expects_continue, parser.unread


@settings(max_examples=300, deadline=None)
@given(st.lists(CALL, min_size=1, max_size=6))
def test_a_call_is_read_as_if_nothing_like_it_had_been_read_before(
    calls: list[tuple[list[bytes], bytes, bytes]],
) -> None:
    tables = Tables()
    for raw in (raw_of(*call) for call in (*calls, *calls)):
        assert read_with(tables, raw) == read_with(Tables(), raw)


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"100 Continue"])
@pytest.mark.parametrize("framing", [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b""])
@pytest.mark.parametrize("more", [b"", b"X: " + b"x" * 200 + b"\r\n"])
def test_a_reply_is_read_as_if_nothing_like_it_had_been_read_before(status: bytes, framing: bytes, more: bytes) -> None:
    tables = Tables()
    head = b"HTTP/1.1 " + status + b"\r\n" + framing + more + b"\r\n"
    for body in (b"abc", b"", b"ab", b"abcd", b"abc" + head + b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"abc"):
        assert read_with(tables, head + body, replies=True) == read_with(Tables(), head + body, replies=True)


def test_a_head_that_was_recalled_is_not_shared() -> None:
    tables = Tables()
    raw = START + b"Micro-Id: 7\r\nTimeout: 4000\r\nContent-Length: 0\r\n\r\n"
    for _ in range(3):
        parser = Parser(Limits(), tables)
        message = parser.take(raw)
        assert message is not None
        assert message.head == {":method": "POST", ":path": "/", "host": "a", "micro-id": "7", "timeout": "4000"}
        message.head.clear()
    assert len(tables.calls) == 1


def test_one_empty_line_in_front_of_each_request_is_passed_over() -> None:
    parser = Parser(Limits(), Tables())
    raw = START + b"Micro-Id: 7\r\nTimeout: 4000\r\nContent-Length: 0\r\n\r\n"
    assert parser.take(raw) is not None
    for _ in range(2):
        assert parser.take(b"\r\n") is None
        assert parser.take(raw) is not None


def test_tables_are_bounded() -> None:
    tables = Tables()
    parser = Parser(Limits(), tables)
    for at in range(5000):
        parser.feed(b"GET /%d HTTP/1.1\r\nHost: h%d\r\nX-%d: 1\r\n\r\n" % (at, at, at))
        assert parser.poll() is not None
    for at in range(5000):
        parser.feed(START + b"X: %d\r\nMicro-Id: 7\r\nTimeout: 4000\r\nContent-Length: 0\r\n\r\n" % at)
        assert parser.poll() is not None
    parser = Parser(Limits(), tables, replies=True)
    for at in range(5000):
        parser.feed(b"HTTP/1.1 200 OK\r\nX-%d: 1\r\nContent-Length: 0\r\n\r\n" % at)
        assert parser.poll() is not None
    assert (
        max(map(len, (tables.names, tables.hosts, tables.starts, tables.lines, tables.replies, tables.calls))) <= 1024
    )
    names = WireLines()
    for at in range(5000):
        header_block(names, {f"x-{at}": "1"})
    assert len(names) <= 1024


NAME = st.from_regex(r"x-[a-z0-9]{1,8}", fullmatch=True)
VALUE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs"]), max_size=12)
MESSAGE = st.tuples(st.dictionaries(NAME, VALUE, max_size=4), st.binary(max_size=200), st.booleans())


def wire(message: tuple[dict[str, str], bytes, bool], *, reply: bool) -> bytes:
    head, body, chunked = message
    start = reply_start("200") if reply else request_start("POST", "/", "host")
    block = start + header_block(WireLines(), head)
    if not chunked:
        return block + counted(len(body)) + body
    parts = [b"%x\r\n%b\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7)]
    return block + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + b"0\r\n\r\n"


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGE, min_size=1, max_size=4), st.lists(st.integers(1, 60), min_size=1), st.booleans())
def test_any_cut_of_valid_bytes_gives_the_same_messages(
    messages: list[tuple[dict[str, str], bytes, bool]], cuts: list[int], reply: bool
) -> None:
    raw = b"".join(wire(message, reply=reply) for message in messages)
    pieces: list[bytes] = []
    at = 0
    while at < len(raw):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(raw[at : at + size])
        at += size
    expected = seen(parse(raw, replies=reply))
    assert [body for _, body in expected] == [body for _, body, _ in messages]
    assert all(got.items() >= sent.items() for (got, _), (sent, _, _) in zip(expected, messages, strict=True))
    assert seen(parse(*pieces, replies=reply)) == expected
    assert seen(parse(*[raw[at : at + 20] for at in range(0, len(raw), 20)], replies=reply)) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"GET",
                b"POST",
                b" ",
                b"/",
                b"HTTP/1.1",
                b"\r\n",
                b"\n",
                b"\r",
                b":",
                b"Host: a",
                b"\0",
                b"Content-Length",
                b": 3",
                b"Transfer-Encoding: chunked",
                b"0",
                b"abc",
                b"\t",
                b"\xff",
            ]
        ),
        max_size=30,
    ),
    st.booleans(),
)
def test_any_bytes_give_messages_or_malformed_and_nothing_else(parts: list[bytes], reply: bool) -> None:
    raw = b"".join(parts)
    outcomes = []
    for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
        try:
            outcomes.append(len(parse(*pieces, replies=reply)))
        except Malformed:
            outcomes.append(-1)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "a\0b", "\x7f", "\x1b"])
def test_no_control_character_is_written(value: str) -> None:
    with pytest.raises(ValueError, match="x-bad"):
        header_block(WireLines(), {"x-good": "fine", "x-bad": value})
    for name in (f"x{value}", "", "a b", "a:b", "ü"):
        with pytest.raises(ValueError, match="header"):
            header_block(WireLines(), {name: "x"})


@pytest.mark.parametrize("path", ["", "x", "/ HTTP/1.1\r\nX: y", "/a b", "/\0", "/#", "/ü", "*"])
def test_no_path_breaks_out_of_the_request_line(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        request_start("POST", path, "h")


@pytest.mark.parametrize("status", ["", "99", "100", "2000", "abc", "200 OK\r\nX: y", "²00"])
def test_no_status_breaks_out_of_the_status_line(status: str) -> None:
    with pytest.raises(ValueError, match="status"):
        reply_start(status)


def test_names_are_written_as_go_writes_them_and_framing_is_the_connections_own() -> None:
    head = {
        ":path": "/",
        "micro-id": "1",
        "x-micro-service": "a",
        "host": "evil",
        "Content-Length": "9",
        "transfer-encoding": "chunked",
    }
    assert header_block(WireLines(), head) == b"\r\nMicro-Id: 1\r\nX-Micro-Service: a"
