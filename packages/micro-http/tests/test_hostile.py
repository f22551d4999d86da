"""Requests that are none, at a real socket: each is answered with a 4xx and a close, and no handler runs."""

from __future__ import annotations

import re

import anyio
import pytest
from hostile_cases import LONG, C, H, cases
from micro_core import Head, Message, Peer, Reset, UnaryCall
from micro_http import Limits, Malformed, listen
from micro_http.parse import Parser
from micro_http.tables import Tables


class Ran(UnaryCall):
    def __init__(self, ran: list[Head], head: Head) -> None:
        self.ran = ran
        self.head = head

    async def run(self, body: bytes) -> Message:
        self.ran.append(self.head)
        return Message({}, body)

    def cancel(self, reason: Reset) -> None:
        self.ran.append({"cancelled": reason.value})


async def exchange(address: str, raw: bytes) -> bytes:
    """Everything that the server says to these bytes until it closes."""
    host, _, port = address.rpartition(":")
    answer = b""
    async with await anyio.connect_tcp(host, int(port)) as stream:
        with anyio.fail_after(1):
            try:
                await stream.send(raw)
                while True:
                    answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer


HOSTILE = {**cases("hostile_requests.txt"), **LONG}
GOOD = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
AT_ONCE = 20


@pytest.mark.anyio
@pytest.mark.parametrize("front", [b"", GOOD], ids=["first", "behind a good one"])
async def test_every_hostile_request_is_answered_with_4xx_and_a_close(front: bytes) -> None:
    ran: list[Head] = []
    wrong: dict[str, bytes] = {}
    limit = anyio.CapacityLimiter(AT_ONCE)

    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Ran(ran, head)

    async def hold(name: str, raw: bytes) -> None:
        async with limit:
            answer = await exchange(listener.address, front + raw)
        replies = re.split(rb"(?:\A|(?<=\n))HTTP/1\.1 ", answer)[1:]
        good, last = replies[:-1], replies[-1] if replies else b""
        accepted = [reply for reply in good if reply.startswith(b"200 OK\r\n")]
        if len(accepted) != len(good) or len(good) != bool(front):
            wrong[name] = answer
        if not last.startswith(b"4") or b"\r\nConnection: close\r\n" not in last:
            wrong[name] = answer

    async with await listen("127.0.0.1:0", accept) as listener:
        async with anyio.create_task_group() as tasks:
            for name, raw in HOSTILE.items():
                tasks.start_soon(hold, name, raw)
        assert not wrong
        assert [head[":path"] for head in ran] == ["/good"] * len(HOSTILE if front else [])
        assert (await exchange(listener.address, H + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")


def outcome(parts: list[bytes]) -> int:
    parser = Parser(Limits(), Tables())
    try:
        for part in parts:
            parser.feed(part)
            assert parser.poll() is None
    except Malformed as error:
        return error.status
    return 0


@pytest.mark.parametrize("name", HOSTILE)
def test_no_cut_makes_a_hostile_request_a_good_one(name: str) -> None:
    raw = HOSTILE[name][:12_000]
    if len(HOSTILE[name]) > len(raw):
        return
    assert 400 <= outcome([raw]) < 500
    assert 400 <= outcome([raw[at : at + 1] for at in range(len(raw))]) < 500
    for at in range(1, min(len(raw), 200)):
        assert 400 <= outcome([raw[:at], raw[at:]]) < 500


PREFACES = {
    "wrong word": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    "headers": b"PRI * HTTP/2.0\r\nHost: a\r\n\r\nSM\r\n\r\n",
    "no settings": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30),
    "words without a path or a version": b"INVALID CONNECTION PREFACE\r\n\r\n",
}


@pytest.mark.anyio
@pytest.mark.parametrize("raw", PREFACES.values(), ids=PREFACES)
async def test_a_wrong_preface_of_http2_is_told_in_its_words(raw: bytes) -> None:
    ran: list[Head] = []

    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Ran(ran, head)

    async with await listen("127.0.0.1:0", accept) as listener:
        answer = await exchange(listener.address, raw)
    goaway = answer.index(b"\x07\0\0\0\0\0")
    assert answer[goaway + 6 : goaway + 14] == b"\0\0\0\0\0\0\0\x01"
    assert not ran


@pytest.mark.anyio
@pytest.mark.parametrize("raw", [b"POST / HT", H + b"X: y", H + b"Content-Length: 5\r\n\r\nabc", C + b"5\r\nab"])
async def test_a_request_that_does_not_arrive_is_cut_with_408(raw: bytes) -> None:
    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Ran([], head)

    async with await listen("127.0.0.1:0", accept, Limits(head_seconds=0.2, body_seconds=0.2)) as listener:
        assert (await exchange(listener.address, raw)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.anyio
async def test_a_large_request_gets_its_413_though_it_is_still_being_sent() -> None:
    def accept(head: Head, peer: Peer) -> UnaryCall:
        return Ran([], head)

    async with await listen("127.0.0.1:0", accept, Limits(body=1000)) as listener:
        raw = H + b"Content-Length: 2000000\r\n\r\n" + b"x" * 500_000
        assert (await exchange(listener.address, raw)).startswith(b"HTTP/1.1 413 ")
