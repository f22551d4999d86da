"""Ours, through the whole stack: registry, discovery, selector, codec, metadata, transport; typed JSON of 100 bytes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop
import micro


@dataclass
class Payload:
    text: str


class Echo:
    async def echo(self, request: Payload) -> Payload:
        return request

    async def many(self, request: Payload) -> AsyncIterator[Payload]:
        for _ in range(closedloop.MESSAGES):
            yield request


async def serve() -> None:
    import asyncio

    service = micro.Service("bench")
    service.handler(Echo())
    async with service:
        closedloop.ready()
        await asyncio.Event().wait()


async def load(callers: int, seconds: float) -> None:
    payload = Payload("x" * 88)
    async with micro.Client() as client:

        async def one() -> object:
            return await client.call("bench", "Echo.Echo", payload, Payload)

        await closedloop.measure(one, callers, seconds)


async def stream(callers: int, seconds: float) -> None:
    payload = Payload("x" * 88)
    async with micro.Client() as client:

        async def one() -> object:
            async with client.stream("bench", "Echo.Many", Payload) as replies:
                await replies.send(payload)
                await replies.end()
                return sum([1 async for _ in replies])

        await closedloop.measure(one, callers, seconds)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        closedloop.run(serve)
    else:
        run = stream if sys.argv[1] == "stream" else load
        closedloop.run(lambda: run(int(sys.argv[3]), float(sys.argv[4])))
