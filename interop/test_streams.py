"""Streams, at an address."""

from __future__ import annotations

import pytest
from greeter_pb2 import Reply, Request
from matrix import FROM_GO, FROM_PYTHON, V2, V4, Cell, cells
from pairs import Ask, Failure, Pair, Streamed

pytestmark = pytest.mark.anyio

TEAPOT = Failure("interop.say", 418, "größe", "I'm a teapot")


AS_TEXT = Failure("", 0, "rpc error: code = Unknown desc = größe", "")


def refused(cell: Cell) -> Failure:
    """What a client is told by its stream."""
    return AS_TEXT if (cell.release, cell.direction) == (V2, FROM_GO) else TEAPOT


def pace(cell: Cell) -> int:
    """Milliseconds that the server has to leave between messages (WIRE §5.4)."""
    return 20 if (cell.release, cell.direction) == (V4, FROM_PYTHON) else 0


def left(cell: Cell) -> set[str]:
    """What ends the `recv` of a handler whose client left behind a reply, one of them.

    v2.9.1's client cancels and ends its side in one breath; grpc-go sends what its goroutines hand over first.
    """
    if cell.release != V2:
        return {"EOF"}
    return {"cancelled", "EOF"} if cell.direction == FROM_GO else {"cancelled"}


def ended(told: str) -> str:
    """What a handler told, in one word: one in Go tells the text of its error."""
    return "cancelled" if "cancel" in told else told


def numbered(count: int) -> list[Reply]:
    return [Reply(msg="größe", seq_no=number) for number in range(1, count + 1)]


@cells("server streaming")
async def test_one_request_many_replies(pair: Pair, cell: Cell) -> None:
    request = Request(name="größe", count_to=20, sleep_ms=pace(cell))
    assert await pair.stream(Ask("Say.Count", request)) == Streamed(numbered(20), None)


@cells("bidirectional streaming")
async def test_a_reply_for_every_request(pair: Pair, cell: Cell) -> None:
    ask = Ask("Say.Chat", Request(name="größe"))
    assert await pair.chat(ask, 20, end=cell.release == V2) == Streamed(numbered(20), None)
    assert ended(await pair.told("chat")) in (left(cell) if cell.direction == FROM_GO else {"EOF"})


@cells("server error in mid-stream")
async def test_what_was_sent_before_an_error_arrives_before_it(pair: Pair, cell: Cell) -> None:
    request = Request(name="größe", count_to=3, error_code=418, sleep_ms=pace(cell))
    assert await pair.stream(Ask("Say.Count", request)) == Streamed(numbered(3), refused(cell))
    request = Request(name="größe", error_code=418)
    assert await pair.chat(Ask("Say.Chat", request), 4) == Streamed(numbered(3), refused(cell))


@cells("client close in mid-stream")
async def test_a_handler_that_receives_learns_that_its_client_left(pair: Pair, cell: Cell) -> None:
    assert await pair.chat(Ask("Say.Chat", Request(name="größe")), 2) == Streamed(numbered(2), None)
    assert ended(await pair.told("chat")) in left(cell)


@cells("client close in mid-stream, server streaming")
async def test_a_handler_that_only_sends_learns_that_its_client_left(pair: Pair) -> None:
    request = Request(name="größe", count_to=100_000, sleep_ms=20)
    assert await pair.stream(Ask("Say.Count", request), leave=3) == Streamed(numbered(3), None)
    await pair.told("count", within=2)


@cells("1,000 messages each way")
async def test_a_thousand_each_way(pair: Pair, cell: Cell) -> None:
    assert await pair.chat(Ask("Say.Chat", Request(name="größe")), 1000) == Streamed(numbered(1000), None)
    if not pace(cell):
        request = Request(name="größe", count_to=1000)
        assert await pair.stream(Ask("Say.Count", request)) == Streamed(numbered(1000), None)
