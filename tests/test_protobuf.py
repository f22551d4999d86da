"""Services typed with protobuf messages: every shape of call, events, callers of JSON, who chooses a content type."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import micro
import pytest
from anyio.abc import SocketStream
from google.protobuf.wrappers_pb2 import BytesValue
from greeter_pb2 import Reply, Request
from micro_core import Call, CallNext
from micro_core import Reply as Answer
from micro_core.codec import content_type_of
from old_pb2 import Old

pytestmark = pytest.mark.anyio
JSON, PROTOBUF = "application/json", "application/protobuf"


class Say:
    async def hello(self, request: Request) -> Reply:
        return Reply(msg=f"Hello {request.name}", seq_no=request.count_to)

    async def nothing(self) -> Reply:
        return Reply(seq_no=1)

    async def swallow(self, request: Request) -> None:
        return None

    async def count(self, request: Request) -> AsyncIterator[Reply]:
        for number in range(request.count_to):
            yield Reply(msg=request.name, seq_no=number)

    async def total(self, requests: AsyncIterator[Request]) -> Reply:
        return Reply(seq_no=sum([request.count_to async for request in requests]))

    async def chat(self, requests: AsyncIterator[Request]) -> AsyncIterator[Reply]:
        async for request in requests:
            yield Reply(msg=request.name)

    async def old(self, request: Old) -> Old:
        return request

    async def long(self, request: Request) -> Reply:
        return Reply(msg="x" * request.count_to)

    async def mixed(self, request: Request) -> dict[str, int]:
        return {"count": request.count_to}

    async def plain(self, request: Greeting) -> Greeting:
        return request

    async def lacking(self, request: Request) -> Old:
        return Old()


@dataclass
class Greeting:
    name: str


@pytest.fixture(autouse=True)
def memory_registry(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("MICRO_REGISTRY", "memory")
    monkeypatch.setenv("MICRO_REGISTRY_MEMORY_ADDRESS", request.node.nodeid)


@pytest.fixture(params=["memory", "http"])
def transport(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    monkeypatch.setenv("MICRO_TRANSPORT", request.param)
    name: str = request.param
    return name


class World:
    """A service and a client, and the content types in which calls arrived."""

    def __init__(self, service: micro.Service, client: micro.Client, seen: list[str]) -> None:
        self.service = service
        self.client = client
        self.say = client.proxy(Say, "greeter")
        self.seen = seen

    async def post(self, body: bytes, endpoint: str = "Say.Hello", **head: str) -> tuple[dict[str, str], bytes]:
        """What comes back, as it is on the wire; a header's name has `_` for `-`."""
        names = {"micro-endpoint": endpoint, **{name.replace("_", "-"): value for name, value in head.items()}}
        text = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        host, port = self.service.address.split(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            start = f"POST / HTTP/1.1\r\nhost: x\r\n{text}content-length: {len(body)}\r\n\r\n"
            await stream.send(start.encode() + body)
            return await _response(stream)


async def _response(stream: SocketStream) -> tuple[dict[str, str], bytes]:
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += await stream.receive()
    lines, _, body = raw.partition(b"\r\n\r\n")
    head = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines.decode().split("\r\n"))}
    while len(body) < int(head["content-length"]):
        body += await stream.receive()
    return head, body


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    seen: list[str] = []

    async def note(call: Call, call_next: CallNext) -> Answer:
        seen.append(call.content_type or "")
        return await call_next(call)

    service = micro.Service("greeter", server_middleware=[note])
    service.handler(Say())
    with anyio.fail_after(30):
        async with service, micro.Client(options=options) as client:
            yield World(service, client, seen)


@pytest.mark.parametrize("content_type", [None, JSON, PROTOBUF])
async def test_every_shape_carries_messages_in_both_content_types(transport: str, content_type: str | None) -> None:
    async def requests() -> AsyncIterator[Request]:
        for number in (1, 2**53):
            yield Request(name=str(number), count_to=number)

    async with world() as it:
        say = it.client.proxy(Say, "greeter", content_type=content_type)
        assert await say.hello(Request(name="Ada", count_to=2**53 + 1)) == Reply(msg="Hello Ada", seq_no=2**53 + 1)
        assert await say.hello(Request()) == Reply(msg="Hello ")
        assert await say.nothing() == Reply(seq_no=1)
        await say.swallow(Request())
        counted = [reply async for reply in say.count(Request(name="x", count_to=3))]
        assert counted == [Reply(msg="x", seq_no=number) for number in range(3)]
        assert await say.total(requests()) == Reply(seq_no=2**53 + 1)
        assert [reply async for reply in say.chat(requests())] == [Reply(msg="1"), Reply(msg=str(2**53))]
        assert await say.old(Old(name="x")) == Old(name="x")
        assert set(it.seen) == {content_type or PROTOBUF}


