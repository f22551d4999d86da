"""The limit: bytes echoed by an asyncio Protocol on uvloop, one connection per caller, no framing at all."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Caller(asyncio.Protocol):
    waiting: asyncio.Future[bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.waiting.set_result(data)

    async def call(self) -> bytes:
        self.waiting = self.loop.create_future()
        self.transport.write(closedloop.PAYLOAD)
        return await self.waiting


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    closedloop.ready(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def load(port: int, callers: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    idle = [(await loop.create_connection(Caller, "127.0.0.1", port))[1] for _ in range(callers)]

    async def one() -> object:
        caller = idle.pop()
        try:
            return await caller.call()
        finally:
            idle.append(caller)

    await closedloop.measure(one, callers, seconds)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        closedloop.run(serve)
    else:
        closedloop.run(lambda: load(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
