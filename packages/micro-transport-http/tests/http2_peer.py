"""A server of HTTP/2 that does what a test says: our link, without our server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
from anyio.abc import SocketAttribute, SocketStream
from micro_core import Head
from micro_http.http2.decoder import Names
from micro_http.http2.ends import ServerLink
from micro_http.http2.sending import Stream
from micro_http.http2.streams import Bounds


class Called(Stream):
    """One call; the script is asked when it is complete."""

    collects = True

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.body = b""

    def on_head(self, head: Head, end: bool) -> None:
        if end:
            self.connection.script(self.connection, self)

    def on_data(self, data: bytes, end: bool) -> None:
        self.body += data
        if end:
            self.connection.script(self.connection, self)

    def on_trailer(self, head: Head) -> None:
        self.connection.script(self.connection, self)

    def on_reset(self, fault: int, text: str, processed: bool) -> None:
        self.connection.resets.append(fault)

    def answer(self, body: bytes = b"") -> None:
        link = self.connection.link
        block = link.encoder.encode({}, (":status", "200"))
        link.send_whole(self, block, body, 1)


Script: TypeAlias = "Callable[[Connection, Called], None]"


class Connection:
    """One connection: its place in the order in which they came, and what was reset on it."""

    def __init__(self, number: int, script: Script) -> None:
        self.number = number
        self.script = script
        self.resets: list[int] = []
        self.deaf = False
        self.closed = False
        self.stream: SocketStream | None = None
        self.link = ServerLink(Bounds(), anyio.current_time, Names(), lambda: None, lambda: Called(self))

    async def serve(self, stream: SocketStream) -> None:
        self.stream = stream
        async with stream:
            try:
                await self.say()
                async for data in stream:
                    if not self.deaf:
                        self.link.receive(data)
                        await self.say()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            self.closed = True

    async def say(self) -> None:
        """Sends what the link has to say."""
        assert self.stream is not None
        await self.stream.send(self.link.collect())


@asynccontextmanager
async def http2_peer(script: Script) -> AsyncIterator[tuple[str, list[Connection]]]:
    """The address of a peer that asks `script` what to do with each call, and its connections."""
    connections: list[Connection] = []

    async def serve(stream: SocketStream) -> None:
        connections.append(Connection(len(connections), script))
        await connections[-1].serve(stream)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}", connections
        group.cancel_scope.cancel()
