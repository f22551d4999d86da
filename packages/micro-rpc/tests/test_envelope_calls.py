"""Envelopes at server and client, beyond what Go Micro's captured programs say."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_core import (
    Call,
    DecodeError,
    EndOfStream,
    Exchange,
    Head,
    Message,
    Node,
    Outcome,
    Peer,
    Reply,
    Reset,
    StreamCall,
    UnaryCall,
    errors,
)
from micro_rpc.dialects import content_type_at, dialect_for, dialect_of
from micro_rpc.enveloped import BYTES, UNNAMED
from micro_rpc.envelopes import JSON_RPC, PROTO_RPC
from micro_transport_memory import MemoryTransport
from rpc_rig import PEER, Rig, hello, rig_of, streaming, unary, wire_of

pytestmark = pytest.mark.anyio
ROOT = {":method": "POST", ":path": "/", "content-type": "application/json"}
HEAD = {
    "micro-service": "greeter",
    "micro-endpoint": "Say.Hello",
    "micro-id": "3",
    "content-type": "application/json-rpc",
}
ASK = b'{"method":"Say.Hello","params":[{"a":1}],"id":7}'


# requests whose head names no endpoint


@pytest.mark.parametrize(
    "head",
    [
        ROOT,
        {**ROOT, "content-type": "Application/JSON; charset=utf-8"},
        {**ROOT, ":path": "/?x=1"},
        {**ROOT, "micro-id": "5", "micro-trace-id": "1"},
        {**ROOT, "content-type": "application/json-rpc"},
        {**ROOT, "content-type": "application/json-rpc", ":path": "/greeter/Say.Hello"},
        {"content-type": "application/json-rpc"},
    ],
)
async def test_they_are_routed_by_the_envelope(make_wire: Any, head: Head) -> None:
    wire = await make_wire()
    reply = await wire.answer(head, ASK)
    assert reply.body == b'{"id":"7","result":{"got":{"a":1}},"error":null}\n'
    assert reply.head["content-type"] == head["content-type"]
    assert "micro-error" not in reply.head
    assert wire.calls[0].endpoint == "Say.Hello"


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/proto-rpc+octet-stream"])
async def test_bytes_are_in_the_envelope_of_proto_rpc(rig: Rig, content_type: str) -> None:
    await rig.serve(unary(lambda call: call.request.upper(), bytes, bytes))
    accept = rig.listeners[0]._inner._accept  # type: ignore[attr-defined]
    work = accept({**ROOT, "content-type": content_type}, PEER)
    reply = await work.run(PROTO_RPC.write_request("Say.Hello", "7", b"ada"))
    assert PROTO_RPC.read_reply(reply.body) == ("7", None, b"ADA")
    assert reply.head["content-type"] == content_type


@pytest.mark.parametrize(
    ("change", "dialect"),
    [
        ({}, "Enveloped"),
        ({":path": "/greeter/Say.Hello"}, "Plain"),
        ({":path": "/greeter"}, "Plain"),
        ({":method": "GET"}, "Plain"),
        ({":method": "OPTIONS"}, "Plain"),
        ({"content-type": "text/plain"}, "Plain"),
        ({"content-type": ""}, "Plain"),
        ({"content-type": "application/msgpack"}, "Plain"),
        ({"micro-service": "greeter"}, "Dialect"),
        ({"x-micro-service": "greeter"}, "Dialect"),
        ({"micro-protocol": "mucp"}, "Dialect"),
        ({"micro-endpoint": "Say.Hello"}, "Dialect"),
        ({"micro-method": "Say.Hello"}, "Dialect"),
        ({"micro-id": "1", ":path": "/x"}, "Dialect"),
        ({"micro-endpoint": "Say.Hello", "content-type": "application/octet-stream"}, "Dialect"),
        ({"micro-endpoint": "Say.Hello", "content-type": "application/proto-rpc"}, "Enveloped"),
    ],
)
async def test_which_requests_are_in_an_envelope(change: Head, dialect: str) -> None:
    assert type(dialect_of({**ROOT, **change})).__name__ == dialect


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b'{"name":"John"}', 404, "/greeter/"),
        (b"{", 400, "json-rpc"),
        (b"", 400, "json-rpc"),
        (b'{"method":"Say.Helo","params":[{}]}', 404, "did you mean 'Say.Hello'"),
        (b'{"method":"Say.Chat","params":[{}]}', 400, "is a stream"),
        (b'{"method":"Say.Number","params":["x"]}', 400, "Say.Number"),
        (b'{"method":"Say.Hello","params":[{}, {}]}', 400, "2 values"),
        (b'{"method":"Say.Hello","params":[{"fail":true}]}', 409, "no"),
    ],
)
async def test_what_is_refused_is_so_in_an_envelope(make_wire: Any, body: bytes, code: int, said: str) -> None:
    wire = await make_wire()
    reply = await wire.answer(ROOT, body)
    envelope = json.loads(reply.body)
    assert (envelope["id"], envelope["result"]) == ("", None)
    assert envelope["error"] == reply.head["micro-error"]
    error = json.loads(envelope["error"])
    assert error["code"] == code
    assert said in error["detail"]


async def test_a_web_page_is_refused_and_so_is_a_stream_in_disguise(make_wire: Any) -> None:
    wire = await make_wire()
    assert (await wire.error({**ROOT, "origin": "https://example.com"}, ASK))["code"] == 403
    chat = b'{"method":"Say.Chat","params":[{}]}'
    assert (await wire.error({**ROOT, "micro-stream": "3", "micro-id": "3"}, chat))["code"] == 400
    assert not wire.calls


async def test_they_have_deadlines_and_can_be_cancelled(make_wire: Any, rig: Rig) -> None:
    wire = await make_wire()
    assert (await wire.error({**ROOT, "timeout": "0"}, ASK))["code"] == 408
    early = wire.accept(dict(ROOT), PEER)
    early.cancel(Reset.GONE)
    early.cancel(Reset.DEADLINE)
    assert await early.run(ASK) is None
    assert not wire.calls
    started, ended = anyio.Event(), anyio.Event()

    async def hang(call: Call) -> Any:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    listener = await rig.serve(unary(hang))
    work = listener._inner._accept(dict(ROOT), PEER)  # type: ignore[attr-defined]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(work.run, ASK)
            await started.wait()
            work.cancel(Reset.GONE)
            await ended.wait()


async def test_draining_is_told_in_an_envelope(make_wire: Any) -> None:
    wire = await make_wire()
    await wire.listener.drain(anyio.current_time() + 1)
    for head in (ROOT, HEAD):
        reply = await wire.answer(head, ASK)
        assert reply.head["micro-unprocessed"] == "1"
        assert json.loads(json.loads(reply.body)["error"])["code"] == 503


def test_whatever_the_head_and_body_there_is_an_answer() -> None:
    async def main() -> None:
        async with rig_of(lambda: MemoryTransport(MemoryTransport.Options(address="envelopes"))) as rig:
            wire = await wire_of(rig)
            answers: list[Message | StreamCall] = []

            @settings(max_examples=150, deadline=None)
            @given(
                st.dictionaries(st.sampled_from(["micro-endpoint", "micro-stream", "micro-id", "origin"]), st.text()),
                st.sampled_from(["json", "json-rpc", "protobuf", "proto-rpc", "octet-stream"]),
                st.binary() | st.just(ASK) | st.integers(0, len(ASK)).map(lambda end: ASK[:end]),
            )
            def check(head: Head, content_type: str, body: bytes) -> None:
                work = wire.accept({**ROOT, **head, "content-type": f"application/{content_type}"}, Peer("x"))
                if isinstance(work, UnaryCall):
                    coroutine = work.run(body)
                    with pytest.raises(StopIteration) as done:  # none of these handlers waits
                        coroutine.send(None)
                    work = done.value.value
                assert isinstance(work, Message | StreamCall)
                answers.append(work)

            check()
            assert answers

    anyio.run(main)


# the client


@pytest.mark.parametrize(
    ("asked", "unnamed"),
    [
        ("application/json", "application/json-rpc"),
        ("application/protobuf", "application/proto-rpc"),
        ("application/octet-stream", "application/proto-rpc+octet-stream"),
        ("application/msgpack", "application/msgpack"),
        ("application/json-rpc", "application/json-rpc"),
        ("application/proto-rpc", "application/proto-rpc"),
    ],
)
def test_what_is_sent_to_a_node_that_names_no_protocol(asked: str, unnamed: str) -> None:
    assert content_type_at(UNNAMED, asked) == unnamed
    assert content_type_at(dialect_for("application/json"), asked) == asked


class Seen:
    """A service's accept function that keeps the heads and bodies that came."""

    def __init__(self, rig: Rig) -> None:
        self.heads: list[Head] = []
        self.bodies: list[bytes] = []
        listener: Any = rig.listeners[0]
        inner = listener._inner
        self._accept = inner._accept
        inner._accept = self

    def __call__(self, head: Head, peer: Peer) -> Any:
        self.heads.append(dict(head))
        work = self._accept(head, peer)
        return work if isinstance(work, Message) or work.streams else _Noting(work, self.bodies)


