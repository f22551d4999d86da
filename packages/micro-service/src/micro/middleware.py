"""Chains of middleware, built once: the first is the outermost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from micro_core import Call, CallNext, Event, EventHandler, Middleware, Reply, SubscriberMiddleware

F = TypeVar("F", bound=Callable[..., Any])


def chain(middleware: Sequence[Middleware], inner: CallNext) -> CallNext:
    """The function itself where there is no middleware."""
    for layer in reversed(middleware):
        inner = _around(layer, inner)
    return inner


def _around(layer: Middleware, inner: CallNext) -> CallNext:
    def call(call: Call) -> Awaitable[Reply]:
        return layer(call, inner)

    return call


def chain_events(middleware: Sequence[SubscriberMiddleware], inner: EventHandler) -> EventHandler:
    """As `chain`, for subscribers."""
    for layer in reversed(middleware):
        inner = _around_event(layer, inner)
    return inner


def _around_event(layer: SubscriberMiddleware, inner: EventHandler) -> EventHandler:
    async def handle(event: Event) -> None:
        await layer(event, inner)

    return handle


def answers(hook: Any, host: object) -> tuple[Any, ...]:
    """What the extensions answer to a hook, asked once, in their order."""
    found: Iterable[Any] = hook(service=host)
    return tuple(found)
