"""A client and a server of which one is Go Micro's and the other ours; tests do not see which is which."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio
import go_peer
import micro
from go_peer import GoPeer
from google.protobuf.message import Message
from greeter_pb2 import Reply, Request
from matrix import BYTES, FROM_GO, JSON, V2, Cell
from micro import errors
from micro_core import Node, ServiceRecord
from micro_registry_memory import MemoryRegistry
from say import Plain, PlainReply, PlainRequest, Say


@dataclass(frozen=True)
class Failure:
    """An error as its caller got it."""

    id: str
    code: int
    detail: str
    status: str

    @classmethod
    def of(cls, told: Any) -> Failure:
        """From what a Go client tells, or from one of our errors."""
        if isinstance(told, errors.RPCError):
            return cls(told.id, told.code, told.detail, told.status)
        return cls(told["id"], told["code"], told["detail"], told["status"])


@dataclass(frozen=True)
class Ask:
    """One call, or the opening of a stream."""

    endpoint: str
    request: Any = field(default_factory=Request)
    codec: str = JSON
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 5.0
    service: str = "greeter"
    protocol: str = "mucp"
    """What the node that is called says that it speaks; empty for nothing."""


@dataclass(frozen=True)
class Answer:
    """What came of a call, or of a stream in the end."""

    value: Any = None
    error: Failure | None = None


@dataclass(frozen=True)
class Streamed:
    """What a stream brought, and how it ended."""

    messages: list[Reply]
    error: Failure | None


class Pair(ABC):
    """A client beside its server."""

    @abstractmethod
    async def call(self, ask: Ask) -> Answer:
        """Calls once. A reply comes as bytes, or as an object of the fields that are not empty."""

    @abstractmethod
    async def stream(self, ask: Ask, leave: int = 0) -> Streamed:
        """Sends one request and takes the replies; leaves after so many."""

    @abstractmethod
    async def chat(self, ask: Ask, count: int, *, end: bool = False) -> Streamed:
        """Sends so many requests, each after the reply to the one before; then leaves.

        With `end` a client of ours ends its side and waits for the other to. In mucp there is none of that (WIRE §5.4).
        """

    @abstractmethod
    async def told(self, what: str, *, within: float = go_peer.PATIENCE) -> Any:
        """What the server's handler tells next of this kind. Raises AssertionError when it does not."""


@asynccontextmanager
async def pair_of(cell: Cell) -> AsyncIterator[Pair]:
    """A server and what calls it, in the direction of the cell, with no registry between them."""
    if cell.direction == FROM_GO:
        async with served() as (service, told):
            yield FromGo(cell.release, service.address, told)
    else:
        async with go_peer.running(cell.release, "serve") as peer:
            address = (await peer.told("ready"))["address"]
            says = {"protocol": "grpc"} if cell.release == V2 else {}
            record = ServiceRecord("greeter", "latest", (Node("alone", address, says),))
            async with MemoryRegistry(MemoryRegistry.Options("alone")) as registry:
                await registry.register(record, ttl=0)
                async with micro.Client(registry=registry, broker="memory") as client:
                    yield FromPython(client, peer, "" if says else address)