class _Noting(UnaryCall):
    def __init__(self, work: UnaryCall, bodies: list[bytes]) -> None:
        self.work, self.bodies = work, bodies

    async def run(self, body: bytes) -> Message | None:
        self.bodies.append(bytes(body))
        return await self.work.run(body)

    def cancel(self, reason: Reset) -> None:
        self.work.cancel(reason)


def unname(rig: Rig, **metadata: str) -> None:
    rig.discovery.set([Node(node.id, node.address, metadata) for node in rig.discovery.nodes.nodes])


async def test_a_node_without_protocol_is_called_in_an_envelope_with_heads_still(rig: Rig) -> None:
    await rig.serve(unary(lambda call: {"got": call.request}))
    seen, client = Seen(rig), await rig.client()
    unname(rig)
    assert (await client.call(hello({"a": 1}))).value == {"got": {"a": 1}}
    assert seen.bodies == [b'{"method":"Say.Hello","params":[{"a":1}],"id":"0"}\n']
    head = seen.heads[0]
    assert (head["content-type"], head["accept"]) == ("application/json-rpc", "application/json-rpc")
    assert (head["micro-service"], head["micro-endpoint"], head["micro-method"]) == (
        "greeter",
        "Say.Hello",
        "Say.Hello",
    )
    assert head["micro-id"] == "0"
    unname(rig, protocol="mucp")
    assert (await client.call(hello({"a": 2}))).value == {"got": {"a": 2}}
    assert seen.bodies[1] == b'{"a":2}'


