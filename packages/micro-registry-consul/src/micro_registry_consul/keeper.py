"""Being registered with an agent: in full once, by heartbeats after that, and in full again when the agent forgot.

The check of a node is kept passing from here every few seconds, for as long as its registration lives. So a process
that dies is left out after `liveness` seconds, long before its registration's own time is over, and an agent that
returns with nothing hears of it at the next beat.

A node that leaves first gets a second check, critical and named `goodbye:<id>`. Every reader leaves it out from then
on, Go Micro's too, and ours know that it did not merely disappear. The registration goes when the servers have it.

An agent knows a node by one id, whatever its service is called. So an id that it knows under another name already is
registered as `<id>@<name>`.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field, replace
from typing import cast

import anyio
from consul.base import Check, ConsulException  # type: ignore[import-untyped]
from micro_core import Clock, RegistryUnavailable, ServiceRecord

from micro_registry_consul.api import Answer, Api
from micro_registry_consul.client import Client
from micro_registry_consul.records import (
    GOODBYE,
    BadRecord,
    check_name,
    check_text,
    host_and_port,
    meta,
    read_health,
    tags,
    ttl_check,
)

log = logging.getLogger("micro.registry.consul")

BEAT = 3.0
"""Seconds between heartbeats, at most."""

SEEN_WITHIN = 0.3
"""Seconds that a goodbye may take to reach the servers."""

SPREAD = 0.2
"""Seconds that watchers get to read a goodbye before the node's record goes."""


class Forgotten(RegistryUnavailable):
    """The agent answers, and does not keep what it is told."""


@dataclass(eq=False, slots=True)
class Held:
    """A node that is to be known: its record with that node alone; `service_id` is what the agent calls it."""

    record: ServiceRecord
    ttl: float
    expires: float
    check_ttl: float
    due: float = 0.0
    whole: bool = False
    service_id: str = ""
    lock: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def id(self) -> str:
        """The node's id."""
        return self.record.nodes[0].id


