"""The greeter: unary, server streaming and bidirectional, and which process answered."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import micro

service = micro.Service("greeter")


@dataclass
class HelloRequest:
    name: str


@dataclass
class HelloReply:
    message: str
    process: int


@dataclass
class CountTo:
    limit: int


@service.handler
class Say:
    @micro.endpoint(idempotent=True)
    async def hello(self, request: HelloRequest) -> HelloReply:
        return HelloReply(f"Hello {request.name}", os.getpid())

    async def count(self, request: CountTo) -> AsyncIterator[int]:
        for number in range(1, request.limit + 1):
            yield number

    async def chat(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        async for message in messages:
            yield f"You said {message}"


if __name__ == "__main__":
    service.run()
