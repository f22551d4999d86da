"""Errors of a user's own class, from a handler to a caller who named it, on every way that an error can take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import micro
import pytest

pytestmark = pytest.mark.anyio

Kinds = dict[str, Any]


class EmailTaken(micro.errors.Conflict):
    email: str
    suggestion: str | None = None


class Users:
    """The contract and its implementation."""

    async def create(self, email: str) -> str:
        raise EmailTaken(f"{email} is taken", email=email, suggestion="b@b")

    async def create_all(self, emails: AsyncIterator[str]) -> int:
        async for email in emails:
            raise EmailTaken(f"{email} is taken", email=email)
        return 0

    async def watch(self, email: str) -> AsyncIterator[str]:
        yield email
        raise EmailTaken(f"{email} is taken", email=email)

    async def large(self, email: str) -> str:
        raise EmailTaken("too much", email="x" * 10_000)


class Front:
    """Passes the error on without knowing its class."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def ask(self, email: str) -> str:
        answer: str = await self.client.call("users", "Users.Create", email, str)
        return answer


@pytest.fixture(params=["memory", "http"])
async def client(request: pytest.FixtureRequest, memory: Kinds, anyio_backend: Any) -> AsyncIterator[micro.Client]:
    memory["transport"] = request.param
    users, front = micro.Service("users", **memory), micro.Service("front", **memory)
    users.handler(Users())
    front.handler(Front(front.client))
    async with users, front, micro.Client(**memory) as client:
        yield client


async def emails() -> AsyncIterator[str]:
    yield "a@b"


async def test_a_call_that_names_the_class_raises_it(client: micro.Client) -> None:
    with pytest.raises(EmailTaken, match="a@b is taken") as caught:
        await client.call("users", "Users.Create", "a@b", str, errors=(EmailTaken,))
    error = caught.value
    assert (error.email, error.suggestion, error.id, error.service, error.attempts) == (
        "a@b", "b@b", "users", "users", 1,
    )  # fmt: skip
    assert error.outcome is micro.errors.Outcome.ANSWERED
    with pytest.raises(EmailTaken):
        await client.call_response("users", "Users.Create", "a@b", str, errors=[EmailTaken])


async def test_a_call_that_does_not_gets_the_class_of_the_code(client: micro.Client) -> None:
    with pytest.raises(micro.errors.Conflict) as caught:
        await client.call("users", "Users.Create", "a@b", str)
    assert type(caught.value) is micro.errors.Conflict
    assert caught.value.type_name == "EmailTaken"
    assert caught.value.details == {"email": "a@b", "suggestion": "b@b"}


async def test_a_proxy_raises_it_from_every_shape(client: micro.Client) -> None:
    users = client.proxy(Users, "users", errors=(EmailTaken,))
    with pytest.raises(EmailTaken):
        await users.create("a@b")
    with pytest.raises(EmailTaken):
        await users.create_all(emails())
    watched = users.watch("a@b")
    assert await anext(watched) == "a@b"
    with pytest.raises(EmailTaken):
        await anext(watched)


async def test_a_stream_raises_it(client: micro.Client) -> None:
    async with client.stream("users", "Users.Watch", str, errors=(EmailTaken,)) as stream:
        await stream.send("a@b")
        assert await stream.recv() == "a@b"
        with pytest.raises(EmailTaken):
            await stream.recv()


async def test_a_service_between_passes_it_on(client: micro.Client) -> None:
    with pytest.raises(EmailTaken) as caught:
        await client.call("front", "Front.Ask", "a@b", str, errors=(EmailTaken,))
    assert (caught.value.email, caught.value.id, caught.value.service) == ("a@b", "users", "front")


async def test_details_too_large_for_a_head_leave_the_plain_class(
    client: micro.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(micro.errors.Conflict, match="too much") as caught:
        await client.call("users", "Users.Large", "a@b", str, errors=(EmailTaken,))
    assert type(caught.value) is micro.errors.Conflict
    assert "the details of EmailTaken are not told" in caplog.text


async def test_a_class_that_cannot_come_back_is_refused_before_anything_is_sent(client: micro.Client) -> None:
    with pytest.raises(micro.errors.ConfigurationError, match="classes of your own"):
        await client.call("users", "Users.Create", "a@b", str, errors=(micro.errors.Conflict,))
    with pytest.raises(micro.errors.ConfigurationError, match="classes of your own"):
        client.proxy(Users, "users", errors=(micro.errors.Conflict,))
