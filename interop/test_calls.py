"""Calls with one reply, at an address."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
from greeter_pb2 import Request
from matrix import FROM_GO, FROM_PYTHON, JSON, PROTOBUF, V2, V4, Cell, cells
from micro_core.errors import phrase
from pairs import Answer, Ask, Failure, Pair
from say import PlainRequest

pytestmark = pytest.mark.anyio

CODES = [status.value for status in HTTPStatus if status >= 400]
ENVELOPES = {JSON: "application/json-rpc", PROTOBUF: "application/proto-rpc"}
EVERY_BYTE = bytes(range(256))
MEBIBYTE = 1024 * 1024


@cells("unary, JSON", "unary, protobuf", "unary, json-rpc", "unary, proto-rpc")
async def test_a_request_brings_its_reply(pair: Pair, cell: Cell) -> None:
    answer = await pair.call(Ask("Say.Hello", Request(name='Grüße <&> "日本"', count_to=2**62), cell.codec))
    assert answer == Answer({"msg": 'Hello Grüße <&> "日本"', "seq_no": 2**62})


@cells("unary, JSON of plain types")
async def test_types_that_are_not_of_protobuf(pair: Pair, cell: Cell) -> None:
    endpoint = "Plain.Hello" if cell.direction == FROM_GO else "Say.Hello"
    answer = await pair.call(Ask(endpoint, PlainRequest("John", 3)))
    assert answer == Answer({"msg": "Hello John", "seq_no": 3})


@cells("a node that does not say its protocol")
@pytest.mark.parametrize("codec", ENVELOPES)
async def test_it_is_called_in_envelopes(pair: Pair, cell: Cell, codec: str) -> None:
    answer = await pair.call(Ask("Say.Hello", Request(name="John", count_to=3), codec, protocol=""))
    assert answer == Answer({"msg": "Hello John", "seq_no": 3})
    if cell.direction == FROM_PYTHON:
        seen = await pair.call(Ask("Say.Meta", codec=codec, protocol=""))
        assert json.loads(seen.value["msg"])["content-type"] == ENVELOPES[codec]


@cells("unary, octet-stream")
async def test_bytes_come_back_as_they_are(pair: Pair, cell: Cell) -> None:
    assert await pair.call(Ask("Say.Raw", EVERY_BYTE, cell.codec)) == Answer(EVERY_BYTE)


@cells("empty request and reply, JSON", "empty request and reply, protobuf")
async def test_nothing_for_nothing(pair: Pair, cell: Cell) -> None:
    assert await pair.call(Ask("Say.Nothing", None, cell.codec)) == Answer({})


@cells("empty request and reply, octet-stream")
async def test_no_bytes_for_no_bytes(pair: Pair, cell: Cell) -> None:
    assert await pair.call(Ask("Say.Raw", b"", cell.codec)) == Answer(b"")


@cells("bodies of 1 MiB, JSON", "bodies of 1 MiB, protobuf")
async def test_large_texts(pair: Pair, cell: Cell) -> None:
    text = "x" * MEBIBYTE
    answer = await pair.call(Ask("Say.Echo", Request(name=text, tags=["a", "b"]), cell.codec))
    assert answer == Answer({"msg": text, "seq_no": 2})


@cells("bodies of 1 MiB, octet-stream")
async def test_large_bodies(pair: Pair, cell: Cell) -> None:
    body = EVERY_BYTE * (MEBIBYTE // 256)
    assert await pair.call(Ask("Say.Raw", body, cell.codec)) == Answer(body)


@cells("errors: id, code, detail, status")
async def test_every_code_crosses_with_all_that_it_says(pair: Pair) -> None:
    for code in CODES:
        answer = await pair.call(Ask("Say.Fail", Request(name=f"because of größe {code}", error_code=code)))
        assert answer.error == Failure("interop.say", code, f"because of größe {code}", phrase(code))


@cells("errors in octet-stream")
async def test_a_request_that_is_refused_in_bytes(pair: Pair, cell: Cell) -> None:
    answer = await pair.call(Ask("Say.Nope", b"bytes", cell.codec, timeout=1))
    assert answer.error is not None
    assert "Nope" in answer.error.detail


@cells("an error that is only a text")
async def test_an_error_without_a_code(pair: Pair, cell: Cell) -> None:
    answer = await pair.call(Ask("Say.Fail", Request(name="only words")))
    if cell.direction == FROM_GO:  # what went wrong in a handler is for its own log
        assert answer.error == Failure("greeter", 500, "Say.Fail failed: ValueError", "Internal Server Error")
    else:
        assert answer.error is not None
        assert (answer.error.code, answer.error.detail) == (500 if cell.release == V2 else 0, "only words")


@cells("unknown service, endpoint, content type")
@pytest.mark.parametrize("endpoint", ["Nope.Hello", "Say.Nope", "Hello", "Say.Hello.Again"])
async def test_an_endpoint_that_is_not_there(pair: Pair, cell: Cell, endpoint: str) -> None:
    error = (await pair.call(Ask(endpoint))).error
    assert error is not None
    assert (error.id, error.code) == refusal(cell, endpoint)
    if error.code == 404:
        assert error.status == ("UNIMPLEMENTED" if cell.release == V2 else "Not Found")
        assert repr(endpoint) in error.detail


def refusal(cell: Cell, endpoint: str) -> tuple[str, int]:
    """Id and code. What has no path in gRPC is not sent: the clients say so."""
    if cell.direction == FROM_GO:
        nowhere = cell.release == V2 and endpoint in ("Hello", "Say.Hello.Again")
        return ("go.micro.client", 500) if nowhere else ("greeter", 404)
    if cell.release == V2:
        return ("go.micro.client", 400) if endpoint == "Hello" else ("", 501)
    return "", 0


@cells("unknown service, endpoint, content type")
async def test_a_content_type_that_the_server_has_not(pair: Pair, cell: Cell) -> None:
    codec = "application/x-go" if cell.direction == FROM_GO else "application/x-python"
    answer = await pair.call(Ask("Say.Hello", codec=codec))
    assert answer.error is not None
    if (cell.release, cell.direction) == (V2, FROM_PYTHON):
        assert answer.error.code == 500
    else:
        assert answer.error.code == 415
        assert codec in answer.error.detail


@cells("metadata")
async def test_metadata_reaches_the_handler_and_comes_back(pair: Pair, cell: Cell) -> None:
    sent = {"foo-bar": "baz", "trace": "a=b, c", "empty": ""}
    if (cell.release, cell.direction) != (V2, FROM_PYTHON):
        sent["unicode"] = "grüß"
    answer = await pair.call(Ask("Say.Meta", metadata=sent))
    assert answer.error is None
    seen = json.loads(answer.value["msg"])
    assert {name: seen.get(name) for name in sent} == sent


@cells("a deadline that expires")
async def test_the_caller_gives_up_and_the_handler_learns_it(pair: Pair, cell: Cell) -> None:
    answer = await pair.call(Ask("Say.Sleep", Request(sleep_ms=10_000), timeout=0.5))
    assert answer.error is not None
    assert answer.error.code == 408
    # Over gRPC both ends go by the same moment, and the server may be the first to see that it has passed.
    either = ("go.micro.client", "greeter") if (cell.release, cell.direction) == (V2, FROM_GO) else ("go.micro.client",)
    assert answer.error.id in either
    await pair.told("expired")


@cells("a deadline that expires")
async def test_the_handler_knows_how_long_its_caller_waits(pair: Pair, cell: Cell) -> None:
    answer = await pair.call(Ask("Say.Sleep", timeout=3))
    told = 5000 if (cell.release, cell.direction) == (V4, FROM_GO) else 3000  # v4.10 tells its time for one attempt
    assert answer.value["msg"] == "slept"
    assert told - 2000 < answer.value["seq_no"] <= told


@cells("Debug.Health, Debug.Stats")
async def test_what_a_server_says_of_itself(pair: Pair, cell: Cell) -> None:
    health = await pair.call(Ask("Debug.Health", {}))
    assert health == Answer({"status": "ok"})
    stats = await pair.call(Ask("Debug.Stats", {}))
    assert int(stats.value["memory"]) > 0
    assert int(stats.value["threads"]) > 0
    if cell.direction == FROM_GO:
        assert set(stats.value) == {"started", "uptime", "memory", "threads", "gc"}
