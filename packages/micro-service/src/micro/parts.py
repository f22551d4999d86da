"""The parts that a service or client is built from, each opened when it is first needed, in the order of dependency.

    registry → discovery ┐
    selector, transport, codecs ┴→ client
    registry → broker
    transport, codecs → server

Components may hold task groups, which must be left in the task that entered them, in reverse order. A handler may be
the first to publish or to call, and handlers run in tasks of their own. So one task, the owner, enters every component
on one exit stack, one request after the other, and leaves them all when it is told to close.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, cast

import anyio
from micro_core import (
    Broker,
    Client,
    Codec,
    Codecs,
    Component,
    ConfigurationError,
    Discovery,
    MicroError,
    Registry,
    Server,
)
from micro_core.loader import KINDS, ContentTypes, plugins

from micro.config import Config

if TYPE_CHECKING:
    from anyio.abc import TaskStatus
    from anyio.streams.memory import MemoryObjectSendStream

log = logging.getLogger("micro.service")


class _Request:
    __slots__ = ("done", "error", "part")

    def __init__(self, part: str) -> None:
        self.part = part
        self.done = anyio.Event()
        self.error: Exception | None = None


class Parts:
    """What is open, by name of its part; `run` is the owner task.

    Attributes:
        opening: the part that is being opened now, or empty.
        closed: set once the owner has left everything.

    Args:
        config: which plugins, with which options.
        objects: what was passed in code as an object: final, and entered and left here like the others.
    """

    def __init__(self, config: Config, objects: Mapping[str, object]) -> None:
        self.config = config
        self._objects = objects
        self._open: dict[str, Any] = {}
        self._stack = AsyncExitStack()
        self._requests: MemoryObjectSendStream[_Request]
        self._asked: set[_Request] = set()
        self._backend = ""
        self.closed = anyio.Event()
        self.opening = ""

    async def registry(self) -> Registry:
        """The registry, as it was chosen: names are without the namespace."""
        return cast(Registry, await self.part("registry"))

    async def names(self) -> Registry:
        """The registry inside the namespace."""
        return cast(Registry, await self.part("names"))

    async def client(self) -> Client:
        """The client with all it needs."""
        return cast(Client, await self.part("client"))

    async def broker(self) -> Broker:
        """The broker."""
        return cast(Broker, await self.part("broker"))

    async def server(self) -> Server:
        """The server with its transport."""
        return cast(Server, await self.part("server"))

    async def codecs(self) -> Codecs:
        """The installed codecs."""
        return cast(Codecs, await self.part("codecs"))

    def opened(self, part: str) -> Any:
        """The part if it is open, else None."""
        return self._open.get(part)

    async def part(self, part: str) -> Any:
        """Opens the part unless it is open. Raises what opening raises; a later call tries again."""
        if part not in self._open:
            await self._ask(_Request(part))
        return self._open[part]

    async def _ask(self, request: _Request) -> None:
        try:
            self._asked.add(request)
            await self._requests.send(request)
            await request.done.wait()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise _closed(request.part) from None
        finally:
            self._asked.discard(request)
        if request.error is not None:
            raise request.error

    def close(self) -> None:
        """Tells the owner to leave everything; it has when its task ends."""
        self._requests.close()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """The owner task."""
        self._backend = _backend()
        self._requests, requests = anyio.create_memory_object_stream[_Request](64)
        try:
            async with self._stack, self._requests, requests:
                task_status.started()
                async for request in requests:
                    await self._answer(request)
        except Exception:
            log.exception("a component failed while it was closed")
        finally:
            self.closed.set()
            for request in self._asked:
                request.error = request.error or _closed(request.part)
                request.done.set()

    async def _answer(self, request: _Request) -> None:
        self.opening = request.part
        try:
            await self._get(request.part)
        except Exception as error:
            request.error = error
        finally:
            self.opening = ""
            request.done.set()

    async def _get(self, part: str) -> Any:
        if part not in self._open:
            self._open[part] = await self._make(part)
        return self._open[part]

    async def _make(self, part: str) -> Any:
        if part == "codecs":
            return ContentTypes(configured_codecs(self.config))
        if part == "names":
            return await self._names()
        if part == "discovery":
            return await self._discovery()
        made = self._objects[part] if part in self._objects else await self._build(part)
        self._check(part, made)
        if isinstance(made, Component):
            self._check_backend(part, made)
            return await self._stack.enter_async_context(made)
        return made

    async def _build(self, kind: str) -> Any:
        chosen = self.config.plugin(kind)
        warn_of(self.config)
        log.info("%s, chosen by %s", chosen.loaded, chosen.source)
        collaborators = [await self._get(part) for part in _NEEDS[kind]]
        options = self._broker_options(chosen.options) if kind == "broker" else chosen.options
        return chosen.loaded.cls(*collaborators, options)

    def _broker_options(self, options: Any) -> Any:
        """A broker that listens does so at the server's host, and is advertised as it, unless it was told otherwise."""
        options = self._secured(options)
        if getattr(options, "address", None) != "" or not hasattr(options, "advertise"):
            return options
        settings = self.config.settings
        advertise = options.advertise or _host(settings.server_advertise)
        return replace(options, address=f"{_host(settings.server_address)}:0", advertise=advertise)

    def _secured(self, options: Any) -> Any:
        """Options of TLS that a broker was not given are the transport's, and its certificate's name the service's."""
        if "transport" in self._objects or not hasattr(options, "tls_name"):
            return options
        theirs = self.config.plugin("transport").options
        given: dict[str, Any] = {"tls_name": options.tls_name or self.config.settings.server_name}
        if options.tls_cert is not None:
            given["tls_key"] = options.tls_key
        for field in fields(options):
            if field.name.startswith("tls_") and getattr(options, field.name) == field.default:
                given.setdefault(field.name, getattr(theirs, field.name, field.default))
        return replace(options, **given)

    async def _names(self) -> Registry:
        from micro_discovery import Namespaced

        registry = await self._get("registry")
        namespace = self.config.settings.namespace
        return cast(Registry, Namespaced(registry, namespace) if namespace else registry)

    async def _discovery(self) -> Discovery:
        from micro_discovery import RegistryDiscovery

        settings = self.config.settings
        discovery = RegistryDiscovery(
            await self._get("names"),
            registry_name=self.name_of("registry"),
            namespace=settings.namespace,
            lookup_timeout=settings.client_lookup_timeout,
            departed=(await self._get("transport")).forget,
        )
        return cast(Discovery, await self._stack.enter_async_context(discovery))

    def name_of(self, kind: str) -> str:
        """The plugin's name, or the class of an object."""
        if kind in self._objects:
            return type(self._objects[kind]).__name__
        return self.config.choice(kind).name

    def _check(self, kind: str, made: object) -> None:
        if not isinstance(made, KINDS[kind]):
            raise ConfigurationError(
                f"{kind}={made!r} is neither the name of a {kind} nor a micro_core.{KINDS[kind].__name__}"
            )

    def _check_backend(self, kind: str, made: Component) -> None:
        if self._backend not in made.backends:
            able = " and ".join(sorted(made.backends))
            raise ConfigurationError(
                f"{kind} {self.name_of(kind)!r} runs on {able} only, and this process runs on {self._backend}; "
                f"choose another {kind}, or run on {able}"
            )


