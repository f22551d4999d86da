"""The same typed service in every content type that carries Python types, over HTTP: values, streams, events, 400s."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import micro
import pydantic
import pytest
from micro_conformance import eventually

CONTENT_TYPES = ("application/json", "application/msgpack")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@dataclass
class User:
    email: str
    picture: bytes = b""
    born: datetime | None = None
    friends: list[User] = field(default_factory=list)


class Address(pydantic.BaseModel):
    street: str
    number: int


class People:
    async def invite(self, users: list[User]) -> User:
        return User(users[0].email, users[0].picture, users[0].born, users[1:])

    async def move(self, addresses: list[Address]) -> int:
        return len(addresses)

    async def echo(self, users: AsyncIterator[User]) -> AsyncIterator[User]:
        async for user in users:
            yield user


@pytest.fixture(autouse=True)
def memory_registry(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("MICRO_REGISTRY", "memory")
    monkeypatch.setenv("MICRO_REGISTRY_MEMORY_ADDRESS", request.node.nodeid)


@asynccontextmanager
async def people() -> AsyncIterator[tuple[micro.Service, micro.Client]]:
    service = micro.Service("people")
    service.handler(People())
    async with service, micro.Client() as client:
        yield service, client


@pytest.mark.anyio
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
async def test_values_go_there_and_back(content_type: str) -> None:
    ada, bob = User("ada@x", b"\x00\xff", NOON), User("bob@x", friends=[User("cy@x")])
    async with people() as (_, client):
        reply = await client.call("people", "People.Invite", [ada, bob], User, content_type=content_type)
        assert reply == User("ada@x", b"\x00\xff", NOON, [bob])
        async with client.stream("people", "People.Echo", User, content_type=content_type) as stream:
            for user in (ada, bob):
                await stream.send(user)
                assert await stream.recv() == user


@pytest.mark.anyio
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize(
    ("endpoint", "request_", "paths"),
    [
        ("People.Invite", [{"email": "a"}, {"email": "b"}, {"email": "c"}, {"email": 5}], ["[3].email"]),
        ("People.Invite", [{"email": "a", "friends": [{}]}], ["[0].friends[0].email"]),
        ("People.Move", [{"street": "s", "number": 1}, {"street": 5, "number": "x"}, {}],
         ["[1].street", "[1].number", "[2].street", "[2].number"]),
    ],
)  # fmt: skip
async def test_a_body_of_another_shape_is_a_400_that_names_every_path(
    content_type: str, endpoint: str, request_: list[Any], paths: list[str]
) -> None:
    async with people() as (_, client):
        with pytest.raises(micro.errors.BadRequest) as caught:
            await client.call("people", endpoint, request_, Any, content_type=content_type)
    text = caught.value.detail
    assert caught.value.code == 400
    assert f"the request of {endpoint} cannot be read as {content_type}: " in text
    for path in paths:
        assert f"{path}: " in text


async def post(address: str, body: bytes) -> tuple[int, str]:
    """Status and body of what a client gets that sends msgpack by its own means."""
    host, port = address.split(":")
    head = f"POST /people/People.Invite HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(f"{head}Content-Type: application/msgpack\r\n\r\n".encode() + body)
        reply = b"".join([part async for part in stream])
    return int(reply.split()[1]), reply.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\x91\x82\xa5email\xa1a\xa5email\xa1b", "twice"),
        (b"\xdd\xff\xff\xff\xff", "truncated"),
        (b"\x91" * 100_000, "64 levels"),
        (b"\x91\x81\xa5email\xa3\xed\xa0\x80", "utf-8"),
        (b"\x90\x90", "trailing"),
    ],
)
async def test_msgpack_that_no_encoder_of_ours_writes_is_a_400(body: bytes, text: str) -> None:
    async with people() as (service, _):
        status, said = await post(service.address, body)
        assert status == 400
        assert text in said


@pytest.mark.anyio
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
async def test_events_are_of_a_type_too(content_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICRO_BROKER", "memory")
    came: list[User] = []
    service = micro.Service("people")

    @service.subscriber("invited")
    async def on_invited(user: User) -> None:
        came.append(user)

    ada = User("ada@x", b"\xff", NOON)
    async with service, micro.Client() as client:
        await client.publish("invited", ada, content_type=content_type)
        await eventually(lambda: came == [ada], within=10)
