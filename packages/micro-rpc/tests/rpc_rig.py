"""A fixed discovery, a selector that goes in order, and a service over the memory transport."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import anyio.lowlevel
from micro_core import (
    Call,
    CallNext,
    Discovery,
    Endpoint,
    Filter,
    Handler,
    Head,
    Listener,
    Message,
    Node,
    NodeSet,
    NoOptions,
    Outcome,
    Peer,
    Reply,
    Selector,
    ServiceNotFound,
    Transport,
    UnaryCall,
    errors,
)
from micro_core.loader import ContentTypes
from micro_rpc import RPCClient, RPCServer


class FixedDiscovery(Discovery):
    """Knows what it is told, and keeps what is reported."""

    def __init__(self, nodes: Sequence[Node] = (), endpoints: Sequence[Endpoint] = ()) -> None:
        self.endpoints = MappingProxyType({endpoint.name: endpoint for endpoint in endpoints})
        self.reports: list[tuple[str, Outcome]] = []
        self.finds = 0
        self.set(nodes)

    def set(self, nodes: Sequence[Node]) -> None:
        self.nodes = NodeSet("greeter", tuple(nodes), self.endpoints)

    def known(self, service: str, filter: Filter | None = None) -> NodeSet | None:
        return self.nodes if service == "greeter" and self.nodes.nodes else None

    async def find(self, service: str, filter: Filter | None = None, *, deadline: float) -> NodeSet:
        self.finds += 1
        await anyio.lowlevel.checkpoint()
        if service != "greeter" or not self.nodes.nodes:
            raise ServiceNotFound(f"no node of {service!r}")
        return self.nodes

    def report(self, service: str, node: Node, outcome: Outcome) -> None:
        self.reports.append((node.id, outcome))


class InOrder(Selector):
    """The nodes as they are listed. Counts what was taken and given back."""

    def __init__(self, options: NoOptions) -> None:
        self.taken: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self.outcomes: list[Outcome] = []

    def select(self, nodes: NodeSet, *, key: bytes | None = None) -> Iterator[Node]:
        for node in nodes.nodes:
            self.taken[node.id] += 1
            yield node

    def done(self, node: Node, outcome: Outcome, seconds: float) -> None:
        assert seconds >= 0
        self.given[node.id] += 1
        self.outcomes.append(outcome)


class Rig:
    """One client and any number of servers of `greeter` on one memory store."""

    def __init__(self, stack: AsyncExitStack, transport: Transport, codecs: ContentTypes) -> None:
        self.stack = stack
        self.transport = transport
        self.codecs = codecs
        self.discovery = FixedDiscovery()
        self.selector = InOrder(NoOptions())
        self.listeners: list[Listener] = []

    async def serve(self, *handlers: Handler, transport: Transport | None = None, **options: Any) -> Listener:
        server = RPCServer(transport or self.transport, self.codecs, RPCServer.Options(**options))
        await self.stack.enter_async_context(server)
        listener = await server.serve("greeter:0", "greeter", handlers)
        self.listeners.append(listener)
        nodes = self.discovery.nodes.nodes
        self.discovery.endpoints = MappingProxyType({handler.endpoint.name: handler.endpoint for handler in handlers})
        self.discovery.set((*nodes, Node(f"node-{len(nodes) + 1}", listener.address, {"protocol": "mucp"})))
        return listener

    async def client(self, transport: Transport | None = None, **options: Any) -> RPCClient:
        options = {"backoff": 0.001, "backoff_max": 0.005, **options}
        client = RPCClient(
            self.discovery, self.selector, transport or self.transport, self.codecs, RPCClient.Options(**options)
        )
        return await self.stack.enter_async_context(client)

    def settled(self) -> bool:
        return self.selector.taken == self.selector.given


@asynccontextmanager
async def rig_of(make_transport: Callable[[], Transport]) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(make_transport())
        rig = Rig(stack, transport, ContentTypes())
        yield rig
        assert rig.settled()


def unary(function: Callable[[Any], Any], request: Any = Any, reply: Any = Any, **options: Any) -> Handler:
    """A handler of `Say.Hello` that answers what the function makes of the call."""

    async def handle(call: Call) -> Reply:
        value = function(call)
        return Reply(await value if hasattr(value, "__await__") else value)

    return _handler(handle, request, reply, streaming=False, **options)


def streaming(handle: CallNext, request: Any = Any, reply: Any = Any, **options: Any) -> Handler:
    """A streaming handler of `Say.Chat`."""
    return _handler(handle, request, reply, streaming=True, **{"name": "Say.Chat", **options})


def _handler(
    handle: CallNext, request: Any, reply: Any, *, streaming: bool, name: str = "Say.Hello", idempotent: bool = False
) -> Handler:
    endpoint = Endpoint(name)
    if idempotent:
        endpoint = replace(endpoint, metadata={"idempotent": "true"})
    return Handler(endpoint, request, reply, streaming, handle)


def hello(request: Any = None, timeout: float | None = None, **options: Any) -> Call:
    """A call of `Say.Hello`."""
    call = Call("greeter", options.pop("endpoint", "Say.Hello"), request)
    if timeout is not None:
        call.deadline = anyio.current_time() + timeout if timeout < math.inf else timeout
    for name, value in options.items():
        setattr(call, name, value)
    return call


PEER = Peer("127.0.0.1:1")


class Wire:
    """The accept function that the server gave its transport, and the calls that came through."""

    def __init__(self, rig: Rig, listener: Listener, calls: list[Call]) -> None:
        self.rig = rig
        self.listener = listener
        self.calls = calls
        self.accept: Any = listener._inner._accept  # type: ignore[attr-defined]

    async def answer(self, head: Head, body: bytes = b"{}") -> Message:
        work = self.accept(dict(head), PEER)
        if isinstance(work, Message):
            return work
        assert isinstance(work, UnaryCall)
        reply = await work.run(body)
        assert reply is not None
        return reply

    async def error(self, head: Head, body: bytes = b"{}") -> Any:
        return json.loads((await self.answer(head, body)).head["micro-error"])


async def wire_of(rig: Rig, **options: Any) -> Wire:
    """A service of `Say.Hello`, `Say.Number`, which takes an int, and `Say.Chat`, a stream."""
    calls: list[Call] = []

    def handle(call: Call) -> Any:
        calls.append(call)
        if call.request == {"fail": True}:
            raise errors.Conflict("no")
        return {"got": call.request}

    async def chat(call: Call) -> Reply:
        return Reply()

    listener = await rig.serve(unary(handle), unary(handle, int, name="Say.Number"), streaming(chat), **options)
    return Wire(rig, listener, calls)