async def test_an_explicit_address_is_mucp(rig: Rig) -> None:
    listener = await rig.serve(unary(lambda call: call.request))
    seen, client = Seen(rig), await rig.client()
    unname(rig)
    assert (await client.call(hello(5, address=listener.address))).value == 5
    assert seen.bodies == [b"5"]


async def test_bytes_go_in_proto_rpc_under_their_own_content_type(rig: Rig) -> None:
    await rig.serve(unary(lambda call: call.request, bytes, bytes))
    seen, client = Seen(rig), await rig.client()
    accept, unwrapped = seen._accept, []

    def older(head: Head, peer: Peer) -> Any:
        """As releases answer that know envelopes alone."""
        unwrapped.append(head)
        return accept({**head, "content-type": BYTES._name}, peer)

    seen._accept = older
    unname(rig)
    call = hello(b"ada", content_type="application/octet-stream", request_type=bytes, reply_type=bytes)
    assert (await client.call(call)).value == b"ada"
    assert seen.heads[0]["content-type"] == "application/octet-stream"
    assert seen.bodies == [PROTO_RPC.write_request("Say.Hello", "0", b"ada")]


async def test_a_call_moves_between_nodes_of_either_kind(rig: Rig) -> None:
    await rig.serve(unary(lambda call: "one"))
    await rig.serve(unary(lambda call: "two"))
    one, two = rig.discovery.nodes.nodes
    await rig.listeners[0].drain(anyio.current_time() + 1)
    client = await rig.client()
    for first, second in (({}, {"protocol": "mucp"}), ({"protocol": "mucp"}, {})):
        rig.discovery.set([Node(one.id, one.address, first), Node(two.id, two.address, second)])
        call = hello()
        assert (await client.call(call)).value == "two"
        assert [attempt.outcome for attempt in call.attempts] == [Outcome.NOT_PROCESSED, Outcome.OK]


