"""What holds of HTTP/2 whatever arrives, however it is cut, and in whichever order windows grow; no sockets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from http2_rig import (
    NUISANCES,
    OPENING,
    PREFACE,
    ClientRig,
    Frame,
    Noted,
    Rig,
    block,
    data,
    frame,
    frames,
    head,
    reset,
    settings,
    window,
)
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from micro_http.http2.streams import EXCUSED, MAX_NUISANCE, Bounds

STREAMS = st.sampled_from([0, 1, 1, 1, 2, 3, 3, 5, 7, 9, 2**31 - 1])
FIELDS = st.sampled_from(
    [
        block((":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")),
        bytes.fromhex("838684"),
        bytes.fromhex("838684") + b"\x40\x01x\x01y",
        bytes.fromhex("838684be"),
        bytes.fromhex("88"),
        b"\x00\x01x\x01y",
        b"\x20",
        b"\x80",
        block((":status", "200"), ("content-length", "3")),
        block((":status", "100")),
        b"",
    ]
)
ANY = st.builds(frame, st.integers(0, 11), st.integers(0, 255), STREAMS, st.binary(max_size=40))
PLAIN = st.one_of(
    st.builds(lambda at, raw, flags: frame(1, flags, at, raw), STREAMS, FIELDS, st.sampled_from([0, 1, 4, 4, 5, 5])),
    st.builds(lambda at, raw, flags: frame(9, flags, at, raw), STREAMS, FIELDS, st.sampled_from([0, 4])),
    st.builds(lambda at, raw, end: data(at, raw, end=end), STREAMS, st.binary(max_size=30), st.booleans()),
    st.builds(reset, STREAMS),
    st.builds(window, STREAMS, st.integers(0, 100)),
    st.builds(lambda size: settings(window=size), st.integers(0, 10_000)),
    st.builds(lambda size: settings(table=size), st.integers(0, 10_000)),
    st.just(frame(6, 0, 0, b"12345678")),
)
TRAFFIC = st.lists(st.one_of(PLAIN, PLAIN, PLAIN, ANY), max_size=25).map(b"".join)
RAW = st.one_of(
    st.binary(max_size=200),
    TRAFFIC,
    st.builds(
        lambda raw, at, byte: raw[: at % (len(raw) + 1)] + bytes((byte,)) + raw[at % (len(raw) + 1) + 1 :],
        TRAFFIC,
        st.integers(0, 10**6),
        st.integers(0, 255),
    ),
)
CUTS = st.lists(st.integers(0, 600), max_size=20)


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    return [raw[begin:end] for begin, end in pairwise(places)]


def served(parts: list[bytes], *, opened: bool = True) -> tuple[list[Frame], list[tuple[object, ...]], bool]:
    rig = Rig(Bounds(window=100, streams=3, head=200, lines=5), opened=opened)
    said = rig.said()
    for part in parts:
        said += rig.hears(part)
    return said, rig.notes, rig.link.failed


def called(parts: list[bytes]) -> tuple[list[Frame], list[tuple[object, ...]], bool]:
    rig = ClientRig(Bounds(window=100, head=200, lines=5))
    for at in range(3):
        rig.call(collects=at != 1)
    said = []
    for part in parts:
        said += rig.hears(part)
    return said, rig.notes, rig.link.failed


@pytest.mark.parametrize("end", [served, called])
@given(raw=RAW, cuts=CUTS)
@hypothesis_settings(max_examples=150, deadline=None)
def test_the_cuts_of_the_wire_make_no_difference(
    end: Callable[[list[bytes]], object], raw: bytes, cuts: list[int]
) -> None:
    assert end([raw]) == end(pieces(raw, cuts)) == end([raw[at : at + 1] for at in range(len(raw))])


@given(raw=st.one_of(RAW, RAW.map(lambda raw: PREFACE + raw), RAW.map(lambda raw: OPENING + raw)), cuts=CUTS)
@hypothesis_settings(max_examples=100, deadline=None)
def test_a_connection_that_begins_with_anything(raw: bytes, cuts: list[int]) -> None:
    whole = served([raw], opened=False)
    assert whole == served(pieces(raw, cuts), opened=False)
    said, notes, failed = whole
    assert failed == any(one.kind == "GOAWAY" for one in said)
    if failed:
        assert said[-1].kind == "GOAWAY"
    ended = [note[0] for note in notes if note[1] == "reset"]
    assert len(ended) == len(set(ended))


@given(raw=RAW)
@hypothesis_settings(max_examples=100, deadline=None)
def test_nothing_is_kept_of_what_has_failed(raw: bytes) -> None:
    rig = Rig(Bounds(window=100, streams=3, head=200, lines=5), collects=False)
    rig.hears(raw)
    assert len(rig.link.streams) <= 3
    assert sum(stream.held for stream in rig.link.streams.values()) == rig.link._held
    assert all(stream.held + stream.credit <= 100 for stream in rig.link.streams.values())
    if rig.link.failed:
        assert not rig.link.streams
        assert not rig.link._waiting
        assert rig.link._held == 0
        assert rig.hears(raw) == []


# Sending

Step = tuple[str, int, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from([1, 3, 5]), st.integers(0, 300)),
        st.tuples(st.just("gather"), st.sampled_from([1, 3, 5]), st.integers(0, 300)),
        st.tuples(st.just("end"), st.sampled_from([1, 3, 5]), st.integers(0, 1)),
        st.tuples(st.just("window"), st.sampled_from([0, 1, 3, 5]), st.integers(1, 400)),
        st.tuples(st.just("initial"), st.just(0), st.integers(0, 300)),
        st.tuples(st.just("reset"), st.sampled_from([1, 3, 5]), st.just(0)),
        st.tuples(st.just("collect"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class Receiver:
    """A peer that counts what its windows let through, and holds every frame against it."""

    def __init__(self) -> None:
        self.connection = 65_535
        self.initial = 0
        self.given = {1: 0, 3: 0, 5: 0}
        self.got = {1: b"", 3: b"", 5: b""}
        self.over: dict[int, str] = {}

    def takes(self, said: list[Frame]) -> None:
        for one in said:
            if one.kind == "DATA":
                assert one.stream not in self.over
                size = len(one.payload)
                self.connection -= size
                assert self.connection >= 0
                self.got[one.stream] += one.payload
                if size:
                    assert len(self.got[one.stream]) <= self.given[one.stream] + self.initial
            if one.kind in ("DATA", "HEADERS") and one.flags & 1:
                assert one.stream not in self.over
                self.over[one.stream] = "ended"


class Sender:
    """A server's link with three streams, and what should have arrived by now; its methods are the steps."""

    def __init__(self) -> None:
        self.rig, self.peer = Rig(), Receiver()
        self.rig.link._window = self.peer.connection = 700
        self.rig.hears(settings(window=0) + b"".join(head(at, end=True) for at in (1, 3, 5)))
        self.streams = {at: self.rig.link.streams[at] for at in (1, 3, 5)}
        self.wanted = {1: b"", 3: b"", 5: b""}
        self.ended: set[int] = set()
        self.gone: set[int] = set()
        for stream in self.streams.values():
            self.rig.link.send_head(stream, block((":status", "200")))

    def send(self, number: int, size: int) -> None:
        if number not in self.ended | self.gone and not self.streams[number].gathered:
            self.rig.link.send_data(self.streams[number], bytes(size))
            self.wanted[number] += bytes(size)

    def gather(self, number: int, size: int) -> None:
        if number not in self.ended | self.gone:
            prefix, body = b"\0" + size.to_bytes(4), bytes((size % 251,)) * size
            self.rig.link.gather(self.streams[number], prefix, body)
            self.wanted[number] += prefix + body

    def end(self, number: int, size: int) -> None:
        if number not in self.ended | self.gone:
            self.rig.link.finish(self.streams[number], {"micro-error": "x"} if size else None)
            self.ended.add(number)

    def window(self, number: int, size: int) -> None:
        """The peer counts first: what is sent in answer is within the window that grew."""
        if number:
            self.peer.given[number] += size
        else:
            self.peer.connection += size
        self.rig.link.receive(window(number, size))

    def initial(self, number: int, size: int) -> None:
        self.collect()
        self.peer.initial = size
        self.rig.link.receive(settings(window=size))

    def reset(self, number: int, size: int) -> None:
        self.rig.link.receive(reset(number))
        self.gone.add(number)

    def collect(self, number: int = 0, size: int = 0) -> None:
        self.peer.takes(self.rig.said())


