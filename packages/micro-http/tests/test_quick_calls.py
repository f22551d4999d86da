"""What is written quickly, since it is like an earlier call, is what is written otherwise; no sockets."""

from __future__ import annotations

import pytest
from http2_rig import FLOW, Noted, frames, settings, window
from hypothesis import given
from hypothesis import strategies as st
from micro_core import Head
from micro_http.http2.decoder import Names
from micro_http.http2.ends import ClientLink, ServerLink
from micro_http.http2.streams import Bounds
from micro_http.names import WireLines
from micro_http.write import call_block, header_block

PSEUDO = ((":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a:1"))
NUMBERS = st.one_of(
    st.integers(0, 10**19).map(str), st.sampled_from(["", " 7", "7 ", "x", "١٢", "9" * 40, "1" * 130, "007"])
)
NAMES = st.sampled_from(["micro-endpoint", "micro-service", "tenant", "x-y", "traceparent", "cookie", "micro-stream"])
VALUES = st.sampled_from(["", "acme", "Say.Hello", "greeter", "ü", "7", " white ", "a" * 200])
COMMON = st.dictionaries(NAMES, VALUES, max_size=4)
CALLS = st.lists(st.tuples(COMMON, NUMBERS, NUMBERS, st.sampled_from(["call", "turned", "without"])), max_size=4)


def heads_of(calls: list[tuple[Head, str, str, str]]) -> list[Head]:
    """Each three times, with other ids, so that it is known at last."""
    heads: list[Head] = []
    for common, number, timeout, order in calls:
        for more in ("", "1", "22"):
            ends = {"micro-id": number + more, "timeout": timeout}
            if order == "turned":
                ends = {"timeout": timeout, "micro-id": number + more}
            heads.append(common if order == "without" else {**common, **ends})
    return heads


@given(CALLS)
def test_a_header_of_http1(calls: list[tuple[Head, str, str, str]]) -> None:
    lines = WireLines()
    for head in heads_of(calls):
        assert call_block(lines, head) == header_block(WireLines(), head)


@pytest.mark.parametrize("name", ["micro-id", "timeout"])
@pytest.mark.parametrize("value", ["1\r\nX: y", "1\n", "\0", "1\r"])
def test_no_line_is_ended_early_by_a_known_call(name: str, value: str) -> None:
    lines = WireLines()
    head = {"micro-endpoint": "Say.Hello", "micro-id": "1", "timeout": "2"}
    assert call_block(lines, head) == call_block(lines, head)
    with pytest.raises(ValueError, match=name):
        call_block(lines, {**head, name: value})


def test_few_calls_are_remembered_and_none_that_is_large_or_varies() -> None:
    lines, link = WireLines(), ClientLink(Bounds(), lambda: 0.0, Names(), lambda: None)
    for at in range(2000):
        call_block(lines, {"x": str(at), "micro-id": "1", "timeout": "2"})
        link.encoder.encode(head := {"micro-endpoint": str(at), "micro-id": "1", "timeout": "2"}, *PSEUDO)
        link.encoder.keep_call(head, *PSEUDO)
    assert len(lines.calls) <= 256
    assert len(link.encoder.calls) <= 256
    lines = WireLines()
    call_block(lines, {"x": "y" * 2000, "micro-id": "1", "timeout": "2"})
    call_block(lines, {"cookie": "secret", "micro-id": "1", "timeout": "2"})
    assert not lines.calls


class Ends:
    """A client's and a server's end, settled."""

    def __init__(self) -> None:
        self.notes: list[tuple[object, ...]] = []
        self.client = ClientLink(Bounds(), lambda: 0.0, Names(), lambda: None)
        self.server = ServerLink(
            Bounds(streams=1000), lambda: 0.0, Names(), lambda: None, lambda: Noted(self.notes, collects=True)
        )
        self.client.receive(settings())
        self.server.receive(self.client.collect())
        self.notes.clear()

    def call(self, head: Head, body: bytes) -> tuple[bool, tuple[tuple[str, str], ...]]:
        """Whether it was written quickly, and the head that arrived. Raises ValueError."""
        client, stream = self.client, Noted(self.notes)
        quickly = client.send_call(stream, head, body)
        if not quickly:
            block = client.encoder.encode(head, *PSEUDO)
            client.encoder.keep_call(head, *PSEUDO)
            client.open(stream)
            client.send_whole(stream, block, body, 1)
        assert client.streams[stream.number] is stream
        assert not stream.sending
        self.server.receive(client.collect())
        assert not self.server.failed
        arrived = self.notes[-2:]
        assert arrived[0][:2] == (stream.number, "head")
        assert arrived[1] == (stream.number, "data", b"\0" + len(body).to_bytes(4) + body, True)
        found = arrived[0][2]
        assert isinstance(found, tuple)
        return quickly, found


@given(CALLS, st.binary(max_size=30))
def test_a_call_of_http2(calls: list[tuple[Head, str, str, str]], body: bytes) -> None:
    ends = Ends()
    for head in heads_of(calls):
        _, arrived = ends.call(head, body)
        sent = {name: value.strip(" \t") for name, value in head.items()}
        assert dict(arrived) == {":method": "POST", ":path": "/", "host": "a:1", **sent}


def test_a_call_of_http2_is_written_quickly_from_the_fourth_on_until_the_table_changes() -> None:
    ends, common = Ends(), {"micro-endpoint": "Say.Hello", "tenant": "acme"}
    quick = [ends.call({**common, "micro-id": str(at), "timeout": "5"}, b"")[0] for at in range(6)]
    assert quick == [False, False, False, True, True, True]
    for _ in range(2):
        ends.call({"x-new": "1", "micro-id": "1", "timeout": "5"}, b"")
    assert [ends.call({**common, "micro-id": "8", "timeout": "5"}, b"")[0] for _ in range(3)] == [False, True, True]


def test_the_window_of_a_quick_call_is_held_to_its_bound() -> None:
    ends = Ends()
    for at in range(4):
        ends.call({"micro-endpoint": "Say.Hello", "micro-id": str(at), "timeout": "5"}, b"")
    stream = Noted(ends.notes)
    assert ends.client.send_call(stream, {"micro-endpoint": "Say.Hello", "micro-id": "9", "timeout": "5"}, b"")
    ends.client.collect()
    ends.client.receive(window(stream.number, 2**31 - 1))
    assert [(frame.kind, frame.word) for frame in frames(ends.client.collect())] == [("RST", FLOW)]


@pytest.mark.parametrize("size", [16_000, 16_384, 65_000, 70_000])
def test_a_large_body_waits_for_the_window_as_ever(size: int) -> None:
    ends = Ends()
    for at in range(4):
        ends.call({"micro-endpoint": "Say.Hello", "micro-id": str(at), "timeout": "5"}, b"")
    stream = Noted(ends.notes)
    quickly = ends.client.send_call(
        stream, {"micro-endpoint": "Say.Hello", "micro-id": "9", "timeout": "5"}, bytes(size)
    )
    assert quickly == (size < 16_300)
    if not quickly:
        assert list(frames(ends.client.collect())) == []
        assert not ends.client.streams.get(stream.number)
