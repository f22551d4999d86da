"""The ways of older releases: names, bytes captured from v1.1.0 and v1.18.0, and what ours make of both."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import micro_broker_http.broker as module
import pytest
from micro_broker_http.releases import Release, release_of
from micro_broker_http.wire import decode_event, encode_event
from micro_core import Head, Message, Node, Registry, ServiceRecord, SubscribeOptions

VECTORS = Path(__file__).parent / "vectors"
ALL = (Release.V1_0, Release.V1_13, Release.V1_18)
CAPTURED = {"v1.1.0": Release.V1_0, "v1.18.0": Release.V1_18}

pytestmark = pytest.mark.anyio


def captured() -> Iterator[Any]:
    for release in CAPTURED:
        for path in sorted((VECTORS / release).glob("*.json")):
            for connection in json.loads(path.read_text())["connections"]:
                for step in connection["steps"]:
                    if step["from"] == "client" and "text" in step:
                        yield pytest.param(CAPTURED[release], step["text"], id=f"{release} {path.stem}")


@pytest.mark.parametrize(("release", "posted"), [*captured()])
def test_events_as_they_were_captured_are_read_and_written(release: Release, posted: str) -> None:
    head, _, body = posted.partition("\r\n\r\n")
    assert head.startswith(f"POST {release.path}?id=")
    event = decode_event(body.encode(), 1000)
    assert event.head["micro-topic"] == "events"
    assert ":topic" not in event.head
    theirs, ours = json.loads(body), json.loads(encode_event(event, release.topic_header))
    assert ours["Body"] == theirs["Body"]
    assert ours["Header"] == {"Micro-Topic": "events", **theirs["Header"]}


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("micro.http.broker", Release.V2_5),
        ("go.micro.http.broker", Release.V1_18),
        ("topic:events", Release.V1_0),
        ("events", Release.V1_13),
    ],
)
def test_a_name_says_which_way_it_is(name: str, release: Release) -> None:
    assert release.service("events") == name
    assert release_of(name, frozenset(ALL)) is release
    assert release_of(name, frozenset()) is (Release.V2_5 if release is Release.V2_5 else None)


async def test_a_subscription_is_registered_in_every_way_that_was_asked_for(
    make: Any, tools: Any, registry: Registry
) -> None:
    inbox = tools.Inbox()
    async with make(releases=ALL) as broker:
        subscription = await broker.subscribe("users.created", inbox, SubscribeOptions("q"))
        found = {record.name: record for record in await registry.list_services()}
        assert set(found) == {"micro.http.broker", "go.micro.http.broker", "users.created", "topic:users.created"}
        assert {record.version for record in found.values()} == {"q"}
        nodes = [node for record in found.values() for node in record.nodes]
        assert len({node.id for node in nodes}) == 4
        assert {node.metadata["topic"] for node in nodes} == {"users.created"}
        await broker.publish("users.created", tools.text("x"), deadline=tools.soon())
        await broker.flush(tools.soon())
        assert inbox.bodies == ["x"], "ours posts to ours once"
        await subscription.aclose()
        assert await registry.list_services() == ()


async def test_another_broker_of_ours_posts_to_it_once(make: Any, tools: Any) -> None:
    inbox = tools.Inbox()
    async with make(releases=ALL) as subscriber, make(releases=ALL) as publisher:
        await subscriber.subscribe("t", inbox, SubscribeOptions())
        await publisher.publish("t", tools.text("x"), deadline=tools.soon())
        await publisher.flush(tools.soon())
    assert inbox.bodies == ["x"]


@pytest.mark.parametrize("release", ALL)
async def test_a_subscriber_of_an_older_release_gets_what_it_reads(
    make: Any, tools: Any, registry: Registry, release: Release
) -> None:
    seen: list[tuple[str, Any]] = []

    async def go(head: Head, body: bytes) -> Message:
        seen.append((head[":path"], json.loads(body)["Header"].get(":topic")))
        return Message({":status": "200"})

    metadata = {"secure": "false"} if release is Release.V1_0 else {"broker": "http", "topic": "events"}
    async with tools.peer(go) as listener, make(releases=(release,)) as publisher, make() as other:
        node = Node("broker-1.2", listener.address, metadata)
        await registry.register(ServiceRecord(release.service("events"), "ff.http.broadcast", (node,)), ttl=60)
        for broker in (publisher, other):
            await broker.publish("events", tools.text("x"), deadline=tools.soon())
            await broker.flush(tools.soon())
    assert seen == [("/_sub?id=broker-1.2", "events")], "who was not asked to does not post there"


async def test_one_process_under_many_topics_is_a_subscriber_of_each(make: Any, tools: Any, registry: Registry) -> None:
    """Releases 1.13 to 1.17 give all subscriptions of a process one id."""
    seen: list[str] = []

    async def go(head: Head, body: bytes) -> Message:
        seen.append(json.loads(body)["Header"][":topic"])
        return Message({":status": "200"})

    async with tools.peer(go) as listener, make(releases=(Release.V1_13,)) as publisher:
        for topic in ("a", "b"):
            node = Node("go.micro.http.broker-1", listener.address, {"broker": "http", "topic": topic})
            await registry.register(ServiceRecord(topic, "ff.http.broadcast", (node,)), ttl=60)
        for topic in ("a", "b", "a"):
            await publisher.publish(topic, tools.text("x"), deadline=tools.soon())
        await publisher.flush(tools.soon())
    assert sorted(seen) == ["a", "a", "b"]


async def test_a_service_that_is_called_like_a_topic_gets_no_events(make: Any, tools: Any, registry: Registry) -> None:
    async with make(releases=(Release.V1_13,)) as publisher:
        node = Node("events-1", "127.0.0.1:1", {"broker": "http", "protocol": "mucp"})
        await registry.register(ServiceRecord("events", "latest", (node,)), ttl=60)
        await publisher.publish("events", tools.text("x"), deadline=tools.soon())
        await publisher.flush(tools.soon())
        assert publisher._routes.of("events") == []


async def test_topics_that_nothing_is_published_on_any_more_are_not_followed(
    make: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FOLLOWED", -1.0)
    async with make(releases=(Release.V1_0, Release.V1_13)) as publisher:
        for topic in ("a", "b", "c"):
            await publisher.publish(topic, tools.text("x"), deadline=tools.soon())
            await anyio.lowlevel.checkpoint()
        assert set(publisher._lists._lists) == {"micro.http.broker", "topic:c", "c"}


def test_an_event_of_an_older_release_says_its_topic_in_either_header() -> None:
    for header in ({":topic": "a", "Micro-Topic": "b"}, {"Micro-Topic": "a"}, {":topic": "a"}):
        body = json.dumps({"Header": header, "Body": base64.b64encode(b"x").decode()}).encode()
        event = decode_event(body, 100)
        assert (event.head, event.body) == ({"micro-topic": "a"}, b"x")