@pytest.mark.parametrize("content_type", ["application/json-rpc", "application/json"])
async def test_streams(rig: Rig, content_type: str) -> None:
    async def chat(call: Call) -> Reply:
        assert call.stream is not None
        while True:
            value = await call.stream.recv()
            if value == "fail":
                raise errors.Conflict("no")
            await call.stream.send([value])

    await rig.serve(streaming(chat))
    client = await rig.client(content_type=content_type)
    unname(rig)

    async def opened() -> Any:
        return (await client.stream(hello(endpoint="Say.Chat", streaming=True))).stream

    with anyio.fail_after(5):
        stream = await opened()
        for value in ({"a": 1}, None, "x" * 100_000):
            await stream.send(value)
            assert await stream.recv() == [value]
        await stream.end()
        with pytest.raises(EndOfStream):
            await stream.recv()
        stream = await opened()
        await stream.send("fail")
        with pytest.raises(errors.Conflict, match="no"):
            await stream.recv()


async def test_a_message_of_a_stream_that_is_no_envelope_is_a_400(rig: Rig) -> None:
    async def chat(call: Call) -> Reply:
        assert call.stream is not None
        await call.stream.recv()
        return Reply()

    listener = await rig.serve(streaming(chat))
    head = {**HEAD, "micro-endpoint": "Say.Chat", "micro-stream": "3"}
    exchange = await rig.transport.open(listener.address, head, deadline=anyio.current_time() + 5)
    with anyio.fail_after(5):
        await exchange.send(b"{}{}")
        with pytest.raises(EndOfStream):
            await exchange.recv()
    assert json.loads(exchange.trailer["micro-error"])["code"] == 400


class Said(UnaryCall):
    """Answers what it was given."""

    def __init__(self, head: Head, body: bytes) -> None:
        self.message = Message(head, body)

    async def run(self, body: bytes) -> Message:
        return self.message

    def cancel(self, reason: Reset) -> None:
        pass


class SaidInStream(StreamCall):
    """Sends what it was given, then an end."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = bodies

    async def run(self, exchange: Exchange) -> None:
        for body in self.bodies:
            await exchange.send(body)
        await exchange.end()

    def cancel(self, reason: Reset) -> None:
        pass


async def calls(rig: Rig, work: Any, *, stream: bool = False) -> Any:
    """A client in json-rpc whose only node does that work."""
    listener = await rig.transport.listen("greeter:0", lambda head, peer: work)
    rig.stack.push_async_callback(listener.aclose)
    rig.discovery.set([Node("other", listener.address)])
    client = await rig.client()
    return (await client.stream(hello(streaming=True))).stream if stream else await client.call(hello())


async def test_an_error_may_stand_in_the_envelope_alone(rig: Rig) -> None:
    text = '{"id":"x","code":409,"detail":"taken","status":"Conflict"}'
    with pytest.raises(errors.Conflict, match="taken") as caught:
        await calls(rig, Said({}, JSON_RPC.write_error("", "", text)))
    assert caught.value.outcome is Outcome.ANSWERED


async def test_a_server_that_knows_no_json_rpc_says_so(rig: Rig) -> None:
    said = Said({"content-type": "text/plain"}, b"Unsupported Content-Type: application/json-rpc")
    with pytest.raises(errors.UnsupportedMediaType, match="json-rpc"):
        await calls(rig, said)


@pytest.mark.parametrize("body", [b"", b"{}", b"1", b"\x00\xff", b"[" * 10_000, b'{"result":1}x', b'{"result":{"a":}}'])
async def test_a_reply_that_is_no_envelope_is_a_decode_error(rig: Rig, body: bytes) -> None:
    with pytest.raises(DecodeError, match=r"greeter Say\.Hello"):
        await calls(rig, Said({}, body))


async def test_a_message_that_is_no_envelope_is_a_decode_error_and_the_stream_goes_on(rig: Rig) -> None:
    bodies = b"no", JSON_RPC.write_error("", "", "odd"), JSON_RPC.write_reply("", "", b"5")
    stream = await calls(rig, SaidInStream(*bodies), stream=True)
    with anyio.fail_after(5):
        for said in ("no json-rpc envelope", "odd"):
            with pytest.raises(DecodeError, match=said):
                await stream.recv()
        assert await stream.recv() == 5
        with pytest.raises(EndOfStream):
            await stream.recv()
