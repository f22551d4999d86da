"""The limit: bytes echoed by an asyncio Protocol on uvloop, one connection per caller, no framing at all.

A stream one way is a write per message.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop

MANY = b"many"


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(MANY):
            message = data[len(MANY) :]
            for _ in range(closedloop.MESSAGES):
                self.transport.write(message)
        else:
            self.transport.write(data)


class Caller(asyncio.Protocol):
    waiting: asyncio.Future[None]
    missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if not self.missing:
            self.waiting.set_result(None)

    async def call(self, request: bytes, expected: int) -> None:
        self.waiting = self.loop.create_future()
        self.missing = expected
        self.transport.write(request)
        await self.waiting


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    closedloop.say(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def echo(load: closedloop.Load) -> None:
    await calling(load, load.payload, load.size)


async def one_way(load: closedloop.Load) -> None:
    await calling(load, MANY + load.payload, load.size * closedloop.MESSAGES)


async def calling(load: closedloop.Load, request: bytes, expected: int) -> None:
    loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def caller() -> AsyncIterator[closedloop.One]:
        transport, protocol = await loop.create_connection(Caller, "127.0.0.1", load.port)
        yield lambda: protocol.call(request, expected)
        transport.close()

    await load.measure(caller)


if __name__ == "__main__":
    closedloop.peer(serve, {"unary": echo, "oneway": one_way, "pingpong": echo})
