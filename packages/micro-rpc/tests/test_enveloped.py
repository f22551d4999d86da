"""json-rpc and proto-rpc: Go Micro's bytes at our server and at our client, and what only we may have to say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from captured import CASES, Step, messages, steps_of
from greeter import JSON, PROTOBUF, SERVICE, STREAMS, Types, handlers
from micro_core import Call, EndOfStream, Message, Node, NodeSet, NoOptions, RPCError, Stream
from micro_core.loader import ContentTypes
from micro_http.limits import Limits
from micro_http.parse import Parser
from micro_http.tables import Tables
from micro_rpc import RPCClient, RPCServer
from micro_rpc.envelopes import JSON_RPC, PROTO_RPC, Envelope
from micro_transport_http import HTTPTransport
from rpc_rig import FixedDiscovery, InOrder
from test_envelopes import same_fields

pytestmark = pytest.mark.anyio
SIZES = pytest.mark.parametrize("size", [1, 100_000], ids=["bytes", "whole"])


def types_of(case: str) -> Types:
    return PROTOBUF if "proto" in case else JSON


def ending(message: Message) -> str:
    return message.head.get("micro-error") or message.head.get("x-micro-error") or ""


@asynccontextmanager
async def served(types: Types) -> AsyncIterator[str]:
    """The address of our server."""
    async with (
        HTTPTransport(HTTPTransport.Options()) as transport,
        RPCServer(transport, ContentTypes(), RPCServer.Options()) as server,
    ):
        listener = await server.serve("127.0.0.1:0", SERVICE, handlers(types))
        yield listener.address
        await listener.aclose()


@SIZES
@pytest.mark.parametrize("case", CASES)
async def test_our_server_answers_gos_clients_as_go_does(case: str, size: int) -> None:
    steps = steps_of(case)
    async with served(types_of(case)) as address:
        host, _, port = address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            got = await _replay(stream, steps, size)
    expected = [message for step in steps if step.side == "server" for message in step.messages]
    for ours, go in zip(got, expected, strict=False):
        if ending(go).startswith("rpc:"):
            assert json.loads(ending(ours))["code"] == 404, "what is said of an endpoint that is unknown is ours"
            assert _error_in(ours) == ending(ours)
        else:
            assert ending(ours) == ending(go)
            assert same_fields(ours.body, go.body)
        assert ours.head.get("content-type", go.head["content-type"]) == go.head["content-type"]
        assert ours.head[":status"] == "200"
    assert "content-type" in got[0].head
    assert [ending(message) for message in got[len(expected) :]] in ([], ["EOS"]), "where v1.1.0 ends without a word"


def _error_in(reply: Message) -> str | None:
    return (JSON_RPC if reply.body.startswith(b"{") else PROTO_RPC).read_reply(reply.body).error


async def _replay(stream: anyio.abc.SocketStream, steps: list[Step], size: int) -> list[Message]:
    """Plays the client; waits for as many replies as the Go server had given before each next step."""
    parser, got, wanted = Parser(Limits(), Tables(), replies=True), list[Message](), 0
    with anyio.fail_after(20):
        for step in steps:
            if step.side == "client" and step.raw:
                for at in range(0, len(step.raw), size):
                    await stream.send(step.raw[at : at + size])
            elif step.side == "server":
                wanted += len(step.messages)
                while len(got) < wanted:
                    _parse(parser, await stream.receive(), got)
            elif step.event == "fin":
                await stream.send_eof()
                with suppress(anyio.EndOfStream):
                    while True:
                        _parse(parser, await stream.receive(), got)
                break
    return got


def _parse(parser: Parser, data: bytes, got: list[Message]) -> None:
    parser.feed(data)
    while (message := parser.poll()) is not None:
        got.append(message)


class GoServer:
    """Plays the server of a case, whenever as many messages have come as Go's client had sent by then."""

    def __init__(self, case: str, size: int) -> None:
        self.seen: list[Message] = []
        self._steps = steps_of(case)
        self._size = size

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        parser, wanted = Parser(Limits(), Tables()), 0
        async with stream:
            for step in self._steps:
                if step.side == "client":
                    wanted += len(step.messages)
                    while len(self.seen) < wanted:
                        _parse(parser, await stream.receive(), self.seen)
                for at in range(0, len(step.raw) if step.side == "server" else 0, self._size):
                    await stream.send(step.raw[at : at + self._size])


