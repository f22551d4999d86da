"""One end of an HTTP/2 connection by tables: what each frame does in each state (RFC 9113 §5, §6); no sockets."""

from __future__ import annotations

import pytest
from http2_rig import (
    ACK,
    CALM,
    CANCEL,
    CLOSED,
    COMPRESSION,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    OPENING,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PROTOCOL,
    PUSH,
    REFUSED,
    REQUEST,
    RST,
    SETTINGS,
    SIZE,
    WINDOW,
    ClientRig,
    Frame,
    Noted,
    Rig,
    block,
    data,
    frame,
    head,
    reset,
    settings,
    window,
)
from micro_http.http2.streams import Bounds

STATES = {
    "idle": b"",
    "open": head(1),
    "half closed": head(1, end=True),
    "reset by the peer": head(1) + reset(1),
}


def outcome(said: list[Frame]) -> str:
    """`goaway 1`, `rst 5`, or `fine`; acknowledgements and windows do not count."""
    for one in said:
        if one.kind in ("GOAWAY", "RST"):
            return f"{one.kind.lower()} {one.word}"
    return "fine"


def kept(state: str, raw: bytes) -> str:
    rig = Rig()
    rig.hears(STATES[state])
    return outcome(rig.hears(raw))


# Frame of stream 1: what becomes of it where the stream is idle, open, half closed by the peer, reset by the peer.
TABLE: dict[str, tuple[bytes, tuple[str, str, str, str]]] = {
    "head": (head(1), ("fine", "rst 1", "rst 5", "goaway 5")),
    "head that ends": (head(1, end=True), ("fine", "rst 1", "rst 5", "goaway 5")),
    "trailers": (head(1, ("x", "y"), end=True, fields=[]), ("rst 1", "fine", "rst 5", "goaway 5")),
    "trailers that do not end": (head(1, ("x", "y"), fields=[]), ("rst 1", "rst 1", "rst 5", "goaway 5")),
    "data": (data(1, b"x"), ("goaway 1", "fine", "rst 5", "goaway 5")),
    "data that ends": (data(1, b"x", end=True), ("goaway 1", "fine", "rst 5", "goaway 5")),
    "empty data that ends": (data(1, b"", end=True), ("goaway 1", "fine", "rst 5", "goaway 5")),
    "rst": (reset(1), ("goaway 1", "fine", "fine", "fine")),
    "rst of 3 bytes": (frame(RST, 0, 1, b"xxx"), ("goaway 1", "goaway 6", "goaway 6", "goaway 6")),
    "window": (window(1, 1), ("goaway 1", "fine", "fine", "fine")),
    "window by 0": (window(1, 0), ("goaway 1", "rst 1", "rst 1", "fine")),
    "window over 2^31": (window(1, 2**31 - 1), ("goaway 1", "rst 3", "rst 3", "fine")),
    "window of 3 bytes": (frame(WINDOW, 0, 1, b"xxx"), ("goaway 6",) * 4),
    "priority": (frame(PRIORITY, 0, 1, b"\0\0\0\3\0"), ("fine",) * 4),
    "priority of 4 bytes": (frame(PRIORITY, 0, 1, b"xxxx"), ("goaway 6", "rst 6", "rst 6", "rst 6")),
    "priority on itself": (frame(PRIORITY, 0, 1, b"\0\0\0\1\0"), ("goaway 1", "rst 1", "rst 1", "rst 1")),
    "continuation": (frame(CONTINUATION, 4, 1), ("goaway 1",) * 4),
    "push": (frame(PUSH, 4, 1, b"\0\0\0\2"), ("goaway 1",) * 4),
    "settings": (frame(SETTINGS, 0, 1), ("goaway 1",) * 4),
    "ping": (frame(PING, 0, 1, b"12345678"), ("goaway 1",) * 4),
    "goaway": (frame(GOAWAY, 0, 1, bytes(8)), ("goaway 1",) * 4),
    "unknown kind": (frame(0xAB, 0xFF, 1, b"xyz"), ("fine",) * 4),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", TABLE)
def test_states_of_a_stream(name: str, state: str) -> None:
    raw, expected = TABLE[name]
    assert kept(state, raw) == expected[list(STATES).index(state)]


def test_a_stream_closed_in_good_order_takes_no_head_again() -> None:
    rig = Rig()
    rig.hears(head(1, end=True))
    rig.link.send_head(rig.link.streams[1], block((":status", "200")), True)
    rig.said()
    assert rig.hears(window(1, 5) + reset(1)) == []
    assert outcome(rig.hears(head(1))) == f"goaway {CLOSED}"


def test_what_was_on_its_way_when_we_reset_a_stream_is_dropped() -> None:
    rig = Rig()
    rig.hears(head(1))
    rig.link.reset(1, CANCEL)
    assert outcome(rig.said()) == f"rst {CANCEL}"
    late = data(1, b"x" * 100) + head(1, ("x", "y"), end=True, fields=[]) + reset(1) + window(1, 7)
    assert outcome(rig.hears(late)) == "fine"
    assert not rig.link.failed


CONNECTION = {
    "settings that acknowledge something": (frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
    "settings of 5 bytes": (frame(SETTINGS, 0, 0, bytes(5)), SIZE),
    "push over 1": (settings(push=2), PROTOCOL),
    "window over 2^31": (settings(window=2**31), FLOW),
    "frame too small": (settings(frame=16_383), PROTOCOL),
    "frame too large": (settings(frame=2**24), PROTOCOL),
    "ping of 7 bytes": (frame(PING, 0, 0, bytes(7)), SIZE),
    "goaway of 7 bytes": (frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    "window by 0": (window(0, 0), PROTOCOL),
    "window over the most": (window(0, 2**31 - 1), FLOW),
    "data without a stream": (frame(DATA, 0, 0, b"x"), PROTOCOL),
    "head without a stream": (head(0), PROTOCOL),
    "rst without a stream": (reset(0), PROTOCOL),
    "priority without a stream": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "even number": (head(2), PROTOCOL),
    "number that falls": (head(5, end=True) + head(3), CLOSED),
    "frame over 16 KiB": (b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", SIZE),
    "head that is not continued": (frame(HEADERS, 0, 1, block(*REQUEST)) + frame(PING, 0, 0, bytes(8)), PROTOCOL),
    "continued by another": (frame(HEADERS, 0, 1, block(*REQUEST)) + frame(CONTINUATION, 4, 3), PROTOCOL),
    "unknown frame within a head": (frame(HEADERS, 0, 1, block(*REQUEST)) + frame(0xAB), PROTOCOL),
    "padding over the head": (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09" + block(*REQUEST)[:8]), PROTOCOL),
    "padding of nothing": (frame(HEADERS, END_HEADERS | PADDED, 1), PROTOCOL),
    "padding over the data": (head(1) + frame(DATA, PADDED, 1, b"\x02\0"), PROTOCOL),
    "priority cut off": (frame(HEADERS, END_HEADERS | PRIORITIZED, 1, bytes(4)), SIZE),
    "head that depends on itself": (frame(HEADERS, END_HEADERS | PRIORITIZED, 1, b"\0\0\0\1\0"), PROTOCOL),
    "block that is none": (frame(HEADERS, END_HEADERS, 1, b"\x80"), COMPRESSION),
    "more data than the connection's window": (head(1) + b"".join(data(1, bytes(16_384)) for _ in range(65)), FLOW),
}


@pytest.mark.parametrize(("raw", "code"), CONNECTION.values(), ids=CONNECTION)
def test_what_breaks_the_connection_is_told_by_goaway(raw: bytes, code: int) -> None:
    rig = Rig(Bounds(window=10**7, budget=0), collects=False)
    said = rig.hears(raw)
    assert (said[-1].kind, said[-1].word, rig.link.failed) == ("GOAWAY", code, True)
    assert rig.hears(OPENING + head(9) + bytes(100)) == []


PREFACES = {
    "other": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "wrong at the end": PREFACE[:-1] + b"x" + settings(),
    "cut and wrong": PREFACE[:10] + b"\0",
    "no settings": PREFACE + frame(PING, 0, 0, bytes(8)),
    "an acknowledgement": PREFACE + frame(SETTINGS, ACK),
    "a head": PREFACE + head(1),
}


@pytest.mark.parametrize("raw", PREFACES.values(), ids=PREFACES)
def test_a_wrong_preface_is_told_by_goaway(raw: bytes) -> None:
    rig = Rig(opened=False)
    assert outcome(rig.hears(raw)) == f"goaway {PROTOCOL}"
    assert rig.hears(OPENING) == []


MALFORMED: dict[str, list[tuple[str, str]]] = {
    "no method": REQUEST[1:],
    "no scheme": [REQUEST[0], *REQUEST[2:]],
    "no path": REQUEST[:2],
    "empty path": [*REQUEST[:2], (":path", "")],
    "path without a slash": [*REQUEST[:2], (":path", "a")],
    "path with a space": [*REQUEST[:2], (":path", "/a b")],
    "path with a fragment": [*REQUEST[:2], (":path", "/#a")],
    "path not ASCII": [*REQUEST[:2], (":path", "/ü")],
    "absolute path": [*REQUEST[:2], (":path", "http://b/")],
    "asterisk": [*REQUEST[:2], (":path", "*")],
    "status": [*REQUEST, (":status", "200")],
    "method lower case": [(":method", "get"), *REQUEST[1:]],
    "method with a space": [(":method", "GET /x"), *REQUEST[1:]],
    "two methods": [REQUEST[0], *REQUEST],
    "unknown pseudo header": [*REQUEST, (":protocol", "websocket")],
    "pseudo header last": [*REQUEST[:3], ("x", "y"), REQUEST[3]],
    "upper case": [*REQUEST, ("X-Y", "z")],
    "connection": [*REQUEST, ("connection", "close")],
    "transfer-encoding": [*REQUEST, ("transfer-encoding", "chunked")],
    "te gzip": [*REQUEST, ("te", "gzip")],
    "user in the authority": [*REQUEST[:3], (":authority", "u@a")],
    "path in the authority": [*REQUEST[:3], (":authority", "a/b")],
    "bad host": [*REQUEST[:3], ("host", "a b")],
    "another host": [*REQUEST, ("host", "b")],
    "two hosts": [*REQUEST[:3], ("host", "a"), ("host", "a")],
    "length with a sign": [*REQUEST, ("content-length", "+1")],
    "length of no digits": [*REQUEST, ("content-length", "1_0")],
    "two lengths": [*REQUEST, ("content-length", "1"), ("content-length", "1")],
    "length list": [*REQUEST, ("content-length", "1, 1")],
    "huge length": [*REQUEST, ("content-length", "9" * 30)],
    "length and no body": [*REQUEST, ("content-length", "1")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests_end_their_stream_alone(fields: list[tuple[str, str]]) -> None:
    rig = Rig()
    assert outcome(rig.hears(head(1, fields=fields, end=True))) == f"rst {PROTOCOL}"
    assert outcome(rig.hears(head(3, fields=fields, end=True))) == f"rst {PROTOCOL}"
    rig.hears(head(5, end=True))
    assert [note[:2] for note in rig.notes if note[1] == "head"] == [(5, "head")]


BODIES = {
    "longer": head(1, ("content-length", "1")) + data(1, b"xy"),
    "longer at the end": head(1, ("content-length", "1")) + data(1, b"xy", end=True),
    "shorter": head(1, ("content-length", "3")) + data(1, b"xy", end=True),
    "shorter, ended by trailers": head(1, ("content-length", "3")) + data(1, b"xy") + head(1, end=True, fields=[]),
    "a byte behind none": head(1, ("content-length", "0")) + data(1, b"x", end=True),
}


@pytest.mark.parametrize("raw", BODIES.values(), ids=BODIES)
def test_a_body_that_is_not_as_long_as_it_says_ends_its_stream(raw: bytes) -> None:
    rig = Rig()
    assert outcome(rig.hears(raw)) == f"rst {PROTOCOL}"
    assert rig.notes[-1][1] == "reset"


TRAILERS: dict[str, list[tuple[str, str]]] = {
    "pseudo header": [(":path", "/")],
    "content-length": [("content-length", "1")],
    "host": [("host", "a")],
    "upper case": [("X", "y")],
    "connection": [("connection", "close")],
}


@pytest.mark.parametrize("fields", TRAILERS.values(), ids=TRAILERS)
def test_fields_of_a_head_are_none_of_trailers(fields: list[tuple[str, str]]) -> None:
    rig = Rig()
    rig.hears(head(1) + data(1, b"x"))
    assert outcome(rig.hears(head(1, fields=fields, end=True))) == f"rst {PROTOCOL}"


@pytest.mark.parametrize(("lines", "expected"), [(99, False), (100, False), (101, True)])
def test_lines_up_to_the_limit(lines: int, expected: bool) -> None:
    rig = Rig()
    for at in (1, 3, 5):
        rig.hears(head(at, *((f"x{line}", "y") for line in range(lines - 4)), end=True))
    assert [(":status", "431") in note[2] for note in rig.notes] == [expected] * 3  # type: ignore[operator]


@pytest.mark.parametrize("limit", [5, 40])
def test_lines_are_counted_behind_what_is_remembered_too(limit: int) -> None:
    rig = Rig(Bounds(lines=limit))
    front = bytes.fromhex("838684")  # POST, http, /
    plain = b"".join(b"\x00\x02" + f"{at:02}".encode() + b"\x01y" for at in range(limit - 3))
    for number in (1, 3, 5):
        rig.hears(frame(HEADERS, END_HEADERS | END_STREAM, number, front + plain))
    rig.hears(frame(HEADERS, END_HEADERS | END_STREAM, 7, front + plain + b"\x00\x01z\x01z"))
    assert [(":status", "431") in note[2] for note in rig.notes] == [False, False, False, True]  # type: ignore[operator]


@pytest.mark.parametrize(("more", "expected"), [(-1, False), (0, False), (1, True)])
def test_bytes_of_a_head_up_to_the_limit(more: int, expected: bool) -> None:
    used = sum(len(name) + len(value) + 32 for name, value in REQUEST) + len("x") + 32
    rig = Rig()
    for at in (1, 3):
        raw = block(*REQUEST, ("x", "y" * (16_384 - used + more)))
        rig.hears(frame(HEADERS, END_STREAM, at, raw[:16_000]) + frame(CONTINUATION, END_HEADERS, at, raw[16_000:]))
    assert [(":status", "431") in note[2] for note in rig.notes] == [expected] * 2  # type: ignore[operator]


@pytest.mark.parametrize("method", ["HEAD", "CONNECT", "TRACE"])
def test_methods_that_are_not_served(method: str) -> None:
    rig = Rig()
    rig.hears(head(1, fields=[(":method", method), *REQUEST[1:]], end=True))
    assert rig.notes == [(1, "head", ((":status", "405"),), True)]


def test_more_streams_than_were_offered_are_refused_and_those_that_are_open_go_on() -> None:
    rig = Rig(Bounds(streams=3))
    said = rig.hears(head(1) + head(3) + head(5) + head(7) + data(1, b"x", end=True))
    assert [(one.kind, one.stream, one.word) for one in said] == [("RST", 7, REFUSED)]
    assert rig.notes[-1] == (1, "data", b"x", True)


def test_windows_grow_as_bytes_are_taken_and_padding_counts() -> None:
    rig = Rig(Bounds(window=100), collects=False)
    rig.hears(head(1))
    assert outcome(rig.hears(frame(DATA, PADDED, 1, b"\x30" + b"x" * 10 + bytes(48)))) == "fine"
    stream = rig.link.streams[1]
    rig.link.took(stream, 10)
    assert [(one.kind, one.stream, one.word) for one in rig.said()] == [("WINDOW", 1, 59)]
    assert outcome(rig.hears(data(1, b"x" * 101))) == f"rst {FLOW}"


def test_what_nobody_takes_keeps_the_windows_closed() -> None:
    rig = Rig(Bounds(window=10_000, budget=5_000), collects=False)
    rig.hears(head(1) + data(1, b"x" * 10_000))
    assert not rig.said()
    rig.hears(head(3) + data(3, b"x" * 10_000))
    before = rig.link._credit
    rig.hears(data(3, b"", end=True))
    assert rig.link._credit == before
    rig.hears(reset(1) + reset(3))
    assert rig.link._held == 0


def test_settings_apply_to_streams_that_are_open_and_may_make_windows_negative() -> None:
    rig = Rig()
    rig.hears(settings(window=10) + head(1, end=True))
    stream = rig.link.streams[1]
    rig.link.send_head(stream, block((":status", "200")))
    rig.link.send_data(stream, b"0123456789abcdef", end=True)
    assert b"".join(one.payload for one in rig.said() if one.kind == "DATA") == b"0123456789"
    assert not [one for one in rig.hears(settings(window=0) + window(1, 10)) if one.kind == "DATA"]
    assert stream.window == 0
    assert b"".join(one.payload for one in rig.hears(window(1, 3)) if one.kind == "DATA") == b"abc"
    assert b"".join(one.payload for one in rig.hears(settings(window=99)) if one.kind == "DATA") == b"def"
    assert (1, "sent") in rig.notes


def test_what_settings_allow_is_used_behind_their_acknowledgement() -> None:
    """The peer relies on them no earlier (RFC 9113 §6.5.3): gRPC's C core ends the call for it."""
    rig = Rig()
    rig.hears(settings(window=2) + head(1, end=True))
    stream = rig.link.streams[1]
    rig.link.send_head(stream, block((":status", "200")))
    rig.link.send_data(stream, b"abcd", end=True)
    rig.said()
    assert [one.kind for one in rig.hears(settings(window=4))] == ["SETTINGS", "DATA"]


def test_a_peer_may_measure_every_message_of_ours_by_a_ping() -> None:
    rig = Rig()
    rig.hears(head(1))
    for _ in range(1000):
        rig.link.send_data(rig.link.streams[1], b"a")
        rig.said()
        answered = rig.hears(window(0, 1) + window(1, 1) + frame(PING, 0, 0, b"8 bytes!"))
        assert [(one.kind, one.flags) for one in answered] == [("PING", ACK)]


def test_a_peer_may_open_the_windows_of_every_stream_that_it_opens() -> None:
    rig = Rig()
    for at in range(1, 2 * rig.link.bounds.streams, 2):
        assert rig.hears(head(at, end=True) + window(at, 5) + window(0, 5)) == []
    assert len(rig.link.streams) == rig.link.bounds.streams


def test_large_heads_and_bodies_are_cut_to_the_peers_frame_size() -> None:
    rig = Rig()
    rig.hears(window(0, 10**6) + settings(window=10**6) + head(1, end=True))
    stream = rig.link.streams[1]
    rig.link.send_head(stream, b"\x88" + b"\0" * 40_000)
    rig.link.send_data(stream, bytes(40_000), end=True)
    said = rig.said()
    assert [(one.kind, len(one.payload), one.flags) for one in said] == [
        ("HEADERS", 16_384, 0),
        ("CONTINUATION", 16_384, 0),
        ("CONTINUATION", 7233, END_HEADERS),
        ("DATA", 16_384, 0),
        ("DATA", 16_384, 0),
        ("DATA", 7232, END_STREAM),
    ]


def test_a_server_that_leaves_takes_what_is_on_its_way() -> None:
    rig = Rig()
    rig.hears(head(1))
    rig.link.leave()
    said = rig.said()
    assert [one.kind for one in said] == ["GOAWAY", "PING"]
    assert said[0].payload == b"\x7f\xff\xff\xff" + bytes(4)
    rig.hears(head(3, end=True))
    assert rig.notes[-1][:2] == (3, "head")
    said = rig.hears(frame(PING, ACK, 0, said[1].payload))
    assert [(one.kind, one.payload) for one in said] == [("GOAWAY", b"\0\0\0\3" + bytes(4))]
    assert outcome(rig.hears(head(5))) == f"rst {REFUSED}"


# The client

REPLY = [(":status", "200"), ("x", "y")]
REPLIES: dict[str, tuple[bytes, str]] = {
    "no status": (head(1, fields=[("x", "y")]), f"rst {PROTOCOL}"),
    "two statuses": (head(1, fields=[REPLY[0], *REPLY]), f"rst {PROTOCOL}"),
    "status of two digits": (head(1, fields=[(":status", "20")]), f"rst {PROTOCOL}"),
    "status 600": (head(1, fields=[(":status", "600")]), f"rst {PROTOCOL}"),
    "status not ASCII": (head(1, fields=[(":status", "२००")]), f"rst {PROTOCOL}"),
    "path": (head(1, fields=[*REPLY[:1], (":path", "/")]), f"rst {PROTOCOL}"),
    "connection": (head(1, fields=[*REPLY, ("connection", "close")]), f"rst {PROTOCOL}"),
    "line feed": (frame(HEADERS, 4, 1, b"\x88\x00\x01x\x03a\nb"), f"rst {PROTOCOL}"),
    "upper case": (head(1, fields=[*REPLY, ("X", "y")]), f"rst {PROTOCOL}"),
    "101": (head(1, fields=[(":status", "101")]), f"rst {PROTOCOL}"),
    "interim that ends": (head(1, fields=[(":status", "100")], end=True), f"rst {PROTOCOL}"),
    "length of another body": (
        head(1, fields=[*REPLY, ("content-length", "1")]) + data(1, b"xy", end=True),
        f"rst {PROTOCOL}",
    ),
    "two lengths": (head(1, fields=[*REPLY, *[("content-length", "1")] * 2]), f"rst {PROTOCOL}"),
    "data in front": (data(1, b"x"), f"rst {PROTOCOL}"),
    "head over the limit": (
        frame(HEADERS, 0, 1, block(*REPLY, ("y", "z" * 20_000))[:16_384])
        + frame(CONTINUATION, 4, 1, block(*REPLY, ("y", "z" * 20_000))[16_384:]),
        f"rst {CALM}",
    ),
    "another stream": (head(3, fields=REPLY), f"goaway {PROTOCOL}"),
    "stream of the server": (head(2, fields=REPLY), f"goaway {PROTOCOL}"),
    "push": (frame(PUSH, 4, 1, b"\0\0\0\2"), f"goaway {PROTOCOL}"),
    "push allowed": (settings(push=1), f"goaway {PROTOCOL}"),
    "block that is none": (frame(HEADERS, 4, 1, b"\x80"), f"goaway {COMPRESSION}"),
}


@pytest.mark.parametrize(("raw", "expected"), REPLIES.values(), ids=REPLIES)
def test_replies_that_are_none(raw: bytes, expected: str) -> None:
    rig = ClientRig()
    rig.call()
    assert outcome(rig.hears(raw)) == expected
    assert [note[1] for note in rig.notes if note[1] in ("head", "reset")][-1] == "reset"


def test_what_the_peer_did_not_take_is_told_apart() -> None:
    rig = ClientRig()
    for _ in range(3):
        rig.call()
    rig.hears(frame(GOAWAY, 0, 0, b"\0\0\0\1" + bytes(4)) + reset(1, REFUSED))
    assert sorted(rig.notes) == [
        (1, "reset", REFUSED, False),
        (3, "reset", NO_ERROR, False),
        (5, "reset", NO_ERROR, False),
    ]
    assert not rig.link.takes_more()


def test_a_reply_of_what_the_peer_said_it_did_not_take_harms_no_other_call() -> None:
    rig = ClientRig()
    for _ in range(2):
        rig.call()
    rig.hears(frame(GOAWAY, 0, 0, b"\0\0\0\1" + bytes(4)))
    late = head(3, fields=[(":status", "200")]) + data(3, b"late", end=True)
    assert outcome(rig.hears(late + head(1, fields=[(":status", "200")], end=True))) == f"goaway {NO_ERROR}"
    assert [note[:2] for note in rig.notes] == [(3, "reset"), (1, "head")]


def test_interim_replies_are_passed_over() -> None:
    rig = ClientRig()
    rig.call()
    rig.hears(head(1, fields=[(":status", "103"), ("link", "x")]) + head(1, fields=REPLY, end=True))
    assert rig.notes == [(1, "head", tuple(REPLY), True)]


def test_a_stream_is_told_though_its_fault_is_the_last_straw() -> None:
    rig = ClientRig()
    streams: list[Noted] = []
    for _ in range(200):
        streams.append(rig.call())
        rig.hears(head(streams[-1].number, fields=[("x", "y")]))
        if rig.link.failed:
            break
    assert rig.link.failed
    assert [note[0] for note in rig.notes] == [stream.number for stream in streams]


def test_the_reserved_bit_of_a_streams_number_is_ignored() -> None:
    rig = Rig()
    indexed = b"\x83\x86\x84"  # remembered when it comes again, and then taken together with its body
    for number in (1, 3, 5, 7):
        bit = 0x80000000 if number == 5 else 0
        raw = frame(HEADERS, END_HEADERS, number | bit, indexed) + frame(DATA, END_STREAM, number | bit, b"x")
        assert outcome(rig.hears(raw)) == "fine"
    assert rig.link.last == 7
