"""The client that stands alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import MappingProxyType, TracebackType
from typing import Any, Self

import anyio
from micro_core import Broker, Middleware, Registry, Selector, ServiceNotFound, Transport
from micro_core import Client as ClientPlugin

from micro.caller import Caller
from micro.config import Config
from micro.middleware import answers
from micro.mistakes import Mistakes
from micro.runtime import Runtime
from micro.words import functions, split_kinds

log = logging.getLogger("micro.service")


class Client(Caller):
    """Calls services and publishes events, from a program that serves none itself.

        async with micro.Client() as client:
            reply = await client.call("greeter", "Say.Hello", HelloRequest("Ada"), HelloReply)

    Args:
        name: what it calls itself towards services; empty for nothing.
        registry, selector, transport, broker, client: each the name of an installed plugin, or an object, which is
            final: no environment overrides it. An object is entered and left by this client.
        options: by dotted key: `registry.consul.token`, `client.request_timeout`, `namespace`.
        client_middleware: around every call and stream; the first is the outermost.

    Entering raises ConfigurationError when something that was chosen cannot be had, or an argument is wrong: the text
    begins with its file and line. A registry that cannot be reached is asked again by each call. Leaving gives accepted
    events `stop.flush` seconds to be delivered, then closes everything; calls that still run are cancelled.
    """

    def __init__(
        self,
        name: str = "",
        *,
        version: str = "latest",
        registry: str | Registry | None = None,
        selector: str | Selector | None = None,
        transport: str | Transport | None = None,
        broker: str | Broker | None = None,
        client: str | ClientPlugin | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
        client_middleware: Sequence[Middleware] = (),
    ) -> None:
        super().__init__()
        self.name = name
        self.version = version
        self._mistakes = Mistakes()
        with self._mistakes:
            self._code, self._objects = split_kinds(
                options, registry=registry, selector=selector, transport=transport, broker=broker, client=client
            )
            self._middleware = functions("client_middleware", client_middleware)
        self._stack: AsyncExitStack | None = None
        self._entered = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this client runs already; share it inside its `async with`, or make another one")
        self._mistakes.tell()
        self._entered = True
        try:
            await self._open()
        except BaseException:
            self._entered = False
            raise
        return self

    async def _open(self) -> None:
        config = Config("", self._code, environment=os.environ)
        async with AsyncExitStack() as stack:
            runtime = await stack.enter_async_context(Runtime(self, config, self._objects, self._middleware))
            self._runtime = runtime
            runtime.attach(self)
            stack.callback(self._detach)
            for lifespan in answers(runtime.extensions.hook.micro_lifespan, self):
                await stack.enter_async_context(lifespan)
            await self._open_soon(config.settings.register_wait)
            self._stack = stack.pop_all()

    async def _open_soon(self, seconds: float) -> None:
        try:
            with anyio.move_on_after(seconds) as scope:
                await self._ready()
            if scope.cancelled_caught:
                log.warning("the client was not open after %g s; calls wait for it", seconds)
        except ServiceNotFound as error:
            log.warning("%s; calls ask again", error.detail)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            if kind is None or issubclass(kind, Exception):
                stack.push_async_callback(self._runtime.flush)
            try:
                await stack.__aexit__(kind, error, trace)
            finally:
                self._entered = False

    def __repr__(self) -> str:
        return f"<micro.Client {self.name!r}>" if self.name else "<micro.Client>"
