"""Records to register, and ways to look at what a registry knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
from micro_core import Endpoint, Node, NotRegistered, Registry, ServiceRecord, Snapshot, Value

FOR_EVER = 3600.0


def make_record(name: str, *ids: str, version: str = "1", port: int = 7001, **metadata: str) -> ServiceRecord:
    """A record with a node for each id."""
    nodes = tuple(Node(id, f"127.0.0.1:{port + at}", dict(metadata)) for at, id in enumerate(ids))
    hello = Endpoint(
        "Say.Hello",
        Value("HelloRequest", "HelloRequest", (Value("name", "string"),)),
        Value("HelloReply", "HelloReply", (Value("message", "string"),)),
        {"idempotent": "true"},
    )
    return ServiceRecord(name, version, nodes, (hello,), {"owner": "conformance"})


async def known_nodes(registry: Registry, name: str) -> dict[str, Node]:
    """The nodes of all versions by id, empty where the name is not registered."""
    try:
        records = await registry.get_service(name)
    except NotRegistered:
        return {}
    return {node.id: node for record in records for node in record.nodes}


async def nodes_by_version(registry: Registry, name: str) -> dict[str, list[str]]:
    """The ids of each version's nodes, sorted."""
    return {record.version: sorted(node.id for node in record.nodes) for record in await registry.get_service(name)}


async def is_forgotten(registry: Registry, name: str) -> bool:
    """Whether no node of the name is known."""
    return not await known_nodes(registry, name)


async def is_registered_as(registry: Registry, name: str, record: ServiceRecord) -> bool:
    """True, or AssertionError when the name is registered otherwise."""
    found = await registry.get_service(name)
    assert found == (record,)
    return True


async def ignoring_unknown(call: Callable[[], Awaitable[Any]]) -> None:
    """Calls it; that a name is not registered is fine."""
    with suppress(NotRegistered):
        await call()


def snapshot_ids(snapshot: Snapshot) -> set[str]:
    """The ids of all nodes."""
    return {node.id for record in snapshot.services for node in record.nodes}


async def snapshot_until(
    snapshots: AsyncIterator[Snapshot], predicate: Callable[[Snapshot], Any], within: float
) -> Snapshot:
    """The first snapshot of which it is true; AssertionError when there was none in time."""
    last: Snapshot | None = None
    with anyio.move_on_after(within):
        async for last in snapshots:
            if predicate(last):
                return last
        raise AssertionError(f"the watch ended; last {last!r}")
    raise AssertionError(f"no such snapshot within {within} s; last {last!r}")
