"""The service that every peer has, written in Python, with the messages of `peer/messages.go` or plain types."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import micro
from greeter_pb2 import Reply, Request

LEFT = 499
"""The code of the error that a handler gets who waits for a request of a caller that is gone."""


class Say:
    """`tell` hears how streams and calls ended."""

    def __init__(self, tell: Callable[[str, Any], None]) -> None:
        self._tell = tell

    async def hello(self, request: Request) -> Reply:
        return Reply(msg=f"Hello {request.name}", seq_no=request.count_to)

    async def echo(self, request: Request) -> Reply:
        return Reply(msg=request.name, seq_no=len(request.tags))

    async def nothing(self) -> None:
        return

    async def fail(self, request: Request) -> Reply:
        raise failure(request)

    async def sleep(self, request: Request) -> Reply:
        remaining = micro.context().remaining
        try:
            await anyio.sleep(request.sleep_ms / 1000)
        except anyio.get_cancelled_exc_class():
            self._tell("expired", "cancelled")
            raise
        return Reply(msg="slept", seq_no=0 if remaining is None else int(remaining * 1000))

    async def meta(self, request: Request) -> Reply:
        return Reply(msg=json.dumps(dict(micro.context().metadata)))

    async def raw(self, data: bytes) -> bytes:
        return data

    async def count(self, request: Request) -> AsyncIterator[Reply]:
        try:
            for number in range(1, request.count_to + 1):
                yield Reply(msg=request.name, seq_no=number)
                await anyio.sleep(request.sleep_ms / 1000)
        except (anyio.get_cancelled_exc_class(), GeneratorExit):
            self._tell("count", "cancelled")
            raise
        if request.error_code:
            raise failure(request)

    async def chat(self, requests: AsyncIterator[Request]) -> AsyncIterator[Reply]:
        try:
            async for request in requests:
                if request.error_code:
                    raise failure(request)
                yield Reply(msg=request.name, seq_no=request.count_to)
        except (anyio.get_cancelled_exc_class(), GeneratorExit):
            self._tell("chat", "cancelled")
            raise
        except micro.errors.RPCError as error:
            if error.code == LEFT:
                self._tell("chat", "cancelled")
            raise
        self._tell("chat", "EOF")


@dataclass
class PlainRequest:
    name: str
    count_to: int = 0


@dataclass
class PlainReply:
    msg: str
    seq_no: int


class Plain:
    """Say.Hello in types that know nothing of protobuf."""

    async def hello(self, request: PlainRequest) -> PlainReply:
        return PlainReply(f"Hello {request.name}", request.count_to)


def failure(request: Request) -> Exception:
    if not request.error_code:
        return ValueError(request.name)
    return micro.errors.RPCError(request.name, id="interop.say", code=request.error_code)


def main() -> None:
    """Serves it as a process: name and all else come from the environment."""
    service = micro.Service("greeter")
    service.handler(Say(lambda what, value: None))
    service.run()


if __name__ == "__main__":
    main()
