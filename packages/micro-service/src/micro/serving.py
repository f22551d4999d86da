"""The order of life of a service, between its lifespans.

    start   bind → subscribe → register, at most `register.wait` for a registry or broker that does not answer
    stop    deregister → serve on for `stop.propagation` → refuse new calls, let running ones end within `stop.drain`
            → flush accepted events for `stop.flush` → close

Subscriptions end beside the first two steps. A registry whose records never leave the process needs no propagation. A
service that is cancelled, or told to stop a second time, says goodbye and closes at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from uuid import uuid4

import anyio
from micro_core import (
    ConfigurationError,
    Endpoint,
    Handler,
    Listener,
    Node,
    Reach,
    Registry,
    Server,
    ServiceRecord,
    SubscriberMiddleware,
    Transport,
    capture_clock,
)

from micro.handlers import check_names
from micro.registration import GOODBYE, Registration
from micro.runtime import Runtime
from micro.subscribers import Subscriber, event_handler
from micro.subscribing import Subscriptions

log = logging.getLogger("micro.service")


class Serving:
    """Entered once everything that the service serves is known; raises ConfigurationError when it cannot be served.

    Attributes:
        address: where it is bound.
        record: what it registers.
    """

    address: str
    record: ServiceRecord

    def __init__(
        self,
        runtime: Runtime,
        metadata: dict[str, str],
        handlers: Sequence[Handler],
        subscribers: Sequence[Subscriber],
        middleware: Sequence[SubscriberMiddleware],
    ) -> None:
        self._runtime = runtime
        self._settings = runtime.config.settings
        self._metadata = metadata
        self._handlers = handlers
        self._subscribers = subscribers
        self._middleware = middleware
        self._subscriptions: Subscriptions | None = None
        self._registration: Registration | None = None
        self._listener: Listener | None = None
        self._waits = anyio.CancelScope()

    async def __aenter__(self) -> Self:
        check_names(self._handlers)
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        return self

    async def _start(self) -> None:
        settings, parts = self._settings, self._runtime.parts
        server = await parts.server()
        self._listener = await self._listen(server)
        self.address = self._listener.address
        await self._subscribe()
        self.record = self._record(server)
        log.info("%s %s serves at %s, advertised as %s", self.record.name, self.record.version, self.address, self._at)
        self._registration = Registration(self.record, parts.names, parts.name_of("registry"), settings)
        self._runtime.tasks.start_soon(self._registration.run)
        self._waits.deadline = anyio.current_time() + settings.register_wait
        with self._waits:
            if self._subscriptions is not None:
                await self._subscriptions.settled.wait()
            await self._registration.settled.wait()
        for waited in (self._subscriptions, self._registration):
            if waited is not None and waited.refused is not None:
                raise waited.refused
        self._tell_who_can_call()

    def hurry(self) -> bool:
        """Waits no longer for a registry or broker; False while it cannot be called yet."""
        self._waits.cancel()
        return self._registration is not None

    async def _listen(self, server: Server) -> Listener:
        address = self._settings.server_address
        try:
            return await server.serve(address, self._settings.server_name, self._handlers)
        except ConfigurationError as error:
            if not address or address not in str(error):
                raise
            raise ConfigurationError(f"{self._runtime.config.source('server.address')}: {error}") from error

    @property
    def _at(self) -> str:
        return self.record.nodes[0].address

    async def _subscribe(self) -> None:
        if not self._subscribers:
            return
        codecs = await self._runtime.parts.codecs()
        name = self._settings.server_name
        handlers = [
            (subscriber, event_handler(subscriber, name, codecs, self._middleware)) for subscriber in self._subscribers
        ]
        self._subscriptions = Subscriptions(handlers, self._runtime.parts.broker)
        self._runtime.tasks.start_soon(self._subscriptions.run)

    def _record(self, server: Server) -> ServiceRecord:
        from micro_core.metadata import core_version
        from micro_discovery import HOST_KEY, host_id, reachable_address

        settings, parts = self._settings, self._runtime.parts
        transport: Transport | None = parts.opened("transport")
        metadata = {
            **self._metadata,
            **({} if transport is None else transport.node_metadata),
            "protocol": server.protocol,
            "transport": parts.name_of("transport"),
            "broker": parts.name_of("broker"),
            "registry": parts.name_of("registry"),
            "server": parts.name_of("server"),
            "micro-py": core_version(),
            HOST_KEY: host_id(),
        }
        address = reachable_address(self.address, settings.server_advertise)
        node = Node(f"{settings.server_name}-{uuid4()}", address, metadata)
        return ServiceRecord(settings.server_name, settings.server_version, (node,), tuple(self._endpoints()))

    def _endpoints(self) -> list[Endpoint]:
        from micro.described import described

        handlers = sorted(self._handlers, key=lambda handler: handler.endpoint.name)
        served = described(handlers, self._settings.register_schemas)
        return [*served, *(each.endpoint for each in self._subscribers)]

    def _tell_who_can_call(self) -> None:
        name = self.record.name
        registry: Registry | None = self._runtime.parts.opened("registry")
        if not _is_loopback(self.address):
            if self.record.nodes[0].metadata.get("tls") != "1":
                log.info("%s is open to the network at %s, without TLS", name, self.address)
        elif registry is not None and registry.reach is Reach.NETWORK:
            log.info("%s can be called from this host only; MICRO_SERVER_ADDRESS=:0 serves the network", name)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None or issubclass(kind, Exception):
                await self._stop()
        finally:
            await self._close()

    async def _stop(self) -> None:
        settings, clock = self._settings, capture_clock()
        limit = settings.stop_propagation + settings.stop_drain
        if self._subscriptions is not None:
            self._runtime.tasks.start_soon(self._subscriptions.stop, limit)
        if self._registration is not None:
            await self._registration.stop()
        await anyio.sleep(self._propagation())
        if self._listener is not None:
            await self._listener.drain(clock() + settings.stop_drain)
        if self._subscriptions is not None:
            await self._subscriptions.stopped.wait()
        await self._runtime.flush()

    def _propagation(self) -> float:
        registry: Registry | None = self._runtime.parts.opened("registry")
        alone = registry is None or registry.read_only or registry.reach is Reach.PROCESS
        return 0.0 if alone else self._settings.stop_propagation

    async def _close(self) -> None:
        """What must be done however it ends; nothing of it takes longer than a goodbye."""
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + GOODBYE):
            if self._subscriptions is not None:
                self._subscriptions.leave()
            if self._registration is not None:
                await self._registration.stop()
        if self._listener is not None:
            with anyio.CancelScope(shield=True):
                await self._listener.aclose()


def _is_loopback(address: str) -> bool:
    from ipaddress import ip_address

    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
