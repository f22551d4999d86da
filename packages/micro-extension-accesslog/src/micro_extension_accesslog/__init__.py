"""Extension `accesslog`: one line of log for every call, stream and event, and the totals when a service stops.

Lines go to the logger `micro.accesslog` at level INFO, for a stream when it is over:

    served Say.Hello of greeter: ok in 0.4 ms, from 127.0.0.1:50412
    called users Users.Find: 404 Not Found in 2.1 ms, 1 attempt, users-7f3a
    event users.created for greeter: ok in 1.3 ms, attempt 1

The fields stand in the log record, too: `side`, `service`, `endpoint`, `outcome`, `ms`, `failed`. The totals count what
was logged, by a handler that listens to these records while the service lives; so nothing is kept here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter
from typing import Any

from micro_core import (
    Call,
    CallNext,
    EndOfStream,
    Event,
    EventHandler,
    Middleware,
    Reply,
    Reset,
    RPCError,
    Stream,
    StreamWrapper,
    SubscriberMiddleware,
    hookimpl,
)
from micro_core.hookspecs import Host

__all__ = [
    "micro_client_middleware",
    "micro_lifespan",
    "micro_server_middleware",
    "micro_subscriber_middleware",
]

log = logging.getLogger("micro.accesslog")


class Entry:
    """One line in the making: `close` writes it, once."""

    __slots__ = ("_call", "_host", "_side", "_started", "_written")

    def __init__(self, host: Host, side: str, call: Call) -> None:
        self._host = host
        self._side = side
        self._call = call
        self._started = perf_counter()
        self._written = False

    def close(self, error: BaseException | None = None) -> None:
        """Writes how it ended."""
        if self._written:
            return
        self._written = True
        call, side = self._call, self._side
        what = f"{call.endpoint} of {call.service}" if side == "served" else f"{call.service} {call.endpoint}"
        where = _who_called(call) if side == "served" else _who_answered(call)
        _write(self._host, side, what, where, self._started, error, service=call.service, endpoint=call.endpoint)


class LoggedStream(StreamWrapper):
    """A caller's stream that writes its line when it is over."""

    __slots__ = ("_entry",)

    def __init__(self, inner: Stream, entry: Entry) -> None:
        super().__init__(inner)
        self._entry = entry

    async def send(self, value: Any) -> None:
        try:
            await self.inner.send(value)
        except RPCError as error:
            self._entry.close(error)
            raise

    async def recv(self) -> Any:
        try:
            return await self.inner.recv()
        except EndOfStream:
            self._entry.close()
            raise
        except Exception as error:
            self._entry.close(error)
            raise

    def reset(self, reason: Reset = Reset.CANCELLED) -> None:
        self.inner.reset(reason)
        self._entry.close(Left())


class Left(BaseException):
    """Stands for a stream that was left before its end."""


@hookimpl
def micro_client_middleware(service: Host) -> Middleware:
    """Logs what the service calls."""

    async def logged(call: Call, call_next: CallNext) -> Reply:
        if not log.isEnabledFor(logging.INFO):
            return await call_next(call)
        entry = Entry(service, "called", call)
        reply = await _watched(entry, call_next(call))
        if reply.stream is None:
            entry.close()
        else:
            reply.stream = LoggedStream(reply.stream, entry)
        return reply

    return logged


@hookimpl
def micro_server_middleware(service: Host) -> Middleware:
    """Logs what the service serves."""

    async def logged(call: Call, call_next: CallNext) -> Reply:
        if not log.isEnabledFor(logging.INFO):
            return await call_next(call)
        entry = Entry(service, "served", call)
        reply = await _watched(entry, call_next(call))
        entry.close()
        return reply

    return logged


@hookimpl
def micro_subscriber_middleware(service: Host) -> SubscriberMiddleware:
    """Logs the events that the service handles."""

    async def logged(event: Event, handler: EventHandler) -> None:
        started = perf_counter()
        what, where = f"{event.topic} for {service.name}", f"attempt {event.attempt}"
        try:
            await handler(event)
        except BaseException as error:
            _write(service, "event", what, where, started, error, service=service.name, endpoint=event.topic)
            raise
        _write(service, "event", what, where, started, None, service=service.name, endpoint=event.topic)

    return logged


@hookimpl
def micro_lifespan(service: Host) -> AbstractAsyncContextManager[None]:
    """Logs the totals when the service stops, unless there are none."""
    return _totals(service)


@asynccontextmanager
async def _totals(service: Host) -> AsyncIterator[None]:
    totals = Totals(service)
    log.addHandler(totals)
    try:
        yield
    finally:
        log.removeHandler(totals)
        if totals.lines:
            log.info("%s in all: %s", service.name, totals)


class Totals(logging.Handler):
    """Counts the lines of one service.

    Attributes:
        lines: how many, by side.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(logging.INFO)
        self._host = host
        self.lines: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Counts a line, if it is of this service."""
        if getattr(record, "host", None) is self._host:
            side: str = getattr(record, "side", "")
            self.lines[side] += 1
            self._failed[side] += getattr(record, "failed", False)

    def __str__(self) -> str:
        return ", ".join(f"{side} {self.lines[side]} ({self._failed[side]} failed)" for side in _SIDES)


_SIDES = ("served", "called", "event")


async def _watched(entry: Entry, work: Awaitable[Reply]) -> Reply:
    try:
        return await work
    except BaseException as error:
        entry.close(error)
        raise


def _write(
    host: Host, side: str, what: str, where: str, started: float, error: BaseException | None, **fields: str
) -> None:
    if not log.isEnabledFor(logging.INFO):
        return
    ms = (perf_counter() - started) * 1000
    outcome = _outcome(error)
    extra = {"host": host, "side": side, "outcome": outcome, "ms": ms, "failed": error is not None, **fields}
    log.info("%s %s: %s in %.1f ms, %s", side, what, outcome, ms, where, extra=extra)


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, RPCError):
        return f"{error.code} {error.status}".rstrip()
    return type(error).__name__ if isinstance(error, Exception) else "cancelled"


def _who_called(call: Call) -> str:
    caller = f"{call.caller} at " if call.caller else ""
    return f"from {caller}{call.peer.address}" if call.peer else "from nobody"


def _who_answered(call: Call) -> str:
    tries = "1 attempt" if len(call.attempts) == 1 else f"{len(call.attempts)} attempts"
    return f"{tries}, {call.attempts[-1].node.id}" if call.attempts else tries
