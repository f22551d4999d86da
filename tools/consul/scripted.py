"""A small HTTP server that answers as a test says, for what an agent cannot be made to do.

It lives in the event loop of its test and tells time by the loop's clock. `simulated` runs a test on one that jumps to
the next deadline as soon as everybody waits: what takes a minute costs nothing, and takes a minute on any machine.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from http import HTTPStatus
from itertools import pairwise
from typing import Any, ParamSpec, TypeAlias, cast

import anyio
import trio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from trio.testing import MockClock

P = ParamSpec("P")
Reply: TypeAlias = "tuple[int, dict[str, str], bytes]"
Script: TypeAlias = "Callable[[Asked], Reply | Awaitable[Reply]]"

QUIET = 0.01
"""Seconds without a word on any socket after which everybody waits for the clock alone."""

MAX_HEAD = 65536


@dataclass(frozen=True)
class Asked:
    """One request; `at` is when it came, by the loop's clock."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=anyio.current_time)

    @property
    def index(self) -> int:
        """The index that it waits on, 0 for none."""
        return int(self.path.partition("index=")[2].partition("&")[0] or 0)


def answer(value: Any, index: int = 10) -> Reply:
    """An answer as Consul gives it."""
    return 200, {"X-Consul-Index": str(index)}, json.dumps(value).encode()


class HangUp(Exception):
    """Raised by a script that ends the connection without an answer."""


class Scripted:
    """The server; `asked` is every request so far, `script` may be changed while it runs."""

    def __init__(self, script: Script, address: str) -> None:
        self.script = script
        self.address = address
        self.asked: list[Asked] = []

    def gaps(self, since: int = 0) -> list[float]:
        """Seconds between one request and the next, from one of them on."""
        times = [asked.at for asked in self.asked[since:]]
        return [later - earlier for earlier, later in pairwise(times)]

    async def serve(self, stream: ByteStream) -> None:
        """Answers on one connection until it ends."""
        async with stream:
            received = BufferedByteReceiveStream(stream)
            try:
                while True:
                    reply = await self._reply(await _request(received))
                    await stream.send(reply)
                    if b"\r\nConnection: close\r\n" in reply:
                        return
            except (HangUp, anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async def _reply(self, asked: Asked) -> bytes:
        self.asked.append(asked)
        given = self.script(asked)
        status, headers, content = given if isinstance(given, tuple) else await given
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in {"Content-Length": str(len(content)), **headers}.items()]
        return "\r\n".join([*lines, "", ""]).encode() + content


async def _request(received: BufferedByteReceiveStream) -> Asked:
    first, *lines = (await received.receive_until(b"\r\n\r\n", MAX_HEAD)).decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(method, path, headers, await received.receive_exactly(int(headers.get("content-length", 0))))


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Scripted]:
    """Runs a server for the length of a block."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        server = Scripted(script, f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        tasks.start_soon(listener.serve, server.serve)
        try:
            yield server
        finally:
            tasks.cancel_scope.cancel()


def simulated(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Makes an async test run on a clock that jumps when everybody waits; what it talks to lives in its loop, too."""

    @wraps(test)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        trio.run(cast("Any", partial(test, *arguments, **options)), clock=MockClock(autojump_threshold=QUIET))

    return run
