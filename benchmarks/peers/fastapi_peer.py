"""FastAPI behind uvicorn with uvloop and httptools, called by httpx: typed JSON, as their tutorials have it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop
import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

QUOTES = len('{"text":""}')
MANY = 1000


class Payload(BaseModel):
    text: str


async def echo(request: Payload) -> Payload:
    return request


async def serve() -> None:
    app = FastAPI()
    app.post("/echo")(echo)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    bound = socket.create_server(("127.0.0.1", 0), backlog=1024)
    closedloop.say(bound.getsockname()[1])
    await uvicorn.Server(config).serve(sockets=[bound])


async def unary(load: closedloop.Load) -> None:
    payload = Payload(text="x" * (load.size - QUOTES))
    headers = {"content-type": "application/json"}
    limits = httpx.Limits(max_connections=MANY, max_keepalive_connections=MANY)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{load.port}", limits=limits, headers=headers) as client:

        async def one() -> object:
            reply = await client.post("/echo", content=payload.model_dump_json())
            return Payload.model_validate_json(reply.content)

        await load.measure(closedloop.each(one))


if __name__ == "__main__":
    closedloop.peer(serve, {"unary": unary})
