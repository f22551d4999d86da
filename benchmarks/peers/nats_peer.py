"""nats-py request/reply through a real nats-server, whose port `BENCH_BROKER` says."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg


async def connected() -> Client:
    return await nats.connect(f"nats://127.0.0.1:{os.environ['BENCH_BROKER']}")


async def echo(message: Msg) -> None:
    await message.respond(message.data)


async def serve() -> None:
    client = await connected()
    await client.subscribe("bench", cb=echo)
    await client.flush()
    closedloop.say(0)
    await asyncio.Event().wait()


async def unary(load: closedloop.Load) -> None:
    client = await connected()
    payload = load.payload

    async def one() -> object:
        return await client.request("bench", payload, timeout=5)

    await load.measure(closedloop.each(one))
    await client.close()


if __name__ == "__main__":
    closedloop.peer(serve, {"unary": unary})
