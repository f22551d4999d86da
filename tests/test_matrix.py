"""The promise of the whole: any part is exchanged by an environment variable, and no line of the service changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import micro
import pytest

pytestmark = pytest.mark.anyio

PARTS = [
    pytest.param({"REGISTRY": "memory", "TRANSPORT": "memory", "BROKER": "memory"}, id="memory"),
    pytest.param({"REGISTRY": "memory", "TRANSPORT": "http", "BROKER": "http"}, id="memory-http"),
    pytest.param({"REGISTRY": "mdns", "TRANSPORT": "http", "BROKER": "http"}, id="defaults"),
    pytest.param({"REGISTRY": "mdns", "SELECTOR": "roundrobin", "BROKER": "memory"}, id="mdns-roundrobin"),
    pytest.param({"REGISTRY": "memory", "TRANSPORT": "memory", "BROKER": "http"}, id="memory-events-by-http"),
]


@dataclass
class Greeting:
    text: str
    to: str | None = None


class Say:
    async def hello(self, request: Greeting) -> Greeting:
        return Greeting(f"Hello {request.to}")

    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def chat(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        async for message in messages:
            yield message.upper()

    async def fail(self, reason: str) -> None:
        raise micro.errors.Conflict(reason)


async def numbers(*values: int) -> AsyncIterator[int]:
    for value in values:
        yield value


async def words(*values: str) -> AsyncIterator[str]:
    for value in values:
        yield value


@pytest.mark.parametrize("parts", PARTS)
async def test_calls_streams_and_events_by_parts_chosen_from_the_environment(
    parts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, name in parts.items():
        monkeypatch.setenv(f"MICRO_{kind}", name)
    service = micro.Service("greeter")
    service.handler(Say())
    received: list[Greeting] = []
    arrived = anyio.Event()

    @service.subscriber("greetings")
    async def on_greeting(event: Greeting) -> None:
        received.append(event)
        arrived.set()

    with anyio.fail_after(20):
        async with service, micro.Client() as client:
            assert await client.call("greeter", "Say.Hello", Greeting("", "Ada"), Greeting) == Greeting("Hello Ada")

            say = client.proxy(Say, "greeter")
            assert await say.hello(Greeting("", "Grace")) == Greeting("Hello Grace")
            assert [number async for number in say.count(3)] == [0, 1, 2]
            assert await say.total(numbers(1, 2, 3)) == 6
            assert [reply async for reply in say.chat(words("a", "b"))] == ["A", "B"]

            with pytest.raises(micro.errors.Conflict, match="taken") as caught:
                await say.fail("taken")
            assert (caught.value.id, caught.value.service, caught.value.attempts) == ("greeter", "greeter", 1)

            await client.publish("greetings", Greeting("hi", "all"))
            await arrived.wait()
            assert received == [Greeting("hi", "all")]


@pytest.mark.parametrize("parts", PARTS)
async def test_events_published_by_a_client_that_leaves_at_once_arrive(
    parts: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, name in parts.items():
        monkeypatch.setenv(f"MICRO_{kind}", name)
    service = micro.Service("mailer", options={"stop.propagation": 0.0})
    received: list[int] = []

    @service.subscriber("numbers")
    async def on_number(event: int) -> None:
        received.append(event)

    with anyio.fail_after(20):
        async with service:
            async with micro.Client() as client:
                for number in range(3):
                    await client.publish("numbers", number)
            assert sorted(received) == [0, 1, 2]
