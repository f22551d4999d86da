"""`micro doctor`: what was selected, whether it loads and answers, and what to do about what does not.

The registry is asked twice over: a service that lives for this alone registers itself through one, and is looked up and
called through another, by the address it advertised. It takes any free port of the host that services here serve at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from uuid import uuid4

import anyio
import micro
from micro.config import DEFAULTS, Config
from micro.config.sources import variable
from micro_core import Broker, ConfigurationError, Event, Finding, MicroError, Reach, Registry, SubscribeOptions
from micro_core.doctor import findings_of
from micro_core.loader import EXTENSIONS, Loaded, load_extensions, plugins
from micro_core.metadata import InstalledPlugin

from micro_cli.connection import PATIENCE, Connection
from micro_cli.ending import OK, UNREACHABLE, USAGE, Unreachable, explained

RETURN = 3.0
"""Seconds in which a registration or an event must come back."""

PROBE = "micro-doctor"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One finding about a kind; `code` is the exit code that it stands for."""

    kind: str
    level: str
    text: str
    cure: str = ""
    code: int = OK


def of_finding(kind: str, finding: Finding) -> Diagnosis:
    """What a plugin said about itself."""
    return Diagnosis(kind, finding.level, finding.text, finding.cure, UNREACHABLE if finding.level == "error" else OK)