class Told:
    """What handlers of ours tell."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[tuple[str, Any]](100)

    def tell(self, what: str, value: Any) -> None:
        self._send.send_nowait((what, value))

    async def next(self, what: str, within: float) -> Any:
        with anyio.move_on_after(within):
            kind, value = await self._receive.receive()
            assert kind == what
            return value
        raise AssertionError(f"no handler told {what!r} within {within:g} s")

    def close(self) -> None:
        self._send.close()
        self._receive.close()


@asynccontextmanager
async def served(name: str = "greeter", **arguments: Any) -> AsyncIterator[tuple[micro.Service, Told]]:
    """Our service, in a mesh of its own unless told otherwise."""
    told = Told()
    service = micro.Service(name, **{"registry": "memory", "broker": "memory", **arguments})
    service.handler(Say(told.tell))
    service.handler(Plain())
    try:
        async with service:
            yield service, told
    finally:
        told.close()


class FromGo(Pair):
    """A Go client and our server."""

    def __init__(self, release: str, address: str, told: Told) -> None:
        self._release = release
        self._address = address
        self._told = told

    async def call(self, ask: Ask) -> Answer:
        kind = {"raw": ask.codec == BYTES, "open": isinstance(ask.request, dict | PlainRequest)}
        told = dict(await self._run("call", ask, **kind))["reply"]
        if "error" in told:
            return Answer(error=Failure.of(told["error"]))
        return Answer(base64.b64decode(told["data"] or "") if "data" in told else told["value"])

    async def stream(self, ask: Ask, leave: int = 0) -> Streamed:
        return streamed(await self._run("stream", ask, leave=leave))

    async def chat(self, ask: Ask, count: int, *, end: bool = False) -> Streamed:
        return streamed(await self._run("chat", ask, count=count))

    async def told(self, what: str, *, within: float = go_peer.PATIENCE) -> Any:
        return await self._told.next(what, within)

    async def _run(self, command: str, ask: Ask, **flags: go_peer.Flag) -> list[tuple[str, Any]]:
        flags |= {
            "address": self._address,
            "service": ask.service,
            "endpoint": ask.endpoint,
            "codec": "application/grpc+bytes" if (self._release, ask.codec) == (V2, BYTES) else ask.codec,
            "metadata": ask.metadata,
            "timeout": f"{ask.timeout:g}s",
            "protocol": ask.protocol,
        }
        return await go_peer.run(self._release, command, written(ask.request), **flags)


def written(request: Any) -> bytes:
    """A request as a peer reads it."""
    return request if isinstance(request, bytes) else json.dumps(fields(request)).encode()


def fields(value: Any) -> dict[str, Any]:
    """Those that are not empty: Go Micro leaves out the others."""
    if isinstance(value, Message):
        found = {field.name: value for field, value in value.ListFields()}
        return {name: list(value) if name == "tags" else value for name, value in found.items()}
    every = asdict(value) if isinstance(value, PlainRequest | PlainReply) else value or {}
    return {name: value for name, value in every.items() if value}


def streamed(lines: list[tuple[str, Any]]) -> Streamed:
    """What a Go client of a stream told."""
    messages = [Reply(**value) for what, value in lines if what == "message"]
    end: dict[str, Any] = next((value for what, value in lines if what == "end"), {})
    return Streamed(messages, Failure.of(end["error"]) if "error" in end else None)


REPLIES: dict[type, Any] = {bytes: bytes, dict: dict[str, Any], PlainRequest: PlainReply}
"""Which reply belongs to a request, other than to one of protobuf."""


class FromPython(Pair):
    """Our client and a Go server, at its address or, where there is none, as a registry tells of it."""

    def __init__(self, client: micro.Client, peer: GoPeer, address: str) -> None:
        self._client = client
        self._peer = peer
        self._address = address

    async def call(self, ask: Ask) -> Answer:
        reply_type: Any = REPLIES.get(type(ask.request), Reply)
        try:
            value = await self._client.call(
                ask.service, ask.endpoint, ask.request, reply_type, timeout=ask.timeout, **self._options(ask)
            )
        except errors.RPCError as error:
            return Answer(error=Failure.of(error))
        return Answer(value if ask.codec == BYTES else fields(value))

    async def stream(self, ask: Ask, leave: int = 0) -> Streamed:
        messages: list[Reply] = []
        try:
            async with self._opened(ask) as stream:
                await stream.send(ask.request)
                async for message in stream:
                    messages.append(message)
                    if len(messages) == leave:
                        break
        except errors.RPCError as error:
            return Streamed(messages, Failure.of(error))
        return Streamed(messages, None)

    async def chat(self, ask: Ask, count: int, *, end: bool = False) -> Streamed:
        messages: list[Reply] = []
        try:
            async with self._opened(ask) as stream:
                for number in range(1, count + 1):
                    code = ask.request.error_code if number == count else 0
                    await stream.send(Request(name=ask.request.name, count_to=number, error_code=code))
                    messages.append(await stream.recv())
                if end:
                    await stream.end()
                    messages += [message async for message in stream]
        except errors.RPCError as error:
            return Streamed(messages, Failure.of(error))
        return Streamed(messages, None)

    async def told(self, what: str, *, within: float = go_peer.PATIENCE) -> Any:
        return await self._peer.told(what, within=within)

    def _opened(self, ask: Ask) -> micro.Stream[Reply]:
        return self._client.stream(ask.service, ask.endpoint, Reply, request=Request, **self._options(ask))

    def _options(self, ask: Ask) -> Any:
        address = self._address if ask.protocol else ""
        return {"address": address or None, "content_type": ask.codec, "metadata": ask.metadata}
