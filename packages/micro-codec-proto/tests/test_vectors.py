"""What unmodified Go Micro clients wrote, replayed at a service of ours that is typed with the same messages."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import micro
import pytest
from greeter_pb2 import Reply, Request
from micro_codec_json import JsonCodec
from micro_codec_proto import ProtoCodec
from micro_http.limits import Limits
from micro_http.parse import Parser
from micro_http.tables import Tables

pytestmark = pytest.mark.anyio
FILES = sorted((Path(__file__).parent / "vectors").glob("*.json"))
PATIENCE = 10.0


class Say:
    async def hello(self, request: Request) -> Reply:
        return Reply(msg=f"Hello {request.name}", seq_no=request.count_to)

    async def nothing(self, request: Request) -> Reply:
        return Reply()

    async def fail(self, request: Request) -> Reply:
        raise micro.errors.NotFound("no such name")

    async def count(self, request: Request) -> AsyncIterator[Reply]:
        for number in range(request.count_to):
            yield Reply(msg=request.name, seq_no=number + 1)

    async def chat(self, requests: AsyncIterator[Request]) -> AsyncIterator[Reply]:
        number = 0
        async for request in requests:
            number += 1
            yield Reply(msg=f"echo {request.name}", seq_no=number)


def parser(side):
    return Parser(Limits(), Tables(), replies=side == "server")


def taken(parser, raw):
    parser.feed(raw)
    return list(iter(parser.poll, None))


def steps_of(path):
    (connection,) = json.loads(path.read_text())["connections"]
    for step in connection["steps"]:
        raw = bytes.fromhex(step["hex"]) if "hex" in step else step.get("text", "").encode()
        if raw:
            yield step["from"], raw


def messages_of(path, side):
    whole = parser(side)
    return [message for one, raw in steps_of(path) if one == side for message in taken(whole, raw)]


@pytest.fixture
async def service(monkeypatch, request):
    monkeypatch.setenv("MICRO_REGISTRY", "memory")
    monkeypatch.setenv("MICRO_REGISTRY_MEMORY_ADDRESS", request.node.nodeid)
    monkeypatch.setenv("MICRO_TRANSPORT", "http")
    service = micro.Service("go.micro.srv.greeter")
    service.handler(Say())
    async with service:
        yield service


async def replayed(service, path):
    """What our service answers, each time before the client's next step."""
    host, port = service.address.split(":")
    expected, ours, told = parser("server"), [], 0
    theirs = parser("server")
    with anyio.fail_after(PATIENCE):
        async with await anyio.connect_tcp(host, int(port)) as connection:
            for side, raw in steps_of(path):
                if side == "client":
                    await connection.send(raw)
                    continue
                told += len(taken(expected, raw))
                while len(ours) < told:
                    ours += taken(theirs, await connection.receive())
    return ours


async def test_a_go_client_gets_the_replies_of_a_go_server(service):
    compared = 0
    for path in FILES:
        if "-json-" in path.name:
            continue
        ours, theirs = await replayed(service, path), messages_of(path, "server")
        for mine, go in zip(ours, theirs, strict=False):
            assert bytes(mine.body) == bytes(go.body), path.name
            assert ("micro-error" in mine.head) == ("micro-error" in go.head), path.name
            if mine is ours[0] and "micro-error" not in go.head:
                assert mine.head["content-type"] == "application/protobuf"
            compared += 1
    assert compared == 35


async def test_bytes_that_are_no_message_are_a_400(service):
    for path in FILES:
        if path.stem.endswith("raw-bad-protobuf"):
            (reply,) = await replayed(service, path)
            error = json.loads(reply.head["micro-error"])
            assert (error["code"], error["id"]) == (400, "go.micro.srv.greeter")
            assert (
                "Say.Hello cannot be read as application/protobuf: this is not the protobuf of Request: "
                in (error["detail"])
            )


async def test_the_same_handler_answers_json_in_every_spelling(service):
    for path in FILES:
        if "-json-" in path.name:
            (reply,) = await replayed(service, path)
            number = b"" if "unknown-field" in path.name else b',"seq_no":5'
            assert bytes(reply.body) == b'{"msg":"Hello John"' + number + b"}", path.name
            assert reply.head["content-type"] == "application/json"


def test_requests_are_the_bytes_that_go_clients_send():
    encode = ProtoCodec().encoder(Request)
    sent = {
        "rpc-unary-protobuf": Request(name="John"),
        "rpc-unary-protobuf-empty-request": Request(),
        "rpc-error-404-protobuf": Request(name="John", error_code=404),
    }
    for path in FILES:
        _, _, case = path.stem.partition("-")
        if case in sent:
            assert encode(sent[case]) == bytes(messages_of(path, "client")[0].body), path.name


def test_replies_of_go_servers_are_read():
    decode, decode_json = ProtoCodec().decoder(Reply), JsonCodec().decoder(Reply)
    for path in FILES:
        for reply in messages_of(path, "server"):
            if "micro-error" not in reply.head:
                value = (decode_json if "-json-" in path.name else decode)(reply.body)
                assert value == Reply() or value.msg in ("Hello John", "Hello ", "John", "echo John0", "echo John1")
