"""The server: handlers behind a transport's listener."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup
from micro_core import Codecs, ConfigurationError, Handler, Listener, Server, Transport, capture_clock, option

from micro_rpc.debug import Debug
from micro_rpc.routing import Served, check_types
from micro_rpc.slots import Slots

_LAST_WORDS = 0.5
"""Seconds that cancelled calls have to tell their callers, when a listener closes."""


class RPCServer(Server):
    """Serves Go Micro's mucp (WIRE §5), gRPC over HTTP/2, and plain `POST /<service>/<endpoint>`."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """Options of the server `rpc`."""

        max_running: int = option(1000, help="handlers of a service that run at once", minimum=1)
        max_waiting: int = option(
            100, help="calls that wait for one; more are refused, to be tried elsewhere", minimum=0
        )
        max_reply: int = option(4 * 1024 * 1024, help="bytes of the largest reply", minimum=1)

    def __init__(self, transport: Transport, codecs: Codecs, options: Options) -> None:
        self._transport = transport
        self._codecs = codecs
        self._options = options
        self._debug = Debug()
        self._tasks: TaskGroup | None = None
        self._listeners: list[RPCListener] = []

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._debug.watch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return
        self._debug.unwatch()
        try:
            for listener in self._listeners:
                await listener.aclose()
        finally:
            self._listeners.clear()
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)

    async def serve(self, address: str, service: str, handlers: Sequence[Handler]) -> Listener:  # noqa: D102
        if self._tasks is None:
            raise ConfigurationError("the server serves only inside `async with`")
        check_types(service, handlers, self._codecs)
        options = self._options
        slots = Slots(options.max_running, options.max_waiting)
        served = Served(service, handlers, self._codecs, capture_clock(), slots, options.max_reply)
        for handler in self._debug.handlers():
            served.handlers.setdefault(handler.endpoint.name, handler)
        listener = RPCListener(await self._transport.listen(address, served.accept), served)
        self._listeners.append(listener)
        self._tasks.start_soon(listener.sweep)
        return listener


class RPCListener(Listener):
    """The transport's listener, and what is served there."""

    def __init__(self, inner: Listener, served: Served) -> None:
        self.address = inner.address
        self._inner = inner
        self._served = served
        self._sweeping = anyio.CancelScope()
        self._closed = False

    async def sweep(self) -> None:
        """Holds the deadlines of its calls until it is closed."""
        with self._sweeping:
            await self._served.sweep.run()

    async def drain(self, deadline: float) -> None:  # noqa: D102
        self._served.leave_off()
        await self._inner.drain(deadline)

    async def aclose(self) -> None:
        """As any listener's; running calls end with a 503 where their callers can still be told."""
        if self._closed:
            return
        self._closed = True
        self._served.leave_off()
        try:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _LAST_WORDS):
                await self._stop()
        finally:
            self._sweeping.cancel()
            await self._inner.aclose()

    async def _stop(self) -> None:
        running = self._served.sweep.running
        if running:
            self._served.idle = anyio.Event()
            for work in tuple(running):
                work.stop()
            await self._served.idle.wait()
            await self._inner.drain(self._served.clock() + _LAST_WORDS)