class Selected:
    """What is known before anything is opened: the file, the plugins, what they say of themselves.

    Attributes:
        broken: whether something that was selected cannot be had, so that nothing can be opened.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.broken = False

    def findings(self) -> Iterator[Diagnosis]:
        """In order of dependency; a plugin that cannot be had does not keep the others from being looked at."""
        path = self._config.path
        yield Diagnosis("config", "ok", f"the file {path} is read" if path else "there is no config file")
        for warning in self._config.warnings:
            yield Diagnosis("config", "warning", warning, "correct its name, or unset it")
        for kind in DEFAULTS:
            yield from self._of_plugin(kind)
        yield from self._of_extensions()

    def _of_plugin(self, kind: str) -> Iterator[Diagnosis]:
        try:
            chosen = self._config.plugin(kind)
            choice = self._config.choice(kind)
        except ConfigurationError as error:
            cure = f"correct what it names, or choose another by {variable(kind)}; micro plugins lists what is there"
            yield self._wrong(kind, str(error), cure)
            return
        yield Diagnosis(kind, "ok", f"{choice.name}, by {choice.source}: {_origin(chosen.loaded)}; it loads")
        if chosen.loaded.plugin is not None:
            yield from self._hook(kind, chosen.loaded.plugin, chosen.options)

    def _of_extensions(self) -> Iterator[Diagnosis]:
        off = self._config.settings.extensions_disabled
        try:
            load_extensions(off)
        except ConfigurationError as error:
            yield self._wrong("extension", str(error), "install it again, or go without it as the text says")
            return
        for plugin in plugins(EXTENSIONS):
            if plugin.name in off:
                yield Diagnosis("extension", "ok", f"{plugin.name} is disabled")
            else:
                yield Diagnosis("extension", "ok", f"{plugin.name}: {plugin.distribution} {plugin.version}; it loads")
                yield from self._hook("extension", plugin, None)

    def _hook(self, kind: str, plugin: InstalledPlugin, options: Any) -> Iterator[Diagnosis]:
        try:
            for finding in findings_of(plugin, options):
                yield of_finding(kind, finding)
        except ConfigurationError as error:
            cure = f"tell the authors of {plugin.distribution}; what it does may work all the same"
            yield Diagnosis(kind, "warning", str(error), cure)

    def _wrong(self, kind: str, text: str, cure: str) -> Diagnosis:
        self.broken = True
        return Diagnosis(kind, "error", text, cure, USAGE)


class Life:
    """What is known when it is opened: whether the registry answers, a service can be called, an event comes back."""

    def __init__(
        self, connection: Connection, overrides: Mapping[str, object], tell: Callable[[Diagnosis], None]
    ) -> None:
        self._connection = connection
        self._tell = tell
        self._config: Config = connection.config
        self._overrides = overrides

    async def examine(self) -> None:
        """Tells what is found as it is found; what needs a registry that does not answer is not asked."""
        answers = await self._registry_answers()
        self._tell(answers)
        if answers.level == "error":
            return
        registry = await self._connection.registry()
        if registry.read_only:
            self._tell(
                Diagnosis("registry", "ok", "it is read-only: services come from outside, and none registers itself")
            )
        elif self._by_tls():
            self._tell(Diagnosis("server", "ok", "services here are called by TLS; micro call asks one of yours"))
        else:
            await self._of_probe(registry)
        if self._by_tls() and getattr(self._config.plugin("transport").options, "tls_cert", "") is None:
            self._tell(
                Diagnosis("broker", "ok", "without a certificate nothing is subscribed here; events are not tried")
            )
            return
        self._tell(await self._timed("broker", self._round_trip, "an event came back", _BROKER_CURE))

    def _by_tls(self) -> bool:
        """Whether calls are by TLS: no certificate is for a service that lives for this alone."""
        chosen = self._config.plugin("transport")
        return bool(chosen.loaded.cls(chosen.options).node_metadata.get("tls") == "1")

    async def _registry_answers(self) -> Diagnosis:
        started = perf_counter()
        try:
            known = await self._connection.all_records()
        except (MicroError, Unreachable) as error:
            name = self._connection.registry_name
            cure = f"start it or correct its address (micro plugins inspect registry/{name}), or choose another"
            return Diagnosis("registry", "error", explained(error)[0], cure, explained(error)[1])
        spent = (perf_counter() - started) * 1000
        return Diagnosis(
            "registry", "ok", f"it answers in {spent:.0f} ms; services known: {len({r.name for r in known})}"
        )

    async def _of_probe(self, registry: Registry) -> None:
        name = f"{PROBE}-{uuid4().hex[:8]}"
        service, started = micro.Service(name), perf_counter()
        try:
            service.configure(command_line={**self._overrides, **_probe_settings(self._config, name)})
            async with service:
                await self._of_registered(registry, name, started)
        except MicroError as error:
            cure = "correct MICRO_SERVER_ADDRESS or MICRO_SERVER_ADVERTISE"
            self._tell(Diagnosis("server", "error", f"a service cannot be served here: {error}", cure, USAGE))

    async def _of_registered(self, registry: Registry, name: str, started: float) -> None:
        address = await _address_of(registry, name)
        if address is None:
            text = f"a registration made here does not come back through it within {RETURN:g} s"
            cure = "look at its log and its rights to write; MICRO_LOG=debug micro doctor shows ours"
            self._tell(Diagnosis("registry", "error", text, cure, UNREACHABLE))
            return
        spent = (perf_counter() - started) * 1000
        self._tell(Diagnosis("registry", "ok", f"a registration made here came back through it in {spent:.0f} ms"))
        self._tell(_advertised(registry, address))

        async def dial() -> None:
            await self._connection.call(name, "Debug.Health", {}, address=address, timeout=RETURN)

        async def call() -> None:
            await self._connection.call(name, "Debug.Health", {}, timeout=RETURN)

        cure = "check MICRO_SERVER_ADVERTISE, the firewall and the network of the container"
        dialled = await self._timed("transport", dial, f"the advertised address {address} can be dialled", cure)
        self._tell(dialled)
        if dialled.level == "error":
            return
        cure = "MICRO_LOG=debug micro doctor shows what was tried"
        self._tell(await self._timed("client", call, "a call by name was answered", cure))

    async def _timed(self, kind: str, check: Callable[[], Awaitable[None]], text: str, cure: str) -> Diagnosis:
        started = perf_counter()
        try:
            with anyio.fail_after(PATIENCE + RETURN):
                await check()
        except (MicroError, Unreachable, TimeoutError) as error:
            why = explained(error)[0] if not isinstance(error, TimeoutError) else "it takes too long"
            return Diagnosis(kind, "error", why, cure, UNREACHABLE)
        return Diagnosis(kind, "ok", f"{text} ({(perf_counter() - started) * 1000:.0f} ms)")

    async def _round_trip(self) -> None:
        """An event through the broker and back. Raises MicroError, Unreachable."""
        broker: Broker = await self._connection.broker()
        topic, came = f"{PROBE}.{uuid4().hex[:8]}", anyio.Event()

        async def handle(_: Event) -> None:
            came.set()

        subscription = await broker.subscribe(topic, handle, SubscribeOptions())
        try:
            await self._connection.publish(topic, {"from": PROBE})
            with anyio.move_on_after(RETURN):
                await came.wait()
        finally:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + 1):
                await subscription.aclose()
        if not came.is_set():
            raise Unreachable(f"an event that was published did not come back within {RETURN:g} s")


_BROKER_CURE = "check MICRO_BROKER_ADDRESS and MICRO_BROKER_ADVERTISE, or choose another broker by MICRO_BROKER"


def _origin(loaded: Loaded[Any]) -> str:
    return f"{loaded.plugin.distribution} {loaded.plugin.version}" if loaded.plugin else "a class named directly"


def _probe_settings(config: Config, name: str) -> dict[str, object]:
    """The service's own host with any free port, so that one which runs already is not in the way."""
    settings = config.settings
    probe: dict[str, object] = {
        "server.name": name,
        "server.address": f"{_host(settings.server_address)}:0",
        "stop.propagation": 0.0,
        "register.ttl": 30.0,
        "register.interval": 10.0,
    }
    if settings.server_advertise:
        probe["server.advertise"] = _host(settings.server_advertise)
    return probe


def _host(address: str) -> str:
    host, colon, port = address.rpartition(":")
    return host if colon and port.isdigit() else address


async def _address_of(registry: Registry, name: str) -> str | None:
    with anyio.move_on_after(RETURN):
        while True:
            with contextlib.suppress(MicroError):
                for record in await registry.get_service(name):
                    for node in record.nodes:
                        return node.address
            await anyio.sleep(0.05)
    return None


def _advertised(registry: Registry, address: str) -> Diagnosis:
    from ipaddress import ip_address

    text = f"services here advertise {_host(address)}"
    try:
        loopback = ip_address(_host(address).strip("[]")).is_loopback
    except ValueError:
        loopback = _host(address) == "localhost"
    if loopback and registry.reach is Reach.NETWORK:
        text += ": this host alone can call them; MICRO_SERVER_ADDRESS=:0 serves the network"
    return Diagnosis("server", "ok", text)
