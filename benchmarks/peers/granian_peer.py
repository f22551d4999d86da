"""granian (RSGI) and pyreqwest, both written in Rust: bytes in, the same bytes out."""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop

MANY = 1000


async def app(scope: Any, protocol: Any) -> None:
    body = await protocol()
    protocol.response_bytes(200, [("content-type", "application/octet-stream")], body)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def say_when_it_listens(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            closedloop.say(port)
            return


def run_server() -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops

    port = free_port()
    threading.Thread(target=say_when_it_listens, args=(port,), daemon=True).start()
    Granian(
        "granian_peer:app",
        port=port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        working_dir=Path(__file__).parent,
    ).serve()


async def unary(load: closedloop.Load) -> None:
    from pyreqwest.client import ClientBuilder

    payload = load.payload
    url = f"http://127.0.0.1:{load.port}/echo"
    async with ClientBuilder().max_connections(MANY).pool_max_idle_per_host(MANY).build() as client:

        async def one() -> object:
            reply = await client.post(url).body_bytes(payload).build().send()
            return await reply.bytes()

        await load.measure(closedloop.each(one))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        run_server()
    else:
        closedloop.client({"unary": unary})
