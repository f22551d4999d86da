from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias
from uuid import uuid4

import anyio
import pytest
from micro_broker_http import HTTPBroker
from micro_conformance.polling import eventually
from micro_core import Event, Head, Listener, Message, Peer, Registry, Reset, UnaryCall, capture_clock
from micro_core.loader import load
from micro_http import listen

Make: TypeAlias = Callable[..., AbstractAsyncContextManager[HTTPBroker]]


class Inbox:
    """A handler that keeps what it was given."""

    def __init__(self, before: Callable[[Event], Awaitable[None]] | None = None) -> None:
        self.events: list[Event] = []
        self.ended = 0
        self._before = before

    @property
    def bodies(self) -> list[str]:
        return [event.message.body.decode() for event in self.events]

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self._before is not None:
            await self._before(event)
        self.ended += 1


class Tools:
    """What the tests of this broker share."""

    Inbox = Inbox

    @staticmethod
    def soon(seconds: float = 5.0) -> float:
        return capture_clock()() + seconds

    @staticmethod
    def text(body: str) -> Message:
        return Message({"content-type": "text/plain"}, body.encode())

    @staticmethod
    async def until(condition: Callable[[], Any]) -> None:
        await eventually(condition, within=5.0)

    @staticmethod
    def peer(answer: Callable[[Head, bytes], Awaitable[Message | None]]) -> AbstractAsyncContextManager[Listener]:
        """A subscriber that is not ours."""
        return _peer(answer)


@asynccontextmanager
async def _peer(answer: Callable[[Head, bytes], Awaitable[Message | None]]) -> AsyncIterator[Listener]:
    listener = await listen("127.0.0.1:0", lambda head, peer: _Answer(answer, head))
    try:
        yield listener
    finally:
        with anyio.CancelScope(shield=True):
            await listener.aclose()


class _Answer(UnaryCall):
    def __init__(self, answer: Callable[[Head, bytes], Awaitable[Message | None]], head: Head) -> None:
        self._answer, self._head = answer, head

    async def run(self, body: bytes) -> Message | None:
        return await self._answer(self._head, body)

    def cancel(self, reason: Reset) -> None: ...


@pytest.fixture
def tools() -> type[Tools]:
    return Tools


@pytest.fixture
def registry() -> Registry:
    cls = load("registry", "memory").cls
    made: Registry = cls(cls.Options(address=uuid4().hex))
    return made


@pytest.fixture
def make(registry: Registry) -> Make:
    """Brokers that share a registry of their own."""

    def broker(**options: Any) -> AbstractAsyncContextManager[HTTPBroker]:
        return HTTPBroker(registry, HTTPBroker.Options(**options))

    return broker


@pytest.fixture
def stranger() -> Peer:
    return Peer("127.0.0.1:1")
