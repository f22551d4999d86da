"""grpc.aio with a generic handler: bytes as they are, no protobuf to parse."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop
import grpc


async def echo(request: bytes, _: object) -> bytes:
    return request


async def many(request: bytes, _: object) -> AsyncIterator[bytes]:
    for _ in range(closedloop.MESSAGES):
        yield request


async def pong(requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def serve() -> None:
    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Many": grpc.unary_stream_rpc_method_handler(many),
        "Pong": grpc.stream_stream_rpc_method_handler(pong),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    closedloop.say(port)
    await asyncio.Event().wait()


async def unary(load: closedloop.Load) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{load.port}") as channel:
        call: Any = channel.unary_unary("/bench.Echo/Echo")
        payload = load.payload

        async def one() -> object:
            return await call(payload, timeout=5)

        await load.measure(closedloop.each(one))


async def one_way(load: closedloop.Load) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{load.port}") as channel:
        call: Any = channel.unary_stream("/bench.Echo/Many")
        payload = load.payload

        async def one() -> object:
            return sum([1 async for _ in call(payload)])

        await load.measure(closedloop.each(one))


async def ping_pong(load: closedloop.Load) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{load.port}") as channel:
        payload = load.payload

        @asynccontextmanager
        async def caller() -> AsyncIterator[closedloop.One]:
            stream: Any = channel.stream_stream("/bench.Echo/Pong")()

            async def one() -> object:
                await stream.write(payload)
                return await stream.read()

            yield one
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF

        await load.measure(caller)


if __name__ == "__main__":
    closedloop.peer(serve, {"unary": unary, "oneway": one_way, "pingpong": ping_pong})
