"""grpclib with a codec that passes bytes through: no protobuf to parse."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop
from grpclib.client import Channel, StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.server import Server, Stream


class Bytes(CodecBase):
    __content_subtype__ = "bytes"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


async def echo(stream: Stream[bytes, bytes]) -> None:
    request = await stream.recv_message()
    assert request is not None
    await stream.send_message(request)


async def many(stream: Stream[bytes, bytes]) -> None:
    request = await stream.recv_message()
    assert request is not None
    for _ in range(closedloop.MESSAGES):
        await stream.send_message(request)


async def pong(stream: Stream[bytes, bytes]) -> None:
    async for request in stream:
        await stream.send_message(request)


class Service:
    def __mapping__(self) -> dict[str, Handler]:
        return {
            "/bench.Echo/Echo": Handler(echo, Cardinality.UNARY_UNARY, bytes, bytes),
            "/bench.Echo/Many": Handler(many, Cardinality.UNARY_STREAM, bytes, bytes),
            "/bench.Echo/Pong": Handler(pong, Cardinality.STREAM_STREAM, bytes, bytes),
        }


async def serve() -> None:
    server = Server([Service()], codec=Bytes())
    await server.start("127.0.0.1", 0)
    listening: Any = server
    closedloop.say(listening._server.sockets[0].getsockname()[1])
    await server.wait_closed()


def channel(load: closedloop.Load) -> Channel:
    return Channel("127.0.0.1", load.port, codec=Bytes())


async def unary(load: closedloop.Load) -> None:
    payload = load.payload
    async with channel(load) as open_channel:
        call: UnaryUnaryMethod[bytes, bytes] = UnaryUnaryMethod(open_channel, "/bench.Echo/Echo", bytes, bytes)

        async def one() -> object:
            return await call(payload, timeout=5)

        await load.measure(closedloop.each(one))


async def one_way(load: closedloop.Load) -> None:
    payload = load.payload
    async with channel(load) as open_channel:
        call: UnaryStreamMethod[bytes, bytes] = UnaryStreamMethod(open_channel, "/bench.Echo/Many", bytes, bytes)

        async def one() -> object:
            async with call.open() as stream:
                await stream.send_message(payload, end=True)
                return sum([1 async for _ in stream])

        await load.measure(closedloop.each(one))


async def ping_pong(load: closedloop.Load) -> None:
    payload = load.payload
    async with channel(load) as open_channel:
        call: StreamStreamMethod[bytes, bytes] = StreamStreamMethod(open_channel, "/bench.Echo/Pong", bytes, bytes)

        @asynccontextmanager
        async def caller() -> AsyncIterator[closedloop.One]:
            async with call.open() as stream:

                async def one() -> object:
                    await stream.send_message(payload)
                    return await stream.recv_message()

                yield one
                await stream.end()

        await load.measure(caller)


if __name__ == "__main__":
    closedloop.peer(serve, {"unary": unary, "oneway": one_way, "pingpong": ping_pong})
