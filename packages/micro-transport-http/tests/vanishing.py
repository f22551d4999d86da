"""A process that calls, or serves, until it is killed.

python vanishing.py call <never|always> <address>      a call and four streams to that address; prints `waiting`,
                                                       and `full` when one of them can send no more
python vanishing.py serve <never|always>               prints its address; no call to it ever ends
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from micro_conformance.works import HEAD, STREAM_HEAD, echo_stream, hang, listening
from micro_core import Message
from micro_http import HTTP2
from micro_transport_http import HTTPTransport

LONG = 600.0
KINDS = ("call", "quiet", "sends", "ended", "fills")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def use(transport: HTTPTransport, address: str, kind: str, deadline: float) -> None:
    """A call that waits, or a stream: quiet, that sends, that has ended its side, or more than the other reads."""
    if kind == "call":
        await transport.call(address, Message({**HEAD, "x-kind": kind}), deadline=deadline)
    exchange = await transport.open(address, {**STREAM_HEAD, "x-kind": kind}, deadline=deadline)
    await exchange.send(b"first")
    with suppress(TimeoutError):
        while kind == "fills":
            async with asyncio.timeout(0.3):
                await exchange.send(bytes(50_000))
    if kind == "fills":
        say("full")
    if kind == "ended":
        await exchange.end()
    while kind == "sends":
        await exchange.send(b"x")
        await exchange.recv()
        await asyncio.sleep(0.001)
    while True:
        await exchange.recv()


async def call(http2: HTTP2, address: str) -> None:
    async with HTTPTransport(HTTPTransport.Options(http2=http2)) as transport:
        deadline = asyncio.get_running_loop().time() + LONG
        uses = [asyncio.ensure_future(use(transport, address, kind, deadline)) for kind in KINDS]
        say("waiting")
        await asyncio.gather(*uses)


async def serve(http2: HTTP2) -> None:
    async with (
        HTTPTransport(HTTPTransport.Options(http2=http2)) as transport,
        listening(transport, "127.0.0.1:0", unary=hang, stream=echo_stream) as behind,
    ):
        say(behind.address)
        await asyncio.sleep(LONG)


if __name__ == "__main__":
    version = HTTP2(sys.argv[2])
    asyncio.run(serve(version) if sys.argv[1] == "serve" else call(version, sys.argv[3]))
