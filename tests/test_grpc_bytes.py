"""gRPC byte by byte: what grpcio would never send, and what is not gRPC. Health, too."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import micro
import pytest
from grpc_bytes import ask, message
from grpc_rig import channel, in_thread, transport_of
from micro_conformance import eventually

pytestmark = pytest.mark.anyio
HELLO = "/greeter.Say/Hello"
MIB = 2**20


class Say:
    async def hello(self, name: str) -> str:
        return f"Hello {name}"

    async def size(self, name: str) -> int:
        return len(name)

    async def chat(self, names: AsyncIterator[str]) -> AsyncIterator[str]:
        async for name in names:
            yield name.upper()

    async def first(self, names: AsyncIterator[str]) -> AsyncIterator[str]:
        async for name in names:
            yield name[0]
            return


def service() -> Any:
    made = micro.Service(
        "greeter",
        registry="memory",
        broker="memory",
        transport=transport_of(None),
        options={"server.address": "127.0.0.1:0", "stop.propagation": 0},
    )
    made.handler(Say())
    return made


async def test_json_is_called_as_well() -> None:
    async with service() as served:
        answer = await ask(served.address, HELLO, message(b'"Ada"'))
        assert answer.head == {":status": "200", "content-type": "application/grpc+json"}
        assert answer.body == message(b'"Hello Ada"')
        assert answer.trailer == {"grpc-status": "0"}
        streamed = await ask(served.address, "/greeter.Say/Chat", message(b'"a"') + message(b'"b"'))
        assert streamed.body == message(b'"A"') + message(b'"B"')
        assert streamed.trailer == {"grpc-status": "0"}


@pytest.mark.parametrize("path", [HELLO, "/greeter.Say/Chat"])
@pytest.mark.parametrize("encoding", [None, "identity", "snappy"])
async def test_a_message_compressed_by_what_is_not_known_is_unimplemented(path: str, encoding: str | None) -> None:
    async with service() as served:
        named = {} if encoding is None else {"grpc-encoding": encoding}
        answer = await ask(served.address, path, message(b'"Ada"', flags=1), named)
        assert answer.status == "12"
        assert "compressed" in answer.message
        assert {**answer.head, **answer.trailer}["grpc-accept-encoding"] == "identity,gzip,deflate"
        assert (await ask(served.address, path, message(b'"Ada"'), named)).status == "0"


@pytest.mark.parametrize("path", [HELLO, "/greeter.Say/Chat"])
@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_message_is_inflated(path: str, encoding: str, compress: Any) -> None:
    async with service() as served:
        named = {"grpc-encoding": encoding}
        answer = await ask(served.address, path, message(compress(b'"Ada"'), flags=1), named)
        assert (answer.status, answer.body) == ("0", message(b'"Hello Ada"' if path == HELLO else b'"ADA"'))
        assert (await ask(served.address, path, message(b'"Ada"'), named)).status == "0"


def bomb(size: int) -> bytes:
    return gzip.compress(b'"' + b"a" * (size - 2) + b'"')


@pytest.mark.parametrize("path", ["/greeter.Say/Size", "/greeter.Say/First"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (bomb(4 * MIB), "0"),
        (bomb(4 * MIB + 1), "8"),
        (bomb(300 * MIB), "8"),
        (gzip.compress(b'"a"')[:-1], "13"),
        (gzip.compress(b'"a"') + b"x", "13"),
        (b"\x1f\x8b nonsense", "13"),
        (b"", "13"),
    ],
    ids=["at the limit", "one above", "bomb", "cut short", "more behind", "nonsense", "nothing"],
)
async def test_inflating_ends_at_the_limit(path: str, body: bytes, status: str) -> None:
    async with service() as served:
        tracemalloc.start()
        try:
            answer = await ask(served.address, path, message(body, flags=1), {"grpc-encoding": "gzip"})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert answer.status == status
        assert peak < 64 * MIB


async def test_what_nobody_receives_is_not_inflated() -> None:
    async with service() as served:
        tracemalloc.start()
        try:
            many = message(bomb(4 * MIB), flags=1) * 10
            answer = await ask(served.address, "/greeter.Say/First", many, {"grpc-encoding": "gzip"})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (answer.status, answer.body) == ("0", message(b'"a"'))
        assert peak < 20 * MIB


@pytest.mark.parametrize(
    ("body", "status"),
    [(None, "13"), (b"", "13"), (message(b'"a"') * 2, "13"), (message(b'"a"')[:-1], "13"), (message(b"nonsense"), "3")],
)
async def test_a_unary_call_is_one_message(body: bytes | None, status: str) -> None:
    async with service() as served:
        answer = await ask(served.address, HELLO, body)
        assert (answer.status, answer.head[":status"]) == (status, "200")


async def test_a_stream_that_ends_within_a_message() -> None:
    async with service() as served:
        answer = await ask(served.address, "/greeter.Say/Chat", message(b'"a"')[:-1])
        assert answer.status == "13"


@pytest.mark.parametrize(("text", "status"), [("0n", "4"), ("5", "3"), ("123456789S", "3"), ("9H", "0"), ("99S", "0")])
async def test_timeouts(text: str, status: str) -> None:
    async with service() as served:
        assert (await ask(served.address, HELLO, message(b'"a"'), {"grpc-timeout": text})).status == status


@pytest.mark.parametrize("path", ["/", "/greeter", "/greeter.Say/", "/greeter.Say/Hello/more", "/greeter.Say/Helo"])
async def test_what_is_not_here_is_unimplemented(path: str) -> None:
    async with service() as served:
        answer = await ask(served.address, path, message(b'"a"'))
        assert (answer.status, answer.head[":status"]) == ("12", "200")


async def test_an_unknown_codec_is_unimplemented_and_the_known_are_named() -> None:
    async with service() as served:
        answer = await ask(served.address, HELLO, message(b"?"), {"content-type": "application/grpc+thrift"})
        assert answer.status == "12"
        assert "application/json" in answer.message


@pytest.mark.parametrize("content_type", ["application/grpc-web+json", "application/thrift", "application/json"])
async def test_what_is_not_grpc_is_415(content_type: str) -> None:
    async with service() as served:
        answer = await ask(served.address, HELLO, b"?", {"content-type": content_type})
        assert (answer.head[":status"], answer.status) == ("415", None)
        assert b"/greeter/Say.Hello" in answer.body


async def test_over_http_1_it_is_415() -> None:
    async with service() as served:
        host, _, port = served.address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as wire:
            head = f"POST {HELLO} HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n"
            await wire.send(head.encode())
            assert (await wire.receive()).startswith(b"HTTP/1.1 415 ")


# Health, asked for by grpcio as a stranger would


def health(opened: Any) -> tuple[Any, Any]:
    into: Any = {
        "request_serializer": lambda name: bytes((10, len(name))) + name.encode() if name else b"",
        "response_deserializer": lambda body: body[1] if body else 0,
    }
    prefix = "/grpc.health.v1.Health"
    return opened.unary_unary(f"{prefix}/Check", **into), opened.unary_stream(f"{prefix}/Watch", **into)


@pytest.mark.parametrize("name", ["", "greeter", "greeter.Say"])
async def test_health_is_checked(name: str) -> None:
    async with service() as served:
        with channel(served.address, None) as opened:
            check, watch = health(opened)
            assert await in_thread(lambda: check(name, timeout=10)) == 1
            seen = watch(name, timeout=20)
            assert await in_thread(lambda: next(seen)) == 1
            seen.cancel()


async def test_health_of_another_service() -> None:
    async with service() as served:
        with channel(served.address, None) as opened:
            check, watch = health(opened)
            with pytest.raises(Exception, match="NOT_FOUND"):
                await in_thread(lambda: check("other", timeout=10))
            seen = watch("other", timeout=20)
            assert await in_thread(lambda: next(seen)) == 3
            seen.cancel()


async def test_health_in_json() -> None:
    async with service() as served:
        for body in (b"{}", b'{"service":"greeter"}'):
            answer = await ask(served.address, "/grpc.health.v1.Health/Check", message(body))
            assert json.loads(answer.body[5:]) == {"status": "SERVING"}
            assert answer.status == "0"
        for body in (b"[]", b"{", b'{"service":1}'):
            assert (await ask(served.address, "/grpc.health.v1.Health/Check", message(body))).status == "3"


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05ab", b"\x08\x01", b"\x0a\xff\x01"])
async def test_health_is_asked_for_in_protobuf(body: bytes) -> None:
    async with service() as served:
        head = {"content-type": "application/grpc"}
        assert (await ask(served.address, "/grpc.health.v1.Health/Check", message(body), head)).status == "3"


async def test_health_is_watched_until_the_service_leaves() -> None:
    seen: list[int] = []
    async with anyio.create_task_group() as tasks:
        async with service() as served:
            opened = channel(served.address, None)
            _, watch = health(opened.__enter__())

            async def watching() -> None:
                await in_thread(lambda: seen.extend(_gathered(watch("", timeout=20), seen)))

            tasks.start_soon(watching)
            await eventually(lambda: seen == [1], within=5)
        await eventually(lambda: seen == [1, 2], within=5)
    opened.__exit__(None, None, None)


def _gathered(statuses: Any, into: list[int]) -> list[int]:
    for status in statuses:
        into.append(status)  # noqa: PERF402 - each as it comes
    return []


async def test_a_health_endpoint_of_the_services_own() -> None:
    class Health:
        async def check(self, name: str) -> str:
            return "mine"

    made = service()
    made.handler(Health())
    async with made as served:
        answer = await ask(served.address, "/grpc.health.v1.Health/Check", message(b'""'))
        assert answer.body == message(b'"mine"')
