"""Every hook of Go Micro for Python: the whole surface a plugin can implement.

The first seven answer *which one*: the loader imports the one module that was chosen by name, and asks its hook for the
class. The next four answer *who else*: extensions, asked once when a service or client is built. The last one,
`micro_doctor`, is asked of extensions and of the plugins that are selected, by `micro doctor` alone. No hook is called
on the path of a call.

An entry point names a module, and the module holds the hook. An implementation may leave out arguments it does not
need: `def micro_registry() -> type[Registry]` is a whole hook for a module with one registry.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pluggy

from micro_core.broker import Broker, SubscriberMiddleware
from micro_core.call import Middleware
from micro_core.client import Client
from micro_core.codec import Codec
from micro_core.doctor import Finding
from micro_core.registry import Registry
from micro_core.selector import Selector
from micro_core.server import Server
from micro_core.transport import Transport

PROJECT = "micro"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Host(Protocol):
    """The service or client that an extension is asked for; `name` is empty for a client of no service."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> str:
        """Its version."""
        ...


@hookspec(firstresult=True)
def micro_registry(name: str) -> type[Registry]:  # type: ignore[empty-body]
    """The registry class that the entry point `name` stands for."""


@hookspec(firstresult=True)
def micro_selector(name: str) -> type[Selector]:  # type: ignore[empty-body]
    """The selector class that the entry point `name` stands for."""


@hookspec(firstresult=True)
def micro_codec(name: str) -> type[Codec]:  # type: ignore[empty-body]
    """The codec class that the entry point `name`, a codec's name or a content type, stands for."""


@hookspec(firstresult=True)
def micro_transport(name: str) -> type[Transport]:  # type: ignore[empty-body]
    """The transport class that the entry point `name` stands for."""


@hookspec(firstresult=True)
def micro_broker(name: str) -> type[Broker]:  # type: ignore[empty-body]
    """The broker class that the entry point `name` stands for."""


@hookspec(firstresult=True)
def micro_client(name: str) -> type[Client]:  # type: ignore[empty-body]
    """The client class that the entry point `name` stands for."""


@hookspec(firstresult=True)
def micro_server(name: str) -> type[Server]:  # type: ignore[empty-body]
    """The server class that the entry point `name` stands for."""


@hookspec
def micro_lifespan(service: Host) -> AbstractAsyncContextManager[Any]:  # type: ignore[empty-body]
    """A context that is entered before the service serves and left after it has stopped."""


@hookspec
def micro_client_middleware(service: Host) -> Middleware:  # type: ignore[empty-body]
    """Middleware around every call that the service or client makes."""


@hookspec
def micro_server_middleware(service: Host) -> Middleware:  # type: ignore[empty-body]
    """Middleware around every handler of the service."""


@hookspec
def micro_subscriber_middleware(service: Host) -> SubscriberMiddleware:  # type: ignore[empty-body]
    """Middleware around every subscriber of the service."""


@hookspec
def micro_doctor(options: Any) -> Iterable[Finding]:  # type: ignore[empty-body]
    """What `micro doctor` should know about this plugin here: what it needs from the host, and whether it is there.

    `options` are the plugin's Options as configured, None for an extension. Called outside of any event loop; it may
    take a second or two, and leaves nothing behind.
    """
