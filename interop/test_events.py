"""Events by the HTTP broker, which finds its subscribers in a registry."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import go_peer
import micro
import pytest
from greeter_pb2 import Request
from matrix import FROM_GO, V1, V118, Cell, cells, through
from meshes import Mesh
from micro_conformance.polling import eventually, steadily
from pairs import fields

pytestmark = pytest.mark.anyio

OLDER = {V1: "v1.0", V118: "v1.18"}
"""By which name our broker calls the way of a release; later ones have the way that it always speaks."""
EVENTS = 12
Heard: TypeAlias = Callable[[], list[int]]


@pytest.fixture
def topic() -> str:
    return f"events-{secrets.token_hex(4)}"


def ours(mesh: Mesh, release: str) -> dict[str, Any]:
    """The arguments of a service or client of ours that exchanges events with a release."""
    options = {**mesh.python["options"]}
    if release in OLDER:
        options["broker.http.releases"] = (OLDER[release],)
    return {**mesh.python, "options": options}


@asynccontextmanager
async def subscriber(mesh: Mesh, cell: Cell, topic: str, queue: str = "") -> AsyncIterator[Heard]:
    """A subscriber at the other side than the publisher, registered; gives the numbers of the events that it got."""
    name = f"{mesh.service}-{secrets.token_hex(2)}"
    if cell.direction == FROM_GO:
        service, got = micro.Service(name, **ours(mesh, cell.release)), list[int]()

        @service.subscriber(topic, queue=queue or None)
        async def on_event(event: Request) -> None:
            got.append(number({"body": fields(event), "header": micro.context().metadata}))

        async with service:
            yield lambda: got
    else:
        flags: dict[str, Any] = {**mesh.go, "name": name, "topic": topic, "queue": queue}
        async with go_peer.running(cell.release, "subscribe", **flags) as peer:
            await peer.told("ready")
            yield lambda: [number(event) for event in peer.said("event")]


def number(event: dict[str, Any]) -> int:
    body = event["body"]
    assert (body["name"], event["header"]["trace"]) == ("größe", "a b")
    return int(body["count_to"])


@asynccontextmanager
async def publisher(mesh: Mesh, cell: Cell, topic: str) -> AsyncIterator[None]:
    """Publishes the events, and stays while they are on their way."""
    if cell.direction == FROM_GO:
        flags: dict[str, Any] = {**mesh.go, "topic": topic, "count": EVENTS, "metadata": {"trace": "a b"}}
        flags["codec"] = cell.codec
        async with go_peer.running(cell.release, "publish", '{"name": "größe"}'.encode(), **flags) as peer:
            for number in range(1, EVENTS + 1):
                assert await peer.told("published") == {"n": number}
            yield
    else:
        async with micro.Client(**ours(mesh, cell.release)) as client:
            for number in range(1, EVENTS + 1):
                await client.publish(
                    topic, Request(name="größe", count_to=number), content_type=cell.codec, metadata={"trace": "a b"}
                )
            yield


@cells(*through("events, broadcast", "events, protobuf"))
async def test_every_subscriber_gets_every_event(mesh: Mesh, cell: Cell, topic: str) -> None:
    every = list(range(1, EVENTS + 1))
    async with subscriber(mesh, cell, topic) as first, subscriber(mesh, cell, topic) as second:
        async with publisher(mesh, cell, topic):
            await eventually(lambda: sorted(first()) == every and sorted(second()) == every, within=go_peer.PATIENCE)
        await steadily(lambda: len(first()) + len(second()) == 2 * EVENTS, during=0.3)


@cells(*through("events, queue"))
async def test_one_member_of_a_queue_gets_an_event(mesh: Mesh, cell: Cell, topic: str) -> None:
    every = list(range(1, EVENTS + 1))
    members = [subscriber(mesh, cell, topic, "q"), subscriber(mesh, cell, topic, "q")]
    async with members[0] as first, members[1] as second, subscriber(mesh, cell, topic, "other") as other:
        async with publisher(mesh, cell, topic):
            await eventually(lambda: sorted(first() + second()) == every == sorted(other()), within=go_peer.PATIENCE)
        assert first()
        assert second()
        await steadily(lambda: len(first()) + len(second()) == EVENTS, during=0.3)
