"""What unmodified Go Micro programs wrote, replayed at our server and at our client, whole and byte by byte."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from micro_conformance import eventually
from micro_core import EndOfStream, Exchange, Head, Message, Peer, Reset, StreamCall, UnaryCall, capture_clock
from micro_http.limits import Limits
from micro_http.parse import Parser
from micro_http.tables import Tables
from micro_transport_http import HTTPTransport
from micro_transport_http.streams import ending

pytestmark = pytest.mark.anyio
FILES = sorted((Path(__file__).parent / "vectors").glob("*.json"))
STREAMS = {"Say.Count", "Say.Chat"}


@dataclass
class Step:
    side: str
    raw: bytes = b""
    event: str = ""
    messages: list[Message] = field(default_factory=list)


def load(path: Path) -> list[list[Step]]:
    return [_steps(connection["steps"]) for connection in json.loads(path.read_text())["connections"]]


def _steps(written: list[dict[str, str]]) -> list[Step]:
    parsers = {side: Parser(Limits(), Tables(), replies=side == "server") for side in ("client", "server")}
    steps = []
    for one in written:
        raw = bytes.fromhex(one["hex"]) if "hex" in one else one.get("text", "").encode()
        step = Step(one["from"], raw, one.get("event", ""))
        parsers[step.side].feed(raw)
        while (message := parsers[step.side].poll()) is not None:
            step.messages.append(message)
        steps.append(step)
    return steps


def of(steps: list[Step], side: str) -> list[Message]:
    return [message for step in steps if step.side == side for message in step.messages]


def is_stream(steps: list[Step]) -> bool:
    return of(steps, "client")[0].head["micro-endpoint"] in STREAMS


class Scripted:
    """Answers as the Go server did."""

    def __init__(self, replies: list[Message], endpoint: str) -> None:
        self.replies = replies
        self.endpoint = endpoint
        self.reasons: list[Reset] = []

    def cancel(self, reason: Reset) -> None:
        self.reasons.append(reason)


class ScriptedUnary(Scripted, UnaryCall):
    async def run(self, body: bytes) -> Message:
        reply = self.replies.pop(0)
        return Message(
            {key: reply.head[key] for key in ("content-type", "micro-error") if key in reply.head}, reply.body
        )


class ScriptedStream(Scripted, StreamCall):
    async def run(self, exchange: Exchange) -> None:
        first = True
        try:
            while self.replies:
                if first or self.endpoint == "Say.Chat":
                    await exchange.recv()
                    first = False
                reply = self.replies.pop(0)
                text = ending(reply.head)
                if text:
                    await exchange.end({} if text == "EOS" else {"micro-error": text}, reply.body)
                    return
                await exchange.send(reply.body)
            if self.endpoint == "Say.Chat":
                await exchange.recv()
        except EndOfStream:
            pass
        await exchange.end()


@pytest.mark.parametrize("size", [1, 100_000], ids=["bytes", "whole"])
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
async def test_our_server_answers_as_go_does(path: Path, size: int) -> None:
    for steps in load(path):
        replies, calls = list(of(steps, "server")), list[Scripted]()

        def accept(
            head: Head, peer: Peer, replies: list[Message] = replies, calls: list[Scripted] = calls
        ) -> UnaryCall | StreamCall:
            kind = ScriptedStream if head["micro-endpoint"] in STREAMS else ScriptedUnary
            call = kind(replies, head["micro-endpoint"])
            calls.append(call)
            return call

        expected = [(message.body, ending(message.head)) for message in replies]
        async with HTTPTransport(HTTPTransport.Options()) as transport:
            listener = await transport.listen("127.0.0.1:0", accept)
            host, _, port = listener.address.rpartition(":")
            async with await anyio.connect_tcp(host, int(port)) as stream:
                got = await _replay(stream, steps, size)
        assert got[: len(expected)] == expected
        assert got[len(expected) :] in ([], [(b"", "EOS")]), "v1.1.0 is silent where we end with EOS"
        assert all(message.head[":status"] == "200" for message in replies)


async def _replay(stream: anyio.abc.SocketStream, steps: list[Step], size: int) -> list[tuple[bytes, str]]:
    """Plays the client; waits for as many replies as the Go server had given before each next step."""
    parser, got = Parser(Limits(), Tables(), replies=True), list[tuple[bytes, str]]()
    wanted = 0
    with anyio.fail_after(5):
        for step in steps:
            if step.side == "client" and step.raw:
                for at in range(0, len(step.raw), size):
                    await stream.send(step.raw[at : at + size])
            elif step.side == "server":
                wanted += len(step.messages)
                while len(got) < wanted:
                    parser.feed(await stream.receive())
                    while (message := parser.poll()) is not None:
                        got.append((message.body, ending(message.head)))
            elif step.event == "fin":
                await stream.send_eof()
                break
    return got


@pytest.mark.parametrize("size", [20, 100_000], ids=["twenties", "whole"])
@pytest.mark.parametrize("path", [path for path in FILES if "-raw-" not in path.name], ids=lambda path: path.stem)
async def test_our_client_understands_go_servers(path: Path, size: int) -> None:
    for steps in load(path):
        seen: list[Message] = []

        async def serve(stream: anyio.abc.SocketStream, steps: list[Step] = steps, seen: list[Message] = seen) -> None:
            async with stream:
                await _play_server(stream, steps, size, seen)

        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            HTTPTransport(HTTPTransport.Options()) as transport,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, serve)
            address = f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
            with anyio.fail_after(5):
                if is_stream(steps):
                    await _stream(transport, address, steps)
                else:
                    await _call(transport, address, steps)
            group.cancel_scope.cancel()
        sent = of(steps, "client")
        for ours, go in zip(seen, sent, strict=False):
            assert ours.body == go.body
            assert ours.head.items() >= {key: go.head[key] for key in go.head if key.startswith("micro-")}.items()


async def _play_server(stream: anyio.abc.SocketStream, steps: list[Step], size: int, seen: list[Message]) -> None:
    parser, wanted = Parser(Limits(), Tables()), 0
    for step in steps:
        if step.side == "client":
            wanted += len(step.messages)
            while len(seen) < wanted:
                parser.feed(await stream.receive())
                while (message := parser.poll()) is not None:
                    seen.append(message)
        else:
            for at in range(0, len(step.raw), size):
                await stream.send(step.raw[at : at + size])


def head_of(message: Message) -> Head:
    return {key: value for key, value in message.head.items() if key not in ("host", "user-agent")}


async def _call(transport: HTTPTransport, address: str, steps: list[Step]) -> None:
    clock = capture_clock()
    for request, expected in zip(of(steps, "client"), of(steps, "server"), strict=True):
        await eventually(lambda: all(one.rests <= clock() for one in transport._client.connections), within=5)
        message = Message(head_of(request), request.body)
        reply = await transport.call(address, message, deadline=capture_clock()() + 5)
        assert reply.body == expected.body
        assert reply.head.get("micro-error") == expected.head.get("micro-error")


async def _stream(transport: HTTPTransport, address: str, steps: list[Step]) -> None:
    opening = of(steps, "client")[0]
    exchange = await transport.open(address, head_of(opening), opening=opening.body, deadline=capture_clock()() + 5)
    over = False
    for step in steps:
        for message in step.messages:
            if message is opening:
                continue
            text = ending(message.head)
            if step.side == "client":
                await (exchange.end(body=message.body) if text else exchange.send(message.body))
            elif text:
                over = await _ends(exchange, "" if text == "EOS" else text)
            else:
                assert await exchange.recv() == message.body
                assert "micro-error" not in exchange.reply
        if step.event == "fin":
            if step.side == "server" and not over:
                await _ends(exchange, "")
            break
    exchange.reset(Reset.CANCELLED)


async def _ends(exchange: Exchange, text: str) -> bool:
    with pytest.raises(EndOfStream):
        await exchange.recv()
    assert exchange.trailer == ({"micro-error": text} if text else {})
    return True
