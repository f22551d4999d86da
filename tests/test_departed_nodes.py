"""A node that left the registry loses the connections that its callers kept, though it goes on listening."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import micro
import pytest
from micro_conformance import eventually
from micro_conformance.suite import unique
from micro_core import loader
from micro_http import HTTP2
from micro_transport_http import HTTPTransport

pytestmark = pytest.mark.anyio


class Say:
    async def hello(self, name: str) -> str:
        await anyio.sleep(0.01)
        return f"Hello {name}"

    async def count(self, to: int) -> AsyncIterator[int]:
        for at in range(to):
            yield at
            await anyio.sleep(0.01)


def kinds(store: str) -> dict[str, Any]:
    return {
        "registry": "memory",
        "broker": "memory",
        "options": {"registry.memory.address": store, "stop.propagation": 0.0},
    }


def service(store: str) -> micro.Service:
    made = micro.Service("greeter", transport="http", **kinds(store))
    made.handler(Say())
    return made


def addresses(transport: HTTPTransport) -> set[str]:
    client = transport._client
    return {one.pool.address for one in client.connections} | {one.address for one in client.multiplexed}


@pytest.mark.parametrize("http2", list(HTTP2))
async def test_connections_to_a_node_that_left_are_closed_and_others_kept(http2: HTTP2) -> None:
    store = unique("departed")
    transport = HTTPTransport(HTTPTransport.Options(http2=http2))
    registry_class = loader.load("registry", "memory").cls
    async with (
        service(store),
        service(store),
        registry_class(registry_class.Options(address=store)) as registry,
        micro.Client(transport=transport, **kinds(store)) as client,
    ):

        async def ask() -> None:
            assert await client.call("greeter", "Say.Hello", "Ada", str, timeout=5) == "Hello Ada"

        async def many(count: int = 32) -> None:
            async with anyio.create_task_group() as group:
                for _ in range(count):
                    group.start_soon(ask)

        await eventually(lambda: _listed(registry, 2), within=5)
        await many()
        await eventually(lambda: _asked(many, transport, 2), within=5)
        (record,) = await registry.list_services()
        leaving, staying = (node.address for node in record.nodes)
        async with anyio.create_task_group() as group:
            group.start_soon(many, 64)  # some of which are on their way to it
            await registry.deregister(_with_one_node(record))
        await eventually(lambda: addresses(transport) == {staying}, within=5)
        await many()
        assert leaving not in addresses(transport)


def _with_one_node(record: Any) -> Any:
    return replace(record, nodes=record.nodes[:1])


async def _listed(registry: Any, count: int) -> bool:
    return [len(record.nodes) for record in await registry.list_services()] == [count]


async def _asked(many: Any, transport: HTTPTransport, count: int) -> bool:
    await many()
    return len(addresses(transport)) == count
