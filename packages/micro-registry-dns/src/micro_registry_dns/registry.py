"""The registry itself: the interface of micro_core over a cache of lookups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar, Self

import anyio.lowlevel
import dns.asyncresolver
import dns.nameserver
import dns.resolver
from micro_core import (
    ConfigurationError,
    NotRegistered,
    Reach,
    Registry,
    RegistryUnavailable,
    ServiceRecord,
    Snapshot,
    capture_clock,
    hookimpl,
    option,
)

from micro_registry_dns.cache import Cache
from micro_registry_dns.questions import TRY, Questions
from micro_registry_dns.sockets import AnyioBackend
from micro_registry_dns.watcher import Watcher


class DnsRegistry(Registry):
    """Finds services in DNS; `register` and `deregister` do nothing: who runs the zone says what there is.

    Lookups are cached as long as their TTL says and asked again when somebody wants to know; watches want to know.
    DNS cannot list names, so `list_services` and a watch of everything show the names of option `services`.
    """

    reach: ClassVar[Reach] = Reach.NETWORK
    read_only: ClassVar[bool] = True

    @dataclass(frozen=True, slots=True)
    class Options:
        """The options of registry `dns`."""

        domain: str = option("", help="domain of the services; empty where their names are full ones")
        port: int = option(
            0, help="port of services that have A or AAAA records only; 0 leaves those out", minimum=0, maximum=65535
        )
        resolver: tuple[str, ...] = option((), help="name servers, as 10.0.0.2 or 10.0.0.2:53; empty for the system's")
        services: tuple[str, ...] = option((), help="names to show where all are asked for, since DNS cannot list")
        timeout: float = option(1.0, help="seconds to wait for the answers to one lookup", minimum=0.05, maximum=30.0)
        minimum_ttl: float = option(1.0, help="seconds for which every answer is kept at least", minimum=0.05)

        def __post_init__(self) -> None:
            for text in self.resolver:
                name_server(text)

    def __init__(self, options: Options) -> None:
        self._options = options
        self._cache: Cache | None = None

    def __repr__(self) -> str:
        return f"<DnsRegistry {self._options.domain!r}>"

    async def __aenter__(self) -> Self:
        """Asks nothing yet. Raises ConfigurationError where the system names no name server and the options do not."""
        clock = capture_clock()
        questions = Questions(
            _resolver(self._options.resolver),
            AnyioBackend(),
            clock,
            domain=self._options.domain,
            port=self._options.port,
            timeout=self._options.timeout,
            minimum_ttl=self._options.minimum_ttl,
        )
        self._cache = Cache(questions, clock, self._options.minimum_ttl)
        return self

    def _open(self) -> Cache:
        if self._cache is None:
            raise RegistryUnavailable("the dns registry is not open: enter it with `async with`")
        return self._cache

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        """Does nothing: the zone says what there is."""
        await anyio.lowlevel.checkpoint()

    async def deregister(self, service: ServiceRecord) -> None:
        """Does nothing: the zone says what there is."""
        await anyio.lowlevel.checkpoint()

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        """As `Registry.get_service`; case makes no difference to DNS. The version of all is `latest`."""
        entry = await self._open().fresh(name)
        if entry.trouble:
            raise RegistryUnavailable(f"DNS does not answer: {entry.trouble}")
        if not entry.services:
            raise NotRegistered(self._missing(name))
        return entry.services

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        """As `Registry.list_services`: those of option `services` that have nodes, with these."""
        entries = await self._open().all_fresh(self._options.services)
        for entry in entries:
            if entry.trouble:
                raise RegistryUnavailable(f"DNS does not answer: {entry.trouble}")
        return tuple(record for entry in entries for record in entry.services)

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        """As `Registry.watch`; asks again when the TTL is over. Absence from DNS is no goodbye, so nobody departs."""
        names = self._options.services if name is None else (name,)
        watcher = Watcher(self._open(), names)
        try:
            yield watcher
        finally:
            watcher.close()

    def _missing(self, name: str) -> str:
        names = self._open().questions.names(name)
        if names is None:
            return f"{name!r} cannot be a name in DNS"
        if self._options.port:
            return f"no node of {name!r} in DNS: neither SRV records of {names[0]} nor addresses of {names[1]}"
        return (
            f"no node of {name!r} in DNS: no SRV records of {names[0]}; "
            f"addresses of {names[1]} are asked for when MICRO_REGISTRY_DNS_PORT says their port"
        )


def name_server(text: str) -> tuple[str, int]:
    """Address and port of a name server. Raises ValueError."""
    host, colon, port = text.rpartition(":") if text.startswith("[") or text.count(":") == 1 else (text, "", "")
    if not colon or text.endswith("]"):
        host, port = text, "53"
    bare = host.removeprefix("[").removesuffix("]")
    try:
        address = str(ip_address(bare))
        number = int(port)
    except ValueError:
        number = 0
        address = ""
    if not address or not 0 < number < 65536:
        raise ValueError(f"option 'resolver': expected an IP address, or one with a port, as 10.0.0.2:53, not {text!r}")
    return address, number


def _resolver(servers: tuple[str, ...]) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver(configure=not servers)
    except dns.resolver.NoResolverConfiguration as error:
        raise ConfigurationError(
            f"registry 'dns' finds no name server of the system ({error}); name one by MICRO_REGISTRY_DNS_RESOLVER"
        ) from error
    if servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(*name_server(text)) for text in servers]
    resolver.cache = None
    resolver.timeout = TRY
    return resolver


@hookimpl
def micro_registry() -> type[Registry]:
    """The class behind entry point `dns`."""
    return DnsRegistry
