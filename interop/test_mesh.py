"""Many nodes of one name: every release beside ours, and ours coming and going under calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import anyio
import go_peer
import micro
import pytest
from anyio.abc import TaskStatus
from build import RELEASES
from greeter_pb2 import Reply, Request
from matrix import Cell, cells
from meshes import Mesh
from pairs import served

pytestmark = pytest.mark.anyio

OURS = "python"
RESTARTS = 100


class Run:
    """A node in a task: how it is told to stop, and that it has."""

    def __init__(self) -> None:
        self.stop = anyio.Event()
        self.stopped = anyio.Event()


@asynccontextmanager
async def everybody(mesh: Mesh) -> AsyncIterator[None]:
    """A node of each release and one of ours, all of one name; each says in its metadata what it is."""
    async with AsyncExitStack() as stack:
        for release in RELEASES:
            running = go_peer.running(release, "serve", name=mesh.service, metadata={"zone": release}, **mesh.go)
            await (await stack.enter_async_context(running)).told("ready")
        await stack.enter_async_context(served(mesh.service, metadata={"zone": OURS}, **mesh.python))
        yield


@cells("mDNS: a mixed mesh")
async def test_a_client_of_ours_reaches_every_release_and_ours(mesh: Mesh, cell: Cell) -> None:
    async with everybody(mesh), micro.Client(**mesh.python) as client:
        records = [record for record in await client.list_services() if record.name == mesh.service]
        assert {node.metadata["zone"] for record in records for node in record.nodes} == {*RELEASES, OURS}
        reached = set()
        for number in range(100):
            asked = Request(name="John", count_to=number)
            answer = await client.call_response(mesh.service, "Say.Hello", asked, Reply)
            assert answer.value == Reply(msg="Hello John", seq_no=number)
            assert answer.node is not None
            reached.add(answer.node.metadata["zone"])
        assert {cell.release, OURS} <= reached


async def serving(mesh: Mesh, *, task_status: TaskStatus[Run]) -> None:
    """A node of ours, until it is told to stop."""
    run = Run()
    async with served(mesh.service, **mesh.python):
        task_status.started(run)
        await run.stop.wait()
    run.stopped.set()


@cells("mDNS: 100 graceful restarts under calls")
async def test_no_call_of_a_go_client_fails_while_our_nodes_come_and_go(mesh: Mesh, cell: Cell) -> None:
    options = {**mesh.python["options"], "stop.propagation": 0.2}
    mesh = replace(mesh, python={**mesh.python, "options": options})
    flags = {**mesh.go, "service": mesh.service, "count": 0, "pace": "2ms", "timeout": "5s"}
    async with anyio.create_task_group() as nodes:
        run: Run = await nodes.start(serving, mesh)
        async with go_peer.running(cell.release, "call", b'{"name": "John"}', **flags) as caller:
            await caller.told("reply")
            for _ in range(RESTARTS):
                after = await nodes.start(serving, mesh)
                run.stop.set()
                await run.stopped.wait()
                run = after
            replies = caller.said("reply")
        run.stop.set()
    assert [reply for reply in replies if reply.get("value") != {"msg": "Hello John"}] == []
    assert len(replies) > 10 * RESTARTS