class Untyped(Protocol):
    async def hello(self, request: dict[str, Any]) -> dict[str, Any]: ...


async def test_a_handler_typed_with_messages_answers_callers_who_have_none() -> None:
    async with world() as it:
        untyped = it.client.proxy(Untyped, "greeter", name="Say")
        assert await untyped.hello({"name": "Ada", "countTo": "5"}) == {"msg": "Hello Ada", "seq_no": 5}
        assert it.seen == [JSON]
        async with it.client.stream("greeter", "Say.Chat", Reply) as stream:
            await stream.send(Request(name="x"))
            assert await stream.recv() == Reply(msg="x")
        assert await it.client.call("greeter", "Say.Hello", Request(name="Ada")) == {"msg": "Hello Ada"}
        assert await it.client.call("greeter", "Say.Mixed", Request(count_to=2), dict[str, int]) == {"count": 2}
        assert set(it.seen) == {JSON}


def test_the_content_type_of_types() -> None:
    assert content_type_of(Request, Reply) == content_type_of(None, Reply) == content_type_of(Request, None) == PROTOBUF
    for types in ((Request, Any), (Any, Reply), (None, None), (Request, dict), (list[Request], Reply), ()):
        assert content_type_of(*types) == JSON, types


async def test_whoever_is_nearer_to_the_call_chooses_its_content_type(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as it:
        await it.say.hello(Request())  # nobody chose
        await it.client.call("greeter", "Say.Hello", Request(), Reply, content_type=JSON)  # the request
        await it.client.proxy(Say, "greeter", content_type=JSON).hello(Request())  # the service called
        assert it.seen == [PROTOBUF, JSON, JSON]
    async with world(**{"client.content_type": JSON}) as it:  # the client
        await it.say.hello(Request())
        await it.client.call("greeter", "Say.Hello", Request(), Reply, content_type=PROTOBUF)
        assert it.seen == [JSON, PROTOBUF]
    monkeypatch.setenv("MICRO_CLIENT_CONTENT_TYPE", JSON)
    async with world() as it:
        await it.say.hello(Request())
        await it.client.proxy(Say, "greeter", content_type=PROTOBUF).hello(Request())
        assert it.seen == [JSON, PROTOBUF]
    monkeypatch.setenv("MICRO_CLIENT_CONTENT_TYPE", PROTOBUF)
    async with world() as it:
        with pytest.raises(micro.errors.BadRequest, match="protobuf carries messages that protoc made, not Greeting"):
            await it.say.plain(Greeting("Ada"))


async def test_a_reply_is_in_the_type_of_its_request_whose_parameters_mean_nothing() -> None:
    async with world() as it:
        for sent, body, reply in (
            ("application/protobuf", b"\n\x03Ada", b"\n\x09Hello Ada"),
            ("Application/Protobuf; proto=Request", b"\n\x03Ada", b"\n\x09Hello Ada"),
            ("application/json", b'{"name":"Ada"}', b'{"msg":"Hello Ada"}'),
            ("application/json; charset=latin-1", b'{"name":"Ada"}', b'{"msg":"Hello Ada"}'),
        ):
            head, answer = await it.post(body, content_type=sent, accept="text/html")
            assert (answer, head["content-type"]) == (reply, sent.partition(";")[0].lower())
        head, answer = await it.post(b"\n\x03Ada")  # Go Micro's assumption
        assert (answer, head["content-type"]) == (b"\n\x09Hello Ada", PROTOBUF)


async def test_nobody_guesses_a_content_type_from_the_bytes() -> None:
    async with world() as it:
        for sent, body in (
            (PROTOBUF, b'{"name":"Ada"}'),
            (JSON, b"\n\x03Ada"),
            ("application/octet-stream", b'{"name":"Ada"}'),
        ):
            head, answer = await it.post(body, content_type=sent)
            assert json.loads(head["micro-error"])["code"] == (415 if "octet" in sent else 400)
            assert answer == b""


async def test_an_unknown_type_is_a_415_that_names_what_is_installed() -> None:
    async with world() as it:
        head, _ = await it.post(b"", content_type="application/cbor")
        error = json.loads(head["micro-error"])
        assert error["code"] == 415
        for installed in (JSON, PROTOBUF, "application/octet-stream"):
            assert installed in error["detail"]
        head, _ = await it.post(b"", endpoint="Say.Plain", content_type=PROTOBUF)
        error = json.loads(head["micro-error"])
        assert error["code"] == 415
        assert "Say.Plain cannot be called in application/protobuf" in error["detail"]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("Say.Hello", b"\n\x05Ada"),
        ("Say.Hello", b"\n\xff\xff\xff\xff\x07"),
        ("Say.Hello", b"\n\x01\xff"),
        ("Say.Hello", b"\n\x03Ada\x00"),
        ("Say.Hello", b"\x7b" * 100_000),
        ("Say.Old", b""),
        ("Say.Old", b"\n\x01\xff"),
    ],
)
async def test_bytes_that_are_no_message_are_a_400_and_the_service_serves_on(endpoint: str, body: bytes) -> None:
    async with world() as it:
        head, _ = await it.post(body, endpoint, content_type=PROTOBUF)
        error = json.loads(head["micro-error"])
        assert error["code"] == 400
        assert f"of {endpoint} cannot be read as application/protobuf: " in error["detail"]
        assert await it.say.hello(Request(name="Ada")) == Reply(msg="Hello Ada")
        assert it.seen == [PROTOBUF]


