"""What the server makes of heads: Go Micro's of several releases, our own, curl's, and hostile ones."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from micro_core import Call, Head, StreamCall, errors
from rpc_rig import PEER, Rig, Wire, unary

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
HELLO = {"micro-service": "greeter", "micro-endpoint": "Say.Hello", "micro-method": "Say.Hello", **JSON}
CHAT = {"micro-service": "greeter", "micro-endpoint": "Say.Chat", "micro-method": "Say.Chat", "micro-id": "7", **JSON}
CURL = {":method": "POST", ":path": "/greeter/Say.Hello", "user-agent": "curl/8", "accept": "*/*", **JSON}


@pytest.mark.parametrize(
    "head",
    [
        HELLO,
        {"micro-method": "Say.Hello", **JSON},
        {"micro-endpoint": "Say.Hello", "micro-method": "Other.Thing", **JSON},
        {"x-micro-endpoint": "Say.Hello", **JSON},
        {"x-micro-method": "Say.Hello", **JSON},
        {"micro-endpoint": "", "micro-method": "Say.Hello", **JSON},
        {**HELLO, "content-type": "Application/JSON; charset=utf-8"},
        {**HELLO, "micro-stream": "3", "micro-id": "4"},
        {**HELLO, "micro-stream": "3", "micro-id": "3", "remote": "127.0.0.1:5"},
        {**HELLO, "timeout": "5s"},
        {**HELLO, "timeout": "9" * 5000},
    ],
)
async def test_heads_that_reach_the_handler(make_wire: Any, head: Head) -> None:
    wire = await make_wire()
    reply = await wire.answer(head, b'{"a":1}')
    assert reply.head == {"content-type": "application/json"}
    assert json.loads(reply.body) == {"got": {"a": 1}}
    assert wire.calls[0].endpoint == "Say.Hello"
    assert wire.calls[0].metadata == {}
    assert wire.calls[0].deadline is None


@pytest.mark.parametrize(
    ("head", "body", "code", "said"),
    [
        ({**HELLO, "micro-endpoint": "Say.Helo"}, b"{}", 404, "did you mean 'Say.Hello'"),
        ({"micro-service": "greeter", **JSON}, b"{}", 404, "no endpoint named"),
        ({**HELLO, "content-type": "text/css"}, b"{}", 415, "application/json"),
        ({"micro-endpoint": "Say.Number", "content-type": "application/octet-stream"}, b"", 415, "Say.Number"),
        (HELLO, b"{", 400, "cannot be read as application/json"),
        ({**HELLO, "micro-endpoint": "Say.Number"}, b"", 400, "the empty request"),
        (HELLO, b'{"fail": true}', 409, "no"),
        ({**HELLO, "timeout": "0"}, b"{}", 408, "deadline"),
        ({**HELLO, "timeout": "-5"}, b"{}", 408, "deadline"),
        ({**HELLO, "micro-stream": "3", "micro-id": "3"}, b"{}", 400, "called as a stream"),
        (CHAT, b"{}", 400, "called as a unary call"),
    ],
)
async def test_heads_and_bodies_that_are_refused(make_wire: Any, head: Head, body: bytes, code: int, said: str) -> None:
    wire = await make_wire()
    error = await wire.error(head, body)
    assert error["code"] == code
    assert said in error["detail"]
    assert error["id"] == "greeter"
    assert (await wire.answer(HELLO)).body == b'{"got":{}}'


@pytest.mark.parametrize("head", [{**CHAT, "micro-stream": "7"}, {**CHAT, "x-micro-method": "Say.Chat"}])
async def test_heads_that_open_a_stream(make_wire: Any, head: Head) -> None:
    wire = await make_wire()
    assert isinstance(wire.accept(dict(head), PEER), StreamCall)


@pytest.mark.parametrize("timeout", ["1000000000", " 1000000000 "])
async def test_the_timeout_is_nanoseconds(make_wire: Any, timeout: str) -> None:
    wire = await make_wire()
    await wire.answer({**HELLO, "timeout": timeout})
    assert 0.9 < wire.calls[0].deadline - anyio.current_time() <= 1


async def test_metadata_is_the_users_alone(make_wire: Any) -> None:
    wire = await make_wire()
    kept = {"authorization": "x", "micro-trace-id": "1", "micro-span-id": "2", "micro-namespace": "n", "user": "ü"}
    stray = {"local": "a", "remote": "b", "x-micro-id": "1", "x-micro-other": "1", "micro-new": "1", "via": "v"}
    hop = {"te": "x", "content-length": "2", "accept-encoding": "gzip", "user-agent": "Go", ":path": "/", "host": "h"}
    await wire.answer({**HELLO, **kept, **stray, **hop, "micro-from-service": "shop"})
    assert wire.calls[0].metadata == {**kept, "via": "v"}
    assert wire.calls[0].caller == "shop"


async def test_curl(make_wire: Any) -> None:
    wire = await make_wire()
    reply = await wire.answer(CURL, b'{"a":1}')
    assert (reply.head[":status"], json.loads(reply.body)) == ("200", {"got": {"a": 1}})
    assert (await wire.answer({**CURL, "timeout": "1000000000"})).head[":status"] == "200"
    failed = await wire.answer(CURL, b'{"fail": true}')
    assert (failed.head[":status"], json.loads(failed.body)["detail"]) == ("409", "no")


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({":path": "/greeter/Say.Helo"}, 404, "did you mean"),
        ({":path": "/other/Say.Hello"}, 404, "this is service 'greeter'"),
        ({":path": "/greeter"}, 404, "/<service>/<endpoint>"),
        ({":path": "/", ":method": "GET"}, 404, "/<service>/<endpoint>"),
        ({":method": "GET"}, 405, "POST"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "curl --json"),
        ({"content-type": "multipart/form-data; boundary=x"}, 415, "curl --json"),
        ({"content-type": "text/plain"}, 415, "curl --json"),
        ({"content-type": "image/png"}, 415, "image/png"),
        ({"origin": "https://example.com"}, 403, "Origin"),
        ({":path": "/greeter/Say.Chat"}, 400, "is a stream"),
    ],
)
async def test_plain_requests_that_are_refused(make_wire: Any, change: Head, status: int, said: str) -> None:
    wire = await make_wire()
    reply = await wire.answer({**CURL, **change})
    assert reply.head[":status"] == str(status)
    assert said in json.loads(reply.body)["detail"]
    assert not wire.calls


async def test_draining_refuses_in_a_way_that_lets_the_caller_go_elsewhere(make_wire: Any) -> None:
    wire = await make_wire()
    await wire.listener.drain(anyio.current_time() + 1)
    reply = await wire.answer(HELLO)
    assert reply.head["micro-unprocessed"] == "1"
    assert json.loads(reply.head["micro-error"])["code"] == 503
    assert (await wire.answer(CURL)).head[":status"] == "503"


async def test_cancelled_before_it_runs(make_wire: Any) -> None:
    wire = await make_wire()
    from micro_core import Reset

    work = wire.accept(dict(HELLO), PEER)
    work.cancel(Reset.GONE)
    work.cancel(Reset.DEADLINE)
    assert await work.run(b"{}") is None
    assert not wire.calls


async def test_an_error_fits_a_header(make_wire: Any, rig: Rig) -> None:
    def handle(call: Call) -> None:
        raise errors.NotFound("é\r\n" * 10_000)

    listener = await rig.serve(unary(handle))
    wire = Wire(rig, listener, [])
    text = (await wire.answer(HELLO)).head["micro-error"]
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 16_000