@asynccontextmanager
async def calling(serve: Callable[[anyio.abc.SocketStream], Any], **metadata: str) -> AsyncIterator[RPCClient]:
    """Our client; discovery knows one node, which says of itself what is given."""
    discovery, selector = FixedDiscovery(), InOrder(NoOptions())
    discovery.known = lambda service, filter=None: discovery.nodes  # type: ignore[method-assign]
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        HTTPTransport(HTTPTransport.Options()) as transport,
        RPCClient(discovery, selector, transport, ContentTypes(), RPCClient.Options()) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        address = f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        discovery.nodes = NodeSet(SERVICE, (Node("go", address, metadata),), {})
        with anyio.fail_after(20):
            yield client
        assert selector.taken == selector.given
        group.cancel_scope.cancel()


@SIZES
@pytest.mark.parametrize("case", [case for case in CASES if "-raw-" not in case])
async def test_our_client_understands_gos_servers(case: str, size: int) -> None:
    sent, server = messages(case, "client"), GoServer(case, size)
    switched = "-address-" in case
    content_type = sent[0].head["accept" if switched else "content-type"]
    call = Call(SERVICE, sent[0].head["micro-endpoint"], None, *types_of(case))
    call.content_type, call.caller = content_type, sent[0].head.get("micro-from-service", "")
    async with calling(server.serve, **({} if switched else {"protocol": "mucp"})) as client:
        codec = ContentTypes()(sent_payload_type(sent[0]))
        if call.endpoint in STREAMS:
            call.streaming = True
            await _stream(client, call, case, codec)
        else:
            await _call(client, call, case, codec)
    for ours, go in zip(server.seen, sent, strict=False):
        micro = {name: value for name, value in go.head.items() if name.startswith("micro-")}
        assert ours.head.items() >= micro.items()
        assert ours.head["content-type"] == go.head["content-type"]
        if "micro-id" in go.head and go.body:
            assert same_request(ours.body, go.body)
            if not case.startswith("v4"):
                assert ours.body == go.body


def sent_payload_type(message: Message) -> str:
    return "application/json" if "json" in message.head["content-type"] else "application/protobuf"


def envelope_of(body: bytes) -> Envelope:
    return JSON_RPC if body.startswith(b"{") else PROTO_RPC


def same_request(ours: bytes, go: bytes) -> bool:
    envelope = envelope_of(ours)
    if b"EOS" in go:
        return envelope.read_reply(ours) == envelope.read_reply(go)
    return envelope.read_request(ours) == envelope.read_request(go)


async def _call(client: RPCClient, call: Call, case: str, codec: Any) -> None:
    (request,), (expected,) = messages(case, "client"), messages(case, "server")
    decode = codec.decoder(call.request_type)
    call.request = decode(envelope_of(request.body).read_request(request.body).payload)
    if text := ending(expected):
        with pytest.raises(RPCError) as caught:
            await client.call(call)
        assert caught.value.detail in text
        assert call.attempts[0].error is caught.value
    else:
        reply = await client.call(call)
        payload = envelope_of(expected.body).read_reply(expected.body).payload
        assert reply.value == codec.decoder(call.reply_type)(payload)


async def _stream(client: RPCClient, call: Call, case: str, codec: Any) -> None:
    stream = (await client.stream(call)).stream
    assert stream is not None
    opened = over = False
    for step in steps_of(case):
        for message in step.messages:
            text = ending(message)
            if step.side == "server":
                over = await _received(stream, message, codec.decoder(call.reply_type))
            elif text:
                await stream.end()
            elif opened:
                payload = envelope_of(message.body).read_request(message.body).payload
                await stream.send(codec.decoder(call.request_type)(payload))
            opened = True
        if step.event == "fin":
            if step.side == "server" and not over:
                with pytest.raises(EndOfStream):
                    await stream.recv()
            break
    stream.reset()


async def _received(stream: Stream, message: Message, decode: Any) -> bool:
    text = ending(message)
    if not text:
        assert await stream.recv() == decode(envelope_of(message.body).read_reply(message.body).payload)
        return False
    with pytest.raises(EndOfStream if text == "EOS" else RPCError) as caught:
        await stream.recv()
    assert text == "EOS" or json.loads(text)["detail"] == getattr(caught.value, "detail", None)
    return True
