"""Ours through the whole stack: registry cache, selector, codec, a middleware of the server, metadata; typed JSON.

`BENCH_TLS` names the folder with the certificates where the transport is to speak TLS.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import anyio
import closedloop
import micro
from micro import Call, CallNext, Reply
from micro_core.loader import load as plugin
from micro_core.options import option_fields

TLS = os.environ.get("BENCH_TLS")
METADATA = {"tenant": "acme"}
QUOTES = len('{"text":""}')


@dataclass
class Payload:
    text: str


class Echo:
    async def echo(self, request: Payload) -> Payload:
        return request

    async def many(self, request: Payload) -> AsyncIterator[Payload]:
        for _ in range(closedloop.MESSAGES):
            yield request

    async def pong(self, requests: AsyncIterator[Payload]) -> AsyncIterator[Payload]:
        async for request in requests:
            yield request


async def passes(call: Call, call_next: CallNext) -> Reply:
    return await call_next(call)


def of(size: int) -> Payload:
    """A payload that is as long in JSON."""
    return Payload("x" * (size - QUOTES))


async def serve(handler: object) -> None:
    service = micro.Service("bench", server_middleware=[passes])
    service.handler(handler)
    async with service:
        closedloop.say(service.address.rpartition(":")[2])
        await anyio.sleep_forever()


async def million(load: closedloop.Load) -> None:
    """So many calls, as the load says instead of seconds, a line, and again for as long as lines come."""
    payload = of(load.size)
    async with micro.Client() as client:

        async def calling(calls: int) -> None:
            for _ in range(calls):
                await client.call("bench", "Echo.Echo", payload, Payload, metadata=METADATA)

        while True:
            await closedloop.together([lambda: calling(int(load.seconds) // load.callers)] * load.callers)
            closedloop.say("done")
            if not sys.stdin.readline():
                return


async def unary(payload_of: Callable[[int], object], load: closedloop.Load) -> None:
    payload = payload_of(load.size)
    async with micro.Client() as client:

        async def one() -> object:
            return await client.call("bench", "Echo.Echo", payload, type(payload), metadata=METADATA)

        await load.measure(closedloop.each(one))


async def one_way(payload_of: Callable[[int], object], load: closedloop.Load) -> None:
    payload = payload_of(load.size)
    async with micro.Client() as client:

        async def one() -> object:
            async with client.stream("bench", "Echo.Many", type(payload), metadata=METADATA) as replies:
                await replies.send(payload)
                await replies.end()
                return sum([1 async for _ in replies])

        await load.measure(closedloop.each(one))


async def ping_pong(payload_of: Callable[[int], object], load: closedloop.Load) -> None:
    payload = payload_of(load.size)
    async with micro.Client() as client:

        @asynccontextmanager
        async def caller() -> AsyncIterator[closedloop.One]:
            async with client.stream("bench", "Echo.Pong", type(payload), metadata=METADATA) as stream:

                async def one() -> object:
                    await stream.send(payload)
                    return await anext(stream)

                yield one
                await stream.end()

        await load.measure(caller)


def peer(handler: object, payload_of: Callable[[int], object]) -> None:
    """The program: what it serves, and what it sends, of so many bytes."""
    loads: dict[str, Any] = {"unary": unary, "oneway": one_way, "pingpong": ping_pong}
    mine = {name: partial(load, payload_of) for name, load in loads.items()}
    closedloop.peer(partial(serve, handler), {**mine, "million": million})


def use_tls(folder: Path) -> None:
    """Both ends read the same files. Ends the program where the transport knows no TLS."""
    if "tls_cert" not in option_fields(plugin("transport", "http").cls.Options):
        sys.exit("transport http of this tree knows no option tls_cert")
    for option, file in {"CERT": "service.pem", "KEY": "service.key", "CA": "ca.pem"}.items():
        os.environ[f"MICRO_TRANSPORT_TLS_{option}"] = str(folder / file)


def assert_tls(folder: Path, port: int) -> None:
    """Ends the program where the server there speaks no HTTP/2 over TLS: nothing else is to be measured."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", port))
    with context.wrap_socket(plain, server_hostname="bench") as secure:
        if secure.selected_alpn_protocol() != "h2":
            sys.exit("the server speaks no HTTP/2 over TLS")


if __name__ == "__main__":
    if TLS:
        use_tls(Path(TLS))
        if sys.argv[1] != "serve":
            assert_tls(Path(TLS), int(sys.argv[2]))
    peer(Echo(), of)
