"""aiohttp at both ends: bytes in, the same bytes out."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop
from aiohttp import ClientSession, TCPConnector, web


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def serve() -> None:
    app = web.Application()
    app.router.add_post("/echo", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    closedloop.say(runner.addresses[0][1])
    await asyncio.Event().wait()


async def unary(load: closedloop.Load) -> None:
    payload = load.payload
    url = f"http://127.0.0.1:{load.port}/echo"
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def one() -> object:
            async with session.post(url, data=payload) as reply:
                return await reply.read()

        await load.measure(closedloop.each(one))


if __name__ == "__main__":
    closedloop.peer(serve, {"unary": unary})
