"""The service behind the captured bytes, once with types of JSON and once with its protobuf messages."""

from __future__ import annotations

from typing import Any, NamedTuple

import greeter_pb2
import msgspec
from micro_core import Call, Endpoint, Handler, Reply
from micro_core.errors import BadRequest, NotFound

SERVICE = "go.micro.srv.greeter"
STREAMS = ("Say.Count", "Say.Chat")


class Request(msgspec.Struct, omit_defaults=True):
    name: str = ""
    count_to: int = 0
    error_code: int = 0
    sleep_ms: int = 0
    tags: list[str] = []


class Answer(msgspec.Struct, omit_defaults=True):
    msg: str = ""
    seq_no: int = 0


class Types(NamedTuple):
    """What an endpoint takes and gives."""

    request: Any
    reply: Any


JSON = Types(Request, Answer)
PROTOBUF = Types(greeter_pb2.Request, greeter_pb2.Reply)


def handlers(types: Types) -> list[Handler]:
    """`Say`, as the Go programs had it."""

    async def hello(call: Call) -> Reply:
        return Reply(types.reply(msg=f"Hello {call.request.name}", seq_no=call.request.count_to))

    async def nothing(call: Call) -> Reply:
        return Reply(types.reply())

    async def fail(call: Call) -> Reply:
        raise _error(call.request.error_code)

    async def count(call: Call) -> Reply:
        assert call.stream is not None
        request = await call.stream.recv()
        for number in range(1, request.count_to + 1):
            await call.stream.send(types.reply(msg=request.name, seq_no=number))
        if request.error_code:
            raise _error(request.error_code)
        return Reply()

    async def chat(call: Call) -> Reply:
        assert call.stream is not None
        number = 0
        while True:
            request = await call.stream.recv()
            if request.error_code:
                raise _error(request.error_code)
            number += 1
            await call.stream.send(types.reply(msg=f"echo {request.name}", seq_no=number))

    unary = {"Say.Hello": hello, "Say.Nothing": nothing, "Say.Fail": fail}
    streams = dict(zip(STREAMS, (count, chat), strict=True))
    return [
        Handler(Endpoint(name), types.request, types.reply, name in STREAMS, handle)
        for name, handle in {**unary, **streams}.items()
    ]


def _error(code: int) -> Exception:
    return NotFound("no such name") if code == 404 else BadRequest('bad name "x"')
