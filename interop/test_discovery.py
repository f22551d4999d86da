"""A registry between: who serves is found, seen to come, change and go, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import go_peer
import micro
import pytest
from greeter_pb2 import Request
from matrix import FROM_GO, FROM_PYTHON, V2, Cell, cells, through
from meshes import Mesh, python_process
from micro_conformance.polling import eventually
from micro_core import Node, NotRegistered, Registry, ServiceRecord, Snapshot
from pairs import served

pytestmark = pytest.mark.anyio


@cells(*through("found and called"))
async def test_found_and_called_by_name(mesh: Mesh, cell: Cell) -> None:
    if cell.direction == FROM_GO:
        async with served(mesh.service, **mesh.python):
            lines = await go_peer.run(cell.release, "call", b'{"name": "John"}', service=mesh.service, **mesh.go)
        assert dict(lines)["reply"]["value"] == {"msg": "Hello John"}
    else:
        async with go_peer.running(cell.release, "serve", name=mesh.service, **mesh.go) as peer:
            await peer.told("ready")
            async with micro.Client(**mesh.python) as us:
                reply = await us.call(mesh.service, "Say.Hello", Request(name="John"), dict[str, Any])
        assert reply == {"msg": "Hello John"}


@cells(*through("list, get"))
async def test_what_is_registered_is_what_is_found(mesh: Mesh, cell: Cell) -> None:
    if cell.direction == FROM_GO:
        async with served(mesh.service, version="1.2.3", metadata={"zone": "größe"}, **mesh.python) as (service, _):
            names = dict(await go_peer.run(cell.release, "list", service="", **mesh.go))["services"]
            (found,) = dict(await go_peer.run(cell.release, "list", service=mesh.service, **mesh.go))["found"]
            address = service.address
    else:
        flags: dict[str, Any] = {**mesh.go, "name": mesh.service, "version": "1.2.3", "metadata": {"zone": "größe"}}
        async with go_peer.running(cell.release, "serve", **flags) as peer, mesh.registry as registry:
            address = (await peer.told("ready"))["address"]
            names = [record.name for record in await registry.list_services()]
            (record,) = await registry.get_service(mesh.service)
            found = as_told(record)
    assert mesh.service in names
    assert (found["name"], found["version"]) == (mesh.service, "1.2.3")
    (node,) = found["nodes"]
    assert at(node) == address
    assert node["metadata"]["protocol"] == ("grpc" if (cell.release, cell.direction) == (V2, FROM_PYTHON) else "mucp")
    assert node["metadata"]["zone"] == "größe"
    assert {endpoint["name"] for endpoint in found["endpoints"]} >= {"Say.Hello", "Say.Chat", "Say.Raw"}


@cells(*through("watch create, update, delete"))
async def test_a_watcher_sees_nodes_come_change_and_go(mesh: Mesh, cell: Cell) -> None:
    if cell.direction == FROM_GO:
        await a_go_watcher(mesh, cell.release)
    else:
        await our_watcher(mesh, cell.release)


async def a_go_watcher(mesh: Mesh, release: str) -> None:
    first, second = (
        ServiceRecord(mesh.service, "1.2.3", (Node("1", "127.0.0.1:7001", {"protocol": "mucp", "zone": zone}),))
        for zone in ("a", "b")
    )
    async with go_peer.running(release, "watch", service=mesh.service, **mesh.go) as watcher, mesh.registry as registry:
        await watcher.told("ready")
        for record in (first, second):
            await registry.register(record, ttl=60)
            while record.nodes[0].metadata["zone"] not in zones(await watcher.told("change")):
                pass
        await registry.deregister(second)
        while (await watcher.told("change"))["action"] != "delete":
            pass


def zones(change: dict[str, Any]) -> list[str]:
    """Of the nodes that a watcher tells of; v1.1.0 tells of a name before it has asked for its nodes."""
    return [node["metadata"]["zone"] for node in change["service"]["nodes"] or []]


async def our_watcher(mesh: Mesh, release: str) -> None:
    flags: dict[str, Any] = {**mesh.go, "name": mesh.service, "id": "1"}
    async with mesh.registry as registry, registry.watch(mesh.service) as snapshots:
        await until(snapshots, [])
        async with go_peer.running(release, "serve", **flags, metadata={"zone": "a"}) as first:
            await until(snapshots, ["a"])
            first.kill()
            async with go_peer.running(release, "serve", **flags, metadata={"zone": "b"}):
                await until(snapshots, ["b"])
        await until(snapshots, [])


async def until(snapshots: AsyncIterator[Snapshot], expected: list[str]) -> None:
    """Takes snapshots until one has nodes of just these zones."""
    last: Any = None
    with anyio.move_on_after(go_peer.PATIENCE):
        async for snapshot in snapshots:
            last = [node.metadata["zone"] for record in snapshot.services for node in record.nodes]
            if last == expected:
                return
    raise AssertionError(f"the last snapshot had {last}, not {expected}")


@cells(*through("a killed process"))
async def test_who_was_killed_is_left_out(mesh: Mesh, cell: Cell) -> None:
    if cell.direction == FROM_GO:
        async with python_process(mesh, MICRO_REGISTER_TTL="2s", MICRO_REGISTER_INTERVAL="1s") as ours:
            await eventually(lambda: found_by_go(mesh, cell.release), within=go_peer.PATIENCE)
            ours.kill()
            await eventually(lambda: _not(found_by_go(mesh, cell.release)), within=go_peer.PATIENCE)
    else:
        flags: dict[str, Any] = {**mesh.go, "name": mesh.service, "ttl": "2s", "interval": "1s"}
        async with mesh.registry as registry, go_peer.running(cell.release, "serve", **flags) as theirs:
            await eventually(lambda: found_by_us(registry, mesh.service), within=go_peer.PATIENCE)
            theirs.kill()
            await eventually(lambda: _not(found_by_us(registry, mesh.service)), within=2 * go_peer.PATIENCE)


async def found_by_go(mesh: Mesh, release: str) -> bool:
    told = dict(await go_peer.run(release, "list", service=mesh.service, **mesh.go))
    return any(record["nodes"] for record in told.get("found") or [])


async def found_by_us(registry: Registry, service: str) -> bool:
    try:
        return bool(await registry.get_service(service))
    except NotRegistered:
        return False


async def _not(found: Any) -> bool:
    return not await found


def as_told(record: ServiceRecord) -> dict[str, Any]:
    """A record of ours as a peer would tell it."""
    return {
        "name": record.name,
        "version": record.version,
        "nodes": [{"address": node.address, "metadata": dict(node.metadata)} for node in record.nodes],
        "endpoints": [{"name": endpoint.name} for endpoint in record.endpoints],
    }


def at(node: dict[str, Any]) -> str:
    """The address of a node; releases to 1.7 keep its port apart (WIRE §0)."""
    return f"{node['address']}:{node['port']}" if "port" in node else str(node["address"])


@cells("mDNS: a node at an IPv6 address")
async def test_an_ipv6_address_is_found(mesh: Mesh, cell: Cell) -> None:
    if cell.direction == FROM_GO:
        options = {**mesh.python["options"], "server.address": "[::1]:0"}
        async with served(mesh.service, **{**mesh.python, "options": options}) as (service, _):
            told = dict(await go_peer.run(cell.release, "list", service=mesh.service, **mesh.go))
            found = [at(node) for record in told.get("found") or [] for node in record["nodes"]]
            assert found == [service.address]
    else:
        flags = {**mesh.go, "name": mesh.service, "address": "[::1]:0"}
        async with go_peer.running(cell.release, "serve", **flags) as peer, mesh.registry as registry:
            address = (await peer.told("ready"))["address"]
            assert await found_by_us(registry, mesh.service)
            (record,) = await registry.get_service(mesh.service)
            assert [node.address for node in record.nodes] == [address]
