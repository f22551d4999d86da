"""The registry itself: the interface of micro_core over a client, a keeper and feeds."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import anyio
from anyio.abc import TaskGroup
from micro_core import (
    NotRegistered,
    OptionError,
    Reach,
    Registry,
    RegistryUnavailable,
    Secret,
    ServiceRecord,
    Snapshot,
    capture_clock,
    option,
)

from micro_registry_consul.api import read_address
from micro_registry_consul.client import Access, Client
from micro_registry_consul.feed import Feeds, Watch, names_and_versions
from micro_registry_consul.keeper import Keeper
from micro_registry_consul.records import BadRecord, check_name, read_health

log = logging.getLogger("micro.registry.consul")

LOOKUP = 1.0
"""Seconds that a lookup waits."""


class ConsulRegistry(Registry):
    """Services of a Consul datacenter, through an agent's HTTP API, as Go Micro keeps them there (WIRE §2).

    Nodes that were registered are registered again when an agent returns that forgot them. Leaving the registry
    deregisters none; Consul leaves them out after `liveness` seconds.

    While no agent answers, lookups and registrations raise RegistryUnavailable, at most one request a second leaves,
    and watches go on with what is known.
    """

    reach: ClassVar[Reach] = Reach.NETWORK

    @dataclass(frozen=True, slots=True)
    class Options:
        """What can be chosen."""

        address: tuple[str, ...] = option(
            ("127.0.0.1:8500",),
            help="host:port or http(s)://host:port of an agent, or of several that are tried in turn",
            environment="CONSUL_HTTP_ADDR",
        )
        datacenter: str = option("", help="datacenter to look in; empty for the agent's own")
        token: Secret | None = option(
            None,
            help="ACL token with service:write for own names, service:read for others",
            environment="CONSUL_HTTP_TOKEN",
        )
        tls: bool = option(
            False, help="speak TLS to addresses without http:// or https://", environment="CONSUL_HTTP_SSL"
        )
        ca_file: Path | None = option(
            None,
            help="certificates that an agent's is verified by; the system's by default",
            environment="CONSUL_CACERT",
        )
        cert_file: Path | None = option(None, help="own certificate, for mTLS", environment="CONSUL_CLIENT_CERT")
        key_file: Path | None = option(None, help="key of the own certificate", environment="CONSUL_CLIENT_KEY")
        server_name: str = option(
            "", help="name in the agent's certificate, where not the address", environment="CONSUL_TLS_SERVER_NAME"
        )
        timeout: float = option(2.0, help="how long an agent's answer is waited for", minimum=0.01)
        wait: float = option(30.0, help="how long a blocking query waits for a change", minimum=1.0, maximum=540.0)
        liveness: float = option(
            10.0, help="how soon a node whose process died is left out; 0: when its registration is over", minimum=0.0
        )

    def __init__(self, options: Options) -> None:
        self._options = options
        self._access = access_of(options)
        self._tasks: TaskGroup | None = None
        self._client: Client
        self._keeper: Keeper
        self._feeds: Feeds

    def __repr__(self) -> str:
        return f"<ConsulRegistry {', '.join(str(address) for address in self._access.addresses)}>"

    async def __aenter__(self) -> Self:
        """Asks nothing of Consul yet. Raises ConfigurationError when certificates cannot be used."""
        clock = capture_clock()
        self._client = Client(self._access, clock)
        self._keeper = Keeper(self._client, clock, self._options.liveness)
        self._tasks = await anyio.create_task_group().__aenter__()
        self._feeds = Feeds(self._client, clock, self._tasks, self._options.wait)
        self._tasks.start_soon(self._keep)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes every connection; what was registered is not deregistered."""
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return
        tasks.cancel_scope.cancel()
        try:
            await tasks.__aexit__(None, None, None)
        finally:
            await self._client.close()

    async def _keep(self) -> None:
        while True:
            try:
                await self._keeper.run()
            except Exception:
                log.exception("keeping nodes registered failed; going on")
                await self._client.pace.turn()

    def _open(self) -> None:
        if self._tasks is None:
            raise RegistryUnavailable("the consul registry is not open: enter it with `async with`")

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        """As the interface says. ValueError also for names and ids that cannot stand in a path."""
        self._open()
        await self._keeper.register(service, ttl)

    async def deregister(self, service: ServiceRecord) -> None:
        """As the interface says; it takes a twentieth of a second, in which watchers read the goodbye."""
        self._open()
        await self._keeper.deregister(service)

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """As the interface says. Also of names that are not Go Micro's: their nodes have version `""`."""
        self._open()
        unknown = NotRegistered(f"no node of {name!r} that passes its checks in Consul at {self._client.address}")
        try:
            check_name(name, "the name")
        except ValueError:
            raise unknown from None
        _, entries = await self._client.read(lambda api, token: api.health.service(name, token=token), LOOKUP)
        try:
            read = read_health(name, entries)
        except BadRecord as error:
            raise RegistryUnavailable(f"the Consul agent at {self._client.address}: {error}") from None
        self._feeds.warn(name, read.unreadable)
        if not read.records:
            raise unknown
        return read.records

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """As the interface says, without nodes and endpoints; names that are not Go Micro's are left out."""
        self._open()
        _, names = await self._client.read(lambda api, token: api.catalog.services(token=token), LOOKUP)
        try:
            found = names_and_versions(names)
        except BadRecord as error:
            raise RegistryUnavailable(f"the Consul agent at {self._client.address}: {error}") from None
        return tuple(ServiceRecord(name, version) for name, version in sorted(found))

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        """As the interface says; names that cannot be in Consul have no nodes."""
        self._open()
        if name is not None:
            try:
                check_name(name, "the name")
            except ValueError:
                async with aclosing(_nothing()) as nothing:
                    yield nothing
                return
        with self._feeds.use(name) as feed:
            yield Watch(feed)


async def _nothing() -> AsyncGenerator[Snapshot, None]:
    yield Snapshot(())
    await anyio.sleep_forever()


def access_of(options: ConsulRegistry.Options) -> Access:
    """How agents are reached by these options. Raises OptionError for options that make no sense."""
    addresses = tuple(read_address(text, tls=options.tls) for text in options.address)
    given = options.ca_file, options.cert_file, options.key_file
    ca, cert, key = (None if file is None else str(file) for file in given)
    if not addresses:
        raise OptionError("option 'address': expected the address of an agent, not none")
    if (ca or cert or key) and all(address.scheme == "http" for address in addresses):
        raise OptionError(
            f"certificates are given, but {addresses[0]} is not spoken to by TLS: set tls, or write https://"
        )
    if key and not cert:
        raise OptionError("option 'key_file' is given without 'cert_file'")
    return Access(addresses, options.datacenter, options.token, ca, cert, key, options.server_name, options.timeout)
