"""grpc.aio on uvloop with a generic handler: 100 bytes as they are, no protobuf to parse."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
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


async def serve() -> None:
    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Many": grpc.unary_stream_rpc_method_handler(many),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    closedloop.ready(port)
    await asyncio.Event().wait()


async def load(port: int, callers: int, seconds: float) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary("/bench.Echo/Echo")

        async def one() -> object:
            return await call(closedloop.PAYLOAD, timeout=5)

        await closedloop.measure(one, callers, seconds)


async def stream(port: int, callers: int, seconds: float) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_stream("/bench.Echo/Many")

        async def one() -> object:
            return sum([1 async for _ in call(closedloop.PAYLOAD)])

        await closedloop.measure(one, callers, seconds)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        closedloop.run(serve)
    else:
        run = stream if sys.argv[1] == "stream" else load
        closedloop.run(lambda: run(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