@given(steps=STEPS)
@hypothesis_settings(max_examples=150, deadline=None)
def test_what_is_sent_never_exceeds_the_windows_and_arrives_in_order(steps: list[Step]) -> None:
    sender = Sender()
    for what, number, size in steps:
        getattr(sender, what)(number, size)
    sender.collect()
    for number in (0, 1, 3, 5):
        sender.window(number, 100_000)
    sender.collect()
    peer, link = sender.peer, sender.rig.link
    for number in {1, 3, 5} - sender.gone:
        assert peer.got[number] == sender.wanted[number]
        assert (number in peer.over) == (number in sender.ended)
    for number in sender.gone:
        assert sender.wanted[number].startswith(peer.got[number])
    assert not link.unsent
    assert not link.failed


@given(sizes=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 9), st.booleans()), max_size=60))
@hypothesis_settings(max_examples=200, deadline=None)
def test_a_sender_that_keeps_to_our_windows_is_never_refused(sizes: list[tuple[int, int, bool]]) -> None:
    """And one that has waited long enough may always go on: what was taken opens the windows again."""
    rig = Rig(Bounds(window=100, budget=150), collects=False)
    rig.hears(head(1) + head(3))
    mine = {1: 100, 3: 100}
    connection = 1024 * 1024
    for size, padding, first in sizes:
        number = 1 if first else 3
        stream = rig.link.streams[number]
        payload = bytes((padding,)) + bytes(size + padding)
        if len(payload) <= mine[number]:
            mine[number] -= len(payload)
            connection -= len(payload)
            said = rig.hears(frame(0, 8, number, payload))
        else:
            rig.link.took(stream, stream.held)
            said = rig.said()
            assert mine[number] + sum(one.word for one in said if one.stream == number) > 50
        for one in said:
            assert one.kind == "WINDOW"
            if one.stream:
                mine[one.stream] += one.word
            else:
                connection += one.word
        assert max(mine.values()) <= 100
        assert not rig.link.failed
    assert connection == rig.link._credit


