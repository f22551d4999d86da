"""A client and a server under test, with the kit's own parts around them."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, cast

import anyio
import pytest
from micro_core import (
    Call,
    CallNext,
    Client,
    Codecs,
    Discovery,
    Endpoint,
    Handler,
    Head,
    Listener,
    Message,
    Node,
    Selector,
    Server,
    Transport,
)

from micro_conformance.exchange import MakeTransport
from micro_conformance.parts import FixedDiscovery, OrderedSelector, PlainCodecs
from micro_conformance.suite import ComponentSuite, Make
from micro_conformance.works import Behind, hang, listening

MakeClient: TypeAlias = Callable[[Discovery, Selector, Transport, Codecs], AbstractAsyncContextManager[Client]]
MakeServer: TypeAlias = Callable[[Transport, Codecs], AbstractAsyncContextManager[Server]]

SERVICE = "conformance"
OWN: Mapping[str, str] = {"protocol": "mucp", "micro-py": "0.1.0"}
"""What our own nodes say of themselves (WIRE §5.6, §12)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The three factories."""

    make_transport: MakeTransport
    make_client: MakeClient
    make_server: MakeServer


@dataclass(frozen=True, slots=True)
class Pair:
    """A client, and a server with one listener, which is the first of `nodes`; tests may change the list."""

    client: Client
    server: Server
    listener: Listener
    nodes: list[Node]
    discovery: FixedDiscovery
    selector: OrderedSelector
    service: str = SERVICE

    def make(self, endpoint: str, request: Any = None, *, within: float = 5.0, **fields: Any) -> Call:
        """A call with a deadline; a stream's covers its opening."""
        call = Call(self.service, endpoint, request, **fields)
        if call.streaming:
            call.open_deadline = anyio.current_time() + within
        else:
            call.deadline = anyio.current_time() + within
        return call

    def given_back(self) -> bool:
        """Whether each node that was taken was given back exactly once."""
        assert Counter(self.selector.taken) == Counter(id for id, _ in self.selector.outcomes)
        return True


class PairSuite(ComponentSuite):
    """What is needed to run a client against a server.

    Attributes:
        listen_address: where the suite listens.
    """

    listen_address: ClassVar[str] = "127.0.0.1:0"

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        """A factory of transports that reach each other."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture make_transport")

    @pytest.fixture
    def make_client(self) -> MakeClient:
        """A factory of clients around discovery, selector, transport and codecs."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture make_client")

    @pytest.fixture
    def make_server(self) -> MakeServer:
        """A factory of servers around transport and codecs."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture make_server")

    @pytest.fixture
    def parts(self, make_transport: MakeTransport, make_client: MakeClient, make_server: MakeServer) -> Parts:
        """The factories together."""
        return Parts(make_transport, make_client, make_server)

    @pytest.fixture
    def make_component(self, parts: Parts) -> Make:
        return lambda: self.component(parts)

    def component(self, parts: Parts) -> AbstractAsyncContextManager[Client]:
        """Constructs one of each, at once; the context enters the transport and the client."""
        transport, codecs = parts.make_transport(), PlainCodecs("application/json")
        plain = cast("Transport", transport)
        parts.make_server(plain, codecs)
        return _within(transport, parts.make_client(FixedDiscovery(SERVICE, []), OrderedSelector(), plain, codecs))

    @asynccontextmanager
    async def pair(
        self,
        parts: Parts,
        unary: Mapping[str, CallNext] | None = None,
        streams: Mapping[str, CallNext] | None = None,
        **types: Any,
    ) -> AsyncIterator[Pair]:
        """Serves the handlers, and a client whose discovery knows where."""
        handlers = [_handler(name, handle, False, types) for name, handle in (unary or {}).items()]
        handlers += [_handler(name, handle, True, types) for name, handle in (streams or {}).items()]
        nodes: list[Node] = []
        discovery, selector = FixedDiscovery(SERVICE, nodes), OrderedSelector()
        ours, theirs = PlainCodecs("application/json"), PlainCodecs("application/json", "application/x-kit")
        async with (
            parts.make_transport() as near,
            parts.make_transport() as far,
            parts.make_server(far, ours) as server,
            parts.make_client(discovery, selector, near, theirs) as client,
        ):
            listener = await server.serve(self.listen_address, SERVICE, handlers)
            nodes.append(Node("first", listener.address, {**OWN, "protocol": server.protocol}))
            yield Pair(client, server, listener, nodes, discovery, selector)

    async def dead_node(self, parts: Parts) -> Node:
        """A node at whose address nobody listens any more."""
        async with parts.make_transport() as transport, listening(transport, self.listen_address) as behind:
            return Node("dead", behind.address, dict(OWN))

    @asynccontextmanager
    async def breaking_node(self, parts: Parts) -> AsyncIterator[Node]:
        """A node that takes a call and is gone before it answers."""
        reached = anyio.Event()

        async def take(head: Head, body: bytes) -> Message:
            reached.set()
            return await hang(head, body)

        async with (
            parts.make_transport() as transport,
            listening(transport, self.listen_address, unary=take) as behind,
            anyio.create_task_group() as group,
        ):
            group.start_soon(_break, behind, reached)
            yield Node("breaking", behind.address, dict(OWN))
            group.cancel_scope.cancel()

    @asynccontextmanager
    async def refusing_node(self, parts: Parts, code: int, **head: str) -> AsyncIterator[Node]:
        """A node that refuses every call and stream, in Go Micro's form (WIRE §5.3)."""
        fields = {"id": "refusing", "code": code, "detail": "refused by the kit", "status": ""}
        refusal = Message({"content-type": "application/json", "micro-error": json.dumps(fields), **head})
        async with (
            parts.make_transport() as transport,
            listening(transport, self.listen_address, refusal=refusal) as behind,
        ):
            yield Node("refusing", behind.address, dict(OWN))


@asynccontextmanager
async def _within(
    transport: AbstractAsyncContextManager[Transport], client: AbstractAsyncContextManager[Client]
) -> AsyncIterator[Client]:
    async with transport, client as entered:
        yield entered


async def _break(behind: Behind, reached: anyio.Event) -> None:
    await reached.wait()
    await behind.listener.aclose()


def _handler(name: str, handle: CallNext, streaming: bool, types: Mapping[str, Any]) -> Handler:
    request_type, reply_type = types.get("request_type", Any), types.get("reply_type", Any)
    return Handler(Endpoint(name), request_type, reply_type, streaming=streaming, handle=handle)
