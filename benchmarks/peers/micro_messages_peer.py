"""Ours with the messages of `gomicro`, so that the other end may be Go Micro."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop
import micro_peer
from google.protobuf.wrappers_pb2 import BytesValue


class Echo:
    async def echo(self, request: BytesValue) -> BytesValue:
        return request

    async def many(self, request: BytesValue) -> AsyncIterator[BytesValue]:
        for _ in range(closedloop.MESSAGES):
            yield request

    async def pong(self, requests: AsyncIterator[BytesValue]) -> AsyncIterator[BytesValue]:
        async for request in requests:
            yield request


if __name__ == "__main__":
    micro_peer.peer(Echo(), lambda size: BytesValue(value=b"x" * size))