class Keeper:
    """The nodes that this registry registered; `run` is its task."""

    def __init__(self, client: Client, clock: Clock, liveness: float) -> None:
        self._client = client
        self._clock = clock
        self._liveness = liveness
        self._held: dict[tuple[str, str], Held] = {}
        self._leaving: set[str] = set()
        self._naming = anyio.Lock()
        self._news = anyio.Event()

    async def register(self, service: ServiceRecord, ttl: float) -> None:
        """As `Registry.register`."""
        check_registration(service, ttl)
        for node in service.nodes:
            await self._register(replace(service, nodes=(node,)), ttl)

    async def _register(self, record: ServiceRecord, ttl: float) -> None:
        key = record.name, record.nodes[0].id
        known = self._held.get(key)
        expires = self._clock() + ttl if ttl else float("inf")
        if known is not None and (known.record, known.ttl) == (record, ttl):
            known.expires = expires
            await self._beat(key, known, passing=True)
            return
        check_ttl = min(ttl, self._liveness) if self._liveness else ttl
        held = Held(record, ttl, expires, check_ttl)
        if known is not None:
            held.lock = known.lock
        async with held.lock:
            await self._in_full(held)
            self._held[key] = held
        self._news.set()

    async def _in_full(self, held: Held) -> None:
        check = ttl_check(held.check_ttl)
        await self._client.check_datacenter()
        async with self._naming:
            held.service_id = await self._service_id(held)
            await self._unsay(held.service_id)
            if not await self._put(held, check):
                raise Forgotten(f"the Consul agent at {self._client.address} did not take {held.id!r}")
        if check is not None and not await self._pass(held):
            raise Forgotten(f"the Consul agent at {self._client.address} forgot {held.id!r} at once")
        self._done(held)

    async def _service_id(self, held: Held) -> str:
        name, id = held.record.name, held.id
        theirs = (await self._own()).get(id, name)
        return id if theirs == name and not id.endswith(f"@{name}") else f"{id}@{name}"

    async def _unsay(self, service_id: str) -> None:
        if service_id in self._leaving:
            await self._client.write(lambda api, token: api.agent.check.deregister(GOODBYE + service_id, token=token))
            self._leaving.discard(service_id)

    async def _put(self, held: Held, check: dict[str, str] | None) -> bool:
        record, node, id = held.record, held.record.nodes[0], held.service_id
        host, port = host_and_port(node.address)
        done = await self._client.write(
            lambda api, token: api.agent.service.register(
                record.name, id, host, port, tags(record, node), check, token, meta(node)
            )
        )
        return bool(done)

    async def _pass(self, held: Held) -> bool:
        check = f"service:{held.service_id}"

        async def beat(api: Api, token: str | None) -> Answer:
            try:
                return cast("Answer", await api.agent.check.ttl_pass(check, token=token))
            except ConsulException as error:
                if type(error) is not ConsulException:
                    raise
                return Answer(False, False)  # a 500, by which older agents say what newer ones say by 404

        return bool(await self._client.write(beat))

    async def _listed(self, held: Held) -> bool:
        return (await self._own()).get(held.service_id) == held.record.name

    def _done(self, held: Held) -> None:
        now = self._clock()
        held.whole = True
        beat = min(BEAT, held.check_ttl / 3) if held.check_ttl else BEAT
        held.due = now + beat * random.uniform(0.8, 1.0)  # noqa: S311 - jitter
        last = held.expires - held.check_ttl
        if now < last < held.due:
            held.due = last

    async def _beat(self, key: tuple[str, str], held: Held, *, passing: bool) -> None:
        async with held.lock:
            if self._held.get(key) is not held:
                return
            there = held.whole and await (self._pass(held) if passing and held.check_ttl else self._listed(held))
            if there:
                self._done(held)
                return
            held.whole = False
            await self._in_full(held)
            log.info("%s was registered again: the Consul agent at %s had lost it", held.id, self._client.address)

    async def deregister(self, service: ServiceRecord) -> None:
        """As `Registry.deregister`; a cancelled one may leave nodes that nobody calls, for Consul to remove."""
        leaving = []
        for node in service.nodes:
            check_name(node.id, "the id")
            held = self._held.get((service.name, node.id))
            async with held.lock if held is not None else anyio.Lock():
                self._held.pop((service.name, node.id), None)
                service_id = held.service_id if held is not None else await self._find(service.name, node.id)
                if service_id and await self._say_goodbye(service_id):
                    leaving.append(service_id)
        if leaving:
            await self._seen(service.name, {node.id for node in service.nodes})
            await anyio.sleep(SPREAD)
        for service_id in leaving:
            await self._remove(service_id)

    async def _find(self, name: str, id: str) -> str:
        own = await self._own()
        return next((known for known in (f"{id}@{name}", id) if own.get(known) == name), "")

    async def _say_goodbye(self, service_id: str) -> bool:
        check = {**Check.ttl("1h0m0s"), "DeregisterCriticalServiceAfter": "1m0s"}
        self._leaving.add(service_id)
        return bool(
            await self._client.write(
                lambda api, token: api.agent.check.register(
                    "left", check, GOODBYE + service_id, service_id=service_id, token=token
                )
            )
        )

    async def _remove(self, id: str) -> None:
        await self._client.write(lambda api, token: api.agent.service.deregister(id, token=token))
        self._leaving.discard(id)

    async def _own(self) -> dict[str, str]:
        """What the agent itself holds: names by id."""
        known = await self._client.ask_agent(lambda api, token: api.agent.services(token=token))
        services = known.items() if isinstance(known, dict) else ()
        return {id: str(service.get("Service")) for id, service in services if isinstance(service, dict)}

    async def _seen(self, name: str, ids: set[str]) -> None:
        """Waits until lookups show the goodbyes, a little while; one that comes too late is doubted, no more."""
        with anyio.move_on_after(SEEN_WITHIN):
            while True:
                _, entries = await self._client.read_exactly(lambda api, token: api.health.service(name, token=token))
                try:
                    read = read_health(name, entries)
                except BadRecord:
                    return
                if not ids & {node.id for record in read.records for node in record.nodes}:
                    return
                await anyio.sleep(0.01)

    async def run(self) -> None:
        """Keeps every node known; never ends. What fails is tried again at the client's pace."""
        while True:
            self._news = anyio.Event()
            for key, held in list(self._held.items()):
                await self._keep(key, held)
            due = min((held.due for held in self._held.values()), default=float("inf"))
            with anyio.move_on_after(max(0.0, due - self._clock())):
                await self._news.wait()

    async def _keep(self, key: tuple[str, str], held: Held) -> None:
        now = self._clock()
        if now >= held.expires:
            if self._held.get(key) is held:
                del self._held[key]
        elif now >= held.due:
            try:
                await self._beat(key, held, passing=now < held.expires - held.check_ttl)
            except RegistryUnavailable as error:
                log.debug("%s could not be kept registered: %s", held.id, error)
                if isinstance(error, Forgotten):
                    await anyio.sleep(BEAT)  # three requests that succeeded, for nothing: no gate is closed by them


def check_registration(service: ServiceRecord, ttl: float) -> None:
    """Raises ValueError for what cannot be registered."""
    check_name(service.name, "the name")
    check_text(service.version, "the version")
    ttl_check(ttl)
    for node in service.nodes:
        check_name(node.id, "the id")
        host_and_port(node.address)
