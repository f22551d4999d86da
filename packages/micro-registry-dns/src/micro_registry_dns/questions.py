"""What is asked of DNS for a service, and what nodes the answers are.

    service greeter, domain example.com                   the same without a domain: service greeter.example.com
      1. SRV   _greeter._tcp.example.com  (RFC 2782)        SRV   _greeter._tcp.example.com
         A     of each target, AAAA where it has none
      2. A     greeter.example.com, then AAAA              only where no SRV record is there and a port was given

- Of SRV records those of the lowest priority are nodes; priority and weight stand in their metadata.
- A node's id is `target:port`, so it survives a change of its address; where a target has several addresses each is a
  node and the address is added. Without SRV the id is `address:port`.
- NXDOMAIN, an answer without records and the target `.` mean that there is no node. Everything else that is not an
  answer (no reply, SERVFAIL, REFUSED) means that DNS does not answer.
- A lookup is good as long as the shortest TTL of its answers, at least a second (option `minimum_ttl`); an absence as
  its SOA says, at most half a minute, so that a service that starts is found.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final

import anyio
import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
import dns.ttl
from micro_core import Clock, Node, ServiceRecord

log = logging.getLogger("micro.registry.dns")

VERSION = "latest"
"""DNS knows no versions."""
SPOKEN: Final = MappingProxyType({"protocol": "mucp"})
"""Nor protocols; whoever writes an address down means mucp (WIRE §5.6)."""
MAX_TTL = 3_600.0
MAX_ABSENT = 30.0
ABSENT = 5.0
"""Seconds for which an absence holds that no SOA goes with."""
TRY = 0.35
"""Seconds until the next name server is asked, or the same one again."""
MAX_NODES = 1_000
MAX_QUESTIONS = 16
"""Questions of one lookup that are under way at once."""


class Unanswered(Exception):
    """DNS does not answer; the text says what was asked and what came."""


@dataclass(frozen=True, slots=True)
class Found:
    """What DNS says of a service: its nodes, and the seconds for which that holds."""

    nodes: tuple[Node, ...]
    ttl: float

    def record(self, service: str) -> tuple[ServiceRecord, ...]:
        """As registries give it: one record, or none without nodes."""
        return (ServiceRecord(service, VERSION, self.nodes),) if self.nodes else ()


NOTHING = Found((), ABSENT)


class Questions:
    """Asks for services. One lookup takes `timeout` seconds at most, all its questions together."""

    def __init__(
        self,
        resolver: dns.asyncresolver.Resolver,
        backend: Any,
        clock: Clock,
        *,
        domain: str,
        port: int,
        timeout: float,
        minimum_ttl: float,
    ) -> None:
        self._resolver: Final = resolver
        self._backend = backend
        self._clock = clock
        self._domain = domain.strip(".")
        self._port = port
        self._timeout = timeout
        self._minimum_ttl = minimum_ttl
        self._warned: set[str] = set()

    def names(self, service: str) -> tuple[dns.name.Name, dns.name.Name] | None:
        """The names to ask for SRV and for A records; None for a service that cannot be a name in DNS."""
        first, _, rest = (service, "", self._domain) if self._domain else service.partition(".")
        try:
            domain = dns.name.from_text(f"{rest}.")
            labels = [label.encode("ascii") for label in first.split(".")]
            if not all(labels):
                return None
            underscored = dns.name.Name((b"_" + labels[0], *labels[1:], b"_tcp"))
            return underscored.concatenate(domain), dns.name.Name(labels).concatenate(domain)
        except (dns.exception.DNSException, UnicodeError):
            return None

    async def find(self, service: str) -> Found:
        """The nodes of a service. Raises Unanswered."""
        names = self.names(service)
        if names is None:
            return NOTHING
        deadline = self._clock() + self._timeout
        answer, ttl, more = await self._ask(names[0], "SRV", deadline)
        if answer or not self._port:
            return await self._targets(service, answer, ttl, more, deadline)
        addresses, other_ttl = await self._addresses(names[1], deadline)
        nodes = {each: Node(each, each, SPOKEN) for each in (_join(address, self._port) for address in addresses)}
        return Found(tuple(nodes[key] for key in sorted(nodes)[:MAX_NODES]), min(ttl, other_ttl))

    async def _targets(
        self, service: str, answer: list[Any], ttl: float, more: dns.message.Message | None, deadline: float
    ) -> Found:
        usable = [each for each in answer if each.target != dns.name.root and each.port]
        best = min((each.priority for each in usable), default=0)
        chosen = sorted((each for each in usable if each.priority == best), key=lambda each: each.to_text())[:MAX_NODES]
        hosts = await self._hosts({each.target for each in chosen}, more, deadline)
        nodes: dict[str, Node] = {}
        for each in chosen:
            addresses, other_ttl = hosts[each.target]
            self._warn_of_no_address(service, each.target, addresses)
            ttl = self._bounded(min(ttl, other_ttl))
            nodes |= {node.id: node for node in _nodes(each, addresses)}
        return Found(tuple(nodes[key] for key in sorted(nodes)[:MAX_NODES]), ttl)

    async def _hosts(
        self, targets: set[dns.name.Name], more: dns.message.Message | None, deadline: float
    ) -> dict[dns.name.Name, tuple[list[str], float]]:
        """Addresses of each target, as they came along with the SRV records, else asked for side by side."""
        hosts = _along(more, targets) if more is not None else {}
        troubles: list[Unanswered] = []
        limit = anyio.Semaphore(MAX_QUESTIONS)

        async def ask(target: dns.name.Name) -> None:
            async with limit:
                try:
                    hosts[target] = await self._addresses(target, deadline)
                except Unanswered as error:
                    troubles.append(error)

        async with anyio.create_task_group() as group:
            for target in targets - hosts.keys():
                group.start_soon(ask, target)
        if troubles:
            raise troubles[0]
        return hosts

    async def _addresses(self, name: dns.name.Name, deadline: float) -> tuple[list[str], float]:
        """IPv4 addresses, or IPv6 where there are none: a host with both is one node, not two."""
        found, ttl, _ = await self._ask(name, "A", deadline)
        if not found:
            found, other_ttl, _ = await self._ask(name, "AAAA", deadline)
            ttl = min(ttl, other_ttl)
        return _ordered(found), ttl

    async def _ask(
        self, name: dns.name.Name, kind: str, deadline: float
    ) -> tuple[list[Any], float, dns.message.Message | None]:
        """The records of a name, how long they hold, and the message with them. Raises Unanswered."""
        remaining = deadline - self._clock()
        try:
            if remaining <= 0:
                raise Unanswered(f"{name} {kind}: nothing within {self._timeout:g} s")
            answer = await self._resolver.resolve(
                name, kind, raise_on_no_answer=False, search=False, lifetime=remaining, backend=self._backend
            )
        except dns.resolver.NXDOMAIN as error:
            return [], self._absent(_nxdomain(error, name)), None
        except (dns.exception.DNSException, OSError) as error:
            raise Unanswered(f"{name} {kind}: {_shortly(error)}") from error
        if answer.rrset is None:
            return [], self._absent(answer.response), None
        return list(answer.rrset), self._bounded(answer.chaining_result.minimum_ttl), answer.response

    def _bounded(self, ttl: float) -> float:
        return min(max(float(ttl), self._minimum_ttl), MAX_TTL)

    def _absent(self, response: dns.message.Message) -> float:
        """Seconds for which an absence holds (RFC 2308)."""
        assert isinstance(response, dns.message.QueryMessage)
        ttl = response.resolve_chaining().minimum_ttl
        return ABSENT if ttl == dns.ttl.MAX_TTL else min(self._bounded(ttl), MAX_ABSENT)

    def _warn_of_no_address(self, service: str, target: dns.name.Name, addresses: list[str]) -> None:
        if addresses or target.to_text() in self._warned or len(self._warned) >= MAX_NODES:
            return
        self._warned.add(target.to_text())
        log.warning("service %s: %s, which an SRV record names, has no address; it is left out", service, target)


def _nodes(srv: Any, addresses: list[str]) -> Iterable[Node]:
    metadata = {**SPOKEN, "priority": str(srv.priority), "weight": str(srv.weight)}
    id = f"{srv.target.to_text(omit_final_dot=True).lower()}:{srv.port}"
    if len(addresses) == 1:
        return [Node(id, _join(addresses[0], srv.port), metadata)]
    return [Node(f"{id}/{address}", _join(address, srv.port), metadata) for address in addresses]


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _ordered(records: Iterable[Any]) -> list[str]:
    return sorted({each.address for each in records}, key=lambda text: ip_address(text).packed)


def _along(message: dns.message.Message, targets: set[dns.name.Name]) -> dict[dns.name.Name, tuple[list[str], float]]:
    """Addresses that stand in the additional section; IPv6 only where that section has no IPv4 address."""
    found: dict[dns.name.Name, tuple[list[str], float]] = {}
    for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
        for rrset in message.additional:
            if rrset.rdtype == kind and rrset.name in targets and rrset.name not in found:
                found[rrset.name] = (_ordered(rrset), float(rrset.ttl))
    return found


def _nxdomain(error: dns.resolver.NXDOMAIN, name: dns.name.Name) -> dns.message.Message:
    response: dns.message.Message = error.kwargs["responses"][name]
    return response


def _shortly(error: Exception) -> str:
    """What came instead of an answer, in a few words."""
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return "no answer in time"
    if isinstance(error, dns.resolver.NoNameservers):
        return "; ".join(sorted({str(each[3]) or type(each[3]).__name__ for each in error.kwargs["errors"]}))
    return str(error) or type(error).__name__