# Nuisances


@pytest.mark.parametrize("idle", [0, 1000], ids=["at once", "after a quiet time"])
@pytest.mark.parametrize("name", NUISANCES)
def test_a_peer_that_only_makes_work_is_sent_away_within_a_thousand_frames(name: str, idle: int) -> None:
    rig = Rig(Bounds(window=100, streams=5))
    rig.hears(frame(6, 0, 0, bytes(8)))
    rig.clock.now += idle
    sent = at = 0
    while not rig.link.failed:
        raw = NUISANCES[name](at)
        sent += len(list(frames(raw)))
        rig.hears(raw)
        at += 1
        assert sent < 1000


def test_many_settings_in_a_frame_count_as_many() -> None:
    rig = Rig()
    for _ in range(3):
        rig.hears(frame(4, 0, 0, b"\0\1\0\0\0\0" * 2730))
    assert rig.link.failed


def test_time_and_calls_excuse() -> None:
    rig = Rig()
    for at in range(2000):
        rig.clock.now += 2 / EXCUSED
        rig.hears(frame(6, 0, 0, bytes(8)))
        assert not rig.link.failed, at
    for at in range(1, 4000, 2):
        rig.hears(head(at, end=True) + frame(6, 0, 0, bytes(8)))
        rig.link.send_head(rig.link.streams[at], block((":status", "200")), True)
        assert not rig.link.failed, at


def test_windows_that_answer_what_was_sent_are_no_nuisance_and_crumbs_are() -> None:
    rig = Rig()
    rig.hears(head(1, end=True))
    stream: Noted = rig.link.streams[1]  # type: ignore[assignment]
    rig.link.send_head(stream, block((":status", "200")))
    for _ in range(10 * MAX_NUISANCE):
        rig.link.send_data(stream, bytes(100))
        rig.hears(window(0, 100) + window(1, 100))
    assert not rig.link.failed
    rig.link.send_data(stream, bytes(10**6), end=True)
    rig.said()
    crumbs = 0
    while not rig.link.failed:
        rig.hears(window(0, 1) + window(1, 1))
        crumbs += 1
        assert crumbs < 5 * MAX_NUISANCE