_NEEDS: Mapping[str, tuple[str, ...]] = {
    "registry": (),
    "selector": (),
    "transport": (),
    "client": ("discovery", "selector", "transport", "codecs"),
    "broker": ("names",),
    "server": ("transport", "codecs"),
}


def _host(address: str) -> str:
    """The host of `host:port` or of a bare host, with the brackets of an IPv6 one."""
    host, colon, port = address.rpartition(":")
    return host if colon and port.isdigit() and (not host.count(":") or host.endswith("]")) else address


def _closed(part: str) -> MicroError:
    return MicroError(f"the {part} cannot be opened: this service or client has been closed")


def _backend() -> str:
    import sys

    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            return "trio"
    return "asyncio"


def configured_codecs(config: Config) -> dict[str, Codec]:
    """The codecs that options were written for, by content type; the others are made when they are first needed."""
    from micro_core.loader import load_plugin

    found: dict[str, Codec] = {}
    for plugin in plugins("micro.codec"):
        if config.has_options("codec", plugin.name):
            cls = load_plugin("codec", plugin)
            options, _ = config.options("codec", plugin.name, cls)
            codec: Codec = cls(options)
            found.update(dict.fromkeys(cls.content_types, codec))
    return found


def warn_of(config: Config) -> None:
    """Logs what the configuration has found; an unknown option shows when the plugin it is for is first loaded."""
    for warning in config.new_warnings():
        log.warning("%s", warning)


def preload(config: Config, objects: Mapping[str, object]) -> None:
    """Loads what a person chose by name, so that a mistake shows at start. Raises ConfigurationError."""
    for kind in _NEEDS:
        if kind not in objects and config.written(kind):
            config.plugin(kind)
