"""A caller of HTTP/2 that sends what a test says: our link, without our client."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import anyio
from micro_core import Head
from micro_http.http2.decoder import Names
from micro_http.http2.ends import ClientLink
from micro_http.http2.sending import Stream
from micro_http.http2.streams import Bounds

TARGET = (":method", "POST"), (":scheme", "http")


@dataclass
class Answer:
    """What came back."""

    head: Head = field(default_factory=dict)
    body: bytes = b""
    trailer: Head = field(default_factory=dict)
    reset: int | None = None

    @property
    def status(self) -> str | None:
        return self.trailer.get("grpc-status", self.head.get("grpc-status"))

    @property
    def message(self) -> str:
        return self.trailer.get("grpc-message", self.head.get("grpc-message", ""))


class _Asking(Stream):
    collects = True

    def __init__(self) -> None:
        self.answer = Answer()
        self.over = False

    def on_head(self, head: Head, end: bool) -> None:
        self.answer.head, self.over = head, end

    def on_data(self, data: bytes, end: bool) -> None:
        self.answer.body += data
        self.over = end

    def on_trailer(self, head: Head) -> None:
        self.answer.trailer, self.over = head, True

    def on_reset(self, fault: int, text: str, processed: bool) -> None:
        if not self.over:
            self.answer.reset, self.over = fault, True


def message(body: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BL", flags, len(body)) + body


async def ask(address: str, path: str, body: bytes | None, head: Head | None = None) -> Answer:
    """One request, `te` and content type of gRPC included; a body of None is a head that ends the stream."""
    host, _, port = address.rpartition(":")
    sent = {"content-type": "application/grpc+json", "te": "trailers", **(head or {})}
    asking = _Asking()
    link = ClientLink(Bounds(), anyio.current_time, Names(), lambda: None)
    link.open(asking)
    block = link.encoder.encode(sent, *TARGET, (":path", path), (":authority", address))
    link.send_head(asking, block, body is None)
    if body is not None:
        link.send_data(asking, body, True)
    with anyio.fail_after(10):
        async with await anyio.connect_tcp(host, int(port)) as wire:
            while not asking.over:
                if data := link.collect():
                    await wire.send(data)
                link.receive(await wire.receive())
    return asking.answer
