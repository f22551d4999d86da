"""What runs under a service or client: a task group, the parts, the extensions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
from micro_core import (
    Broker,
    BrokerUnavailable,
    CallNext,
    Codecs,
    Host,
    Middleware,
    RegistryUnavailable,
    ServiceNotFound,
    capture_clock,
)
from micro_core.loader import load_extensions

from micro.caller import Caller
from micro.config import Config
from micro.middleware import answers, chain
from micro.outgoing import Outgoing
from micro.parts import Parts, preload, warn_of
from micro.publishing import Publisher

if TYPE_CHECKING:
    import pluggy
    from anyio.abc import TaskGroup

log = logging.getLogger("micro.service")

DEFAULT_TIMEOUT = 5.0


class Runtime:
    """Entered and left once, by the task that enters the service or client.

    Args:
        host: what extensions are asked for.
        config: which plugins, with which options.
        objects: kinds that were passed in code as objects.
        middleware: around every call and stream that is made from here.
    """

    tasks: TaskGroup
    extensions: pluggy.PluginManager

    def __init__(
        self, host: Host, config: Config, objects: Mapping[str, object], middleware: Sequence[Middleware]
    ) -> None:
        self.host = host
        self.config = config
        self.objects = objects
        self.parts = Parts(config, objects)
        self._middleware = tuple(middleware)

    async def __aenter__(self) -> Self:
        preload(self.config, self.objects)
        self.extensions = load_extensions(self.config.settings.extensions_disabled)
        self._middleware = (*answers(self.extensions.hook.micro_client_middleware, self.host), *self._middleware)
        warn_of(self.config)
        self.tasks = await anyio.create_task_group().__aenter__()
        try:
            await self.tasks.start(self.parts.run)
        except BaseException:  # `__aexit__` is not called for who never entered
            await self._end_tasks()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.parts.close()
        try:
            if not self.parts.opening:  # what has not opened yet may never do so
                await self.parts.closed.wait()
        finally:
            await self._end_tasks()

    async def _end_tasks(self) -> None:
        self.tasks.cancel_scope.cancel()
        await self.tasks.__aexit__(None, None, None)

    async def flush(self) -> None:
        """Waits for accepted events to be delivered, at most for `stop.flush`."""
        broker: Broker | None = self.parts.opened("broker")
        if broker is None:
            return
        limit = self.config.settings.stop_flush
        with anyio.move_on_after(limit):
            await broker.flush(capture_clock()() + limit)

    def attach(self, caller: Caller) -> None:
        """Makes a caller work; it opens what it uses when it first uses it."""
        caller._attach(self._prepare, self._open_client, self.parts.names, self.tasks.start_soon)

    def _prepare(self) -> tuple[Outgoing, Publisher]:
        options = self._client_options()
        outgoing = Outgoing(self.host.name, getattr(options, "request_timeout", DEFAULT_TIMEOUT))
        return outgoing, Publisher(outgoing, self._open_publishing, getattr(options, "content_type", ""))

    def _client_options(self) -> Any:
        if "client" in self.objects:
            return getattr(self.objects["client"], "options", None)
        return self.config.plugin("client").options

    async def _open_client(self) -> tuple[CallNext, CallNext]:
        try:
            client = await self.parts.client()
        except RegistryUnavailable as error:
            raise ServiceNotFound(f"no registry to look in: {error}") from error
        return chain(self._middleware, client.call), chain(self._middleware, client.stream)

    async def _open_publishing(self) -> tuple[Broker, Codecs]:
        try:
            return await self.parts.broker(), await self.parts.codecs()
        except RegistryUnavailable as error:
            raise BrokerUnavailable(f"no registry to find subscribers in: {error}") from error