async def test_a_bad_message_inside_a_stream_is_a_400(transport: str) -> None:
    class Chatter(Protocol):
        def chat(self, requests: AsyncIterator[BytesValue]) -> AsyncIterator[Reply]: ...

    async def requests() -> AsyncIterator[BytesValue]:
        yield BytesValue(value=b"text")
        yield BytesValue(value=b"\xff")

    async with world() as it:
        with pytest.raises(micro.errors.BadRequest, match=r"a message to Say\.Chat cannot be read as .*UTF-8"):
            _ = [reply async for reply in it.client.proxy(Chatter, "greeter", name="Say").chat(requests())]


async def test_a_reply_of_another_type_is_a_decode_error_and_one_that_cannot_be_written_a_500() -> None:
    class Wrong(Protocol):
        async def nothing(self) -> Old: ...

    async with world() as it:
        with pytest.raises(micro.errors.DecodeError, match="is not the protobuf of Old"):
            await it.client.proxy(Wrong, "greeter", name="Say").nothing()
        with pytest.raises(micro.errors.InternalServerError, match=r"reply of Say\.Lacking cannot be encoded.*name"):
            await it.say.lacking(Request())


async def test_a_message_over_a_limit_is_refused_on_either_side(transport: str) -> None:
    async with world(**{"transport.message_limit": 1000}) as it:
        with pytest.raises(micro.errors.RPCError, match="1000"):
            await it.say.long(Request(count_to=2000))
        assert (await it.say.long(Request(count_to=900))).ByteSize() > 900
        with pytest.raises(micro.errors.InternalServerError, match="max_reply"):
            await it.client.proxy(Say, "greeter").long(Request(count_to=5 * 1024 * 1024))


@pytest.mark.parametrize("content_type", [None, JSON, PROTOBUF])
async def test_events_are_messages(content_type: str | None) -> None:
    arrived: list[Request] = []
    seen: list[str] = []
    done = anyio.Event()
    service = micro.Service("log", broker="memory")

    @service.subscriber("greeted")
    async def on_greeted(event: Request) -> None:
        arrived.append(event)
        done.set()

    @service.subscriber("greeted")
    async def as_it_came(event: micro.Event) -> None:
        seen.append(event.message.head["content-type"])

    with anyio.fail_after(20):
        async with service:
            await service.client.publish("greeted", Request(name="Ada", count_to=2**60), content_type=content_type)
            await done.wait()
    assert arrived == [Request(name="Ada", count_to=2**60)]
    assert set(seen) <= {content_type or PROTOBUF}


async def test_a_service_of_messages_is_registered_with_their_names() -> None:
    async with world() as it:
        (record,) = await it.client.list_services()
        hello = next(endpoint for endpoint in record.endpoints if endpoint.name == "Say.Hello")
        assert hello.request is not None
        assert hello.response is not None
        assert (hello.request.type, hello.response.type) == ("Request", "Reply")


def test_a_codec_is_found_without_importing_the_others() -> None:
    script = (
        "import sys; from micro_core.loader import ContentTypes; codecs = ContentTypes();"
        "assert {'application/json', 'application/protobuf'} <= set(codecs.content_types);"
        "codecs('application/json').encoder(dict)({});"
        "assert 'micro_codec_proto' not in sys.modules and 'google.protobuf' not in sys.modules;"
        "codecs('application/protobuf');"
        "assert 'micro_codec_proto' in sys.modules and 'micro_codec_bytes' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
