"""A service: handlers, subscribers, and what surrounds their life."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeAlias, TypeVar, cast, overload

import anyio
from micro_core import (
    Broker,
    Capability,
    Client,
    ConfigurationError,
    Middleware,
    Registry,
    Selector,
    Server,
    ServiceRecord,
    SubscribeOptions,
    SubscriberMiddleware,
    Transport,
)

from micro.caller import Caller
from micro.config import Config
from micro.handlers import check_handler, handlers_of
from micro.hooks import Hooks
from micro.middleware import answers
from micro.mistakes import Mistakes
from micro.naming import check_name
from micro.runtime import Runtime
from micro.serving import Serving
from micro.subscribers import Subscriber, check_subscriber, check_topic
from micro.words import check_function, functions, split_kinds, texts

H = TypeVar("H")
F = TypeVar("F", bound=Callable[..., Any])
Lifespan: TypeAlias = Callable[[], AsyncIterator[Any]] | Callable[[], AbstractAsyncContextManager[Any]]
Hook: TypeAlias = Callable[[], Awaitable[None]] | Callable[[], None]
HookT = TypeVar("HookT", bound=Hook)
LifespanT = TypeVar("LifespanT", bound=Lifespan)


class Service:
    """A service of that name.

        service = micro.Service("greeter")

        @service.handler
        class Say:
            async def hello(self, request: HelloRequest) -> HelloReply: ...

        if __name__ == "__main__":
            service.run()

    `async with service:` enters it registered and serving, or serving alone when the registry does not answer in time;
    leaving stops it gracefully. Nothing is read from the environment before it is entered or run.

    Args:
        name: what callers call, at most 255 characters without blanks and slashes; MICRO_SERVER_NAME overrides it when
            the process runs one service.
        version: registered with it.
        metadata: registered with its node, for callers to choose by.
        registry, selector, transport, broker, client, server: each the name of an installed plugin, or an object, which
            is final: no environment overrides it. An object is entered and left by this service.
        options: by dotted key: `registry.consul.token`, `server.address`, `stop.drain`.
        server_middleware, client_middleware, subscriber_middleware: around every handler, every call made from here,
            every subscriber; the first is the outermost, and streams are covered too.

    Raises:
        ConfigurationError: on entering, when something that was chosen cannot be had, or a handler not be served; also
            for an argument here, or to a method, that is wrong: the text begins with its file and line.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "latest",
        metadata: Mapping[str, str] = MappingProxyType({}),
        registry: str | Registry | None = None,
        selector: str | Selector | None = None,
        transport: str | Transport | None = None,
        broker: str | Broker | None = None,
        client: str | Client | None = None,
        server: str | Server | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
        server_middleware: Sequence[Middleware] = (),
        client_middleware: Sequence[Middleware] = (),
        subscriber_middleware: Sequence[SubscriberMiddleware] = (),
    ) -> None:
        self._name = name
        self._version = version
        self._code: dict[str, Any] = {}
        self._objects: dict[str, object] = {}
        self._mistakes = Mistakes()
        with self._mistakes:
            check_name(name)
            code, self._objects = split_kinds(
                options,
                registry=registry,
                selector=selector,
                transport=transport,
                broker=broker,
                client=client,
                server=server,
            )
            self._code = {"server.version": version, **code}
            self._metadata = texts("metadata", metadata)
            self._server_middleware = functions("server_middleware", server_middleware)
            self._client_middleware = functions("client_middleware", client_middleware)
            self._subscriber_middleware = functions("subscriber_middleware", subscriber_middleware)
        self._handlers: list[tuple[object, str | None]] = []
        self._subscribers: list[Subscriber] = []
        self._lifespans: list[Callable[[], AbstractAsyncContextManager[Any]]] = []
        self._hooks = Hooks()
        self._config: Config | None = None
        self._serving: Serving | None = None
        self._starting: tuple[Serving, anyio.CancelScope] | None = None
        self._stack: AsyncExitStack | None = None
        self._kept = (0, 0)
        self.client = Caller()
        """Calls and publishes in this service's name; works while the service runs."""

    @property
    def name(self) -> str:
        """Its name; once it runs, the one it is registered by."""
        return self._config.settings.server_name if self._config else self._name

    @property
    def version(self) -> str:
        """Its version; once it runs, the one it is registered by."""
        return self._config.settings.server_version if self._config else self._version

    @property
    def address(self) -> str:
        """`host:port` as bound. Raises RuntimeError unless it serves."""
        return self._running.address

    @property
    def record(self) -> ServiceRecord:
        """What it registers. Raises RuntimeError unless it serves."""
        return self._running.record

    @property
    def _running(self) -> Serving:
        if self._serving is None:
            raise RuntimeError(f"service {self.name!r} does not serve: `async with service:` or service.run()")
        return self._serving

    @overload
    def handler(self, handler: H, *, name: str | None = None) -> H: ...

    @overload
    def handler(self, *, name: str | None = None) -> Callable[[H], H]: ...

    def handler(self, handler: Any = ..., *, name: str | None = None) -> Any:
        """Serves the public methods of a class or object, and of its bases; also as a decorator.

        `hello` and `say_hello` become the endpoints `Say.Hello` and `Say.SayHello`; `name` replaces `Say`. The methods'
        annotations are read when the service starts; what has no methods is an error then, too.

        Raises:
            ConfigurationError: the service serves already.
        """
        if handler is ...:
            return lambda decorated: self.handler(decorated, name=name)
        self._not_serving("handlers")
        with self._mistakes:
            check_handler(handler)
            self._handlers.append((handler, name))
        return handler

    def subscriber(
        self,
        topic: str,
        *,
        queue: str | None = None,
        concurrency: int = 1,
        manual_ack: bool = False,
        requires: frozenset[Capability] = frozenset(),
    ) -> Callable[[F], F]:
        """Calls the decorated function with every event of a topic.

        Its annotation says what an event is decoded to; `micro.Event` gives it undecoded. An event whose function
        raises is delivered again, and finally dead-lettered, as the broker promises.

        Args:
            topic: what is published to.
            queue: subscribers of one queue share the events; without it each gets every event.
            concurrency: how many calls run at once.
            manual_ack: the function, given a `micro.Event`, acknowledges itself.
            requires: what the broker must be capable of; one that is not is an error at start.

        Raises:
            ConfigurationError: the service serves already.
        """
        self._not_serving("subscribers")
        with self._mistakes:
            check_topic(topic)

        def subscribe(function: F) -> F:
            with self._mistakes:
                check_subscriber(function, concurrency, requires)
                options = SubscribeOptions(queue, concurrency, manual_ack, frozenset(requires))
                self._subscribers.append(Subscriber(topic, function, options))
            return function

        return subscribe

    def _not_serving(self, what: str) -> None:
        if self._serving is not None:
            raise ConfigurationError(f"service {self.name!r} serves already; add {what} before, or in a lifespan")

    def lifespan(self, lifespan: LifespanT) -> LifespanT:
        """What surrounds the service's life: an async generator that yields once, or an async context manager.

        Entered before it serves, so handlers may be added in it; left after it has stopped. `service.client` works
        within.
        """
        with self._mistakes:
            check_function(lifespan, "a lifespan is an async generator", "async def life(): …; yield")
            made = cast(Any, lifespan)
            self._lifespans.append(asynccontextmanager(made) if inspect.isasyncgenfunction(made) else made)
        return lifespan

    def before_start(self, hook: HookT) -> HookT:
        """Called first of all; sync or async, as every hook."""
        return self._hook("before_start", hook)

    def after_start(self, hook: HookT) -> HookT:
        """Called when it is registered and serving."""
        return self._hook("after_start", hook)

    def before_stop(self, hook: HookT) -> HookT:
        """Called while it still serves."""
        return self._hook("before_stop", hook)

    def after_stop(self, hook: HookT) -> HookT:
        """Called when everything has ended."""
        return self._hook("after_stop", hook)

    def _hook(self, moment: str, hook: HookT) -> HookT:
        with self._mistakes:
            check_function(hook, "a hook is a function without arguments", f"async def {moment}() -> None")
            self._hooks.add(moment, hook)
        return hook

    def configure(
        self, *, command_line: Mapping[str, object] = MappingProxyType({}), beside: Collection[str] = ()
    ) -> Config:
        """Reads the configuration now, with what a command line says; the next start takes it.

        `beside` names the other services of the process. Raises ConfigurationError.
        """
        self._mistakes.tell()
        self._config = Config(self._name, self._code, command_line=command_line, environment=os.environ, beside=beside)
        return self._config

    def run(self, *, backend: str | None = None) -> None:
        """Serves until SIGINT or SIGTERM, as `micro.run(service)`."""
        from micro.run import run

        run(self, backend=backend)

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise RuntimeError(f"service {self.name!r} runs already")
        self._mistakes.tell()
        self._kept = len(self._handlers), len(self._subscribers)
        config = self._config or self.configure()
        async with AsyncExitStack() as stack:
            stack.callback(self._forget)
            await self._hooks.run("before_start")
            stack.push_async_callback(self._hooks.run_all, "after_stop")
            runtime = await stack.enter_async_context(Runtime(self, config, self._objects, self._client_middleware))
            runtime.attach(self.client)
            for lifespan in answers(runtime.extensions.hook.micro_lifespan, self):
                await stack.enter_async_context(lifespan)
            for made in self._lifespans:
                await stack.enter_async_context(_surrounding(made))
            serving, started = self._starting = self._serve(runtime), anyio.CancelScope()
            self._serving = await stack.enter_async_context(serving)
            with started:
                await self._hooks.run("after_start")
            self._stack = stack.pop_all()
        return self

    def hurry(self) -> bool:
        """Cuts short what is left of its start, so that it can be stopped gracefully; False while none can call it yet.

        A registry or broker is not waited for any longer, and `after_start` hooks that still run are cancelled.
        """
        if self._starting is None or not self._starting[0].hurry():
            return False
        self._starting[1].cancel()
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.push_async_callback(self._hooks.run_all, "before_stop")
            await stack.__aexit__(kind, error, trace)

    def _serve(self, runtime: Runtime) -> Serving:
        self._mistakes.tell()
        hook = runtime.extensions.hook
        middleware = (*answers(hook.micro_server_middleware, self), *self._server_middleware)
        around = (*answers(hook.micro_subscriber_middleware, self), *self._subscriber_middleware)
        handlers = [made for handler, name in self._handlers for made in handlers_of(handler, name, middleware)]
        pairs = dict(pair.split("=", 1) for pair in runtime.config.settings.server_metadata)
        return Serving(runtime, {**self._metadata, **pairs}, handlers, self._subscribers, around)

    def _forget(self) -> None:
        """After a run: what lifespans added, and what was read from the environment, belong to that run alone."""
        handlers, subscribers = self._kept
        del self._handlers[handlers:], self._subscribers[subscribers:]
        self._config = self._serving = self._starting = None
        self._mistakes.forget()
        self.client._detach()

    def __repr__(self) -> str:
        return f"<micro.Service {self.name!r}>"


def _surrounding(made: Callable[[], AbstractAsyncContextManager[Any]]) -> AbstractAsyncContextManager[Any]:
    lifespan: Any = made()
    if isinstance(lifespan, AbstractAsyncContextManager):
        return lifespan
    if inspect.iscoroutine(lifespan):
        lifespan.close()
    name = getattr(made, "__qualname__", repr(made))
    raise ConfigurationError(
        f"lifespan {name} is neither an async generator nor an async context manager; "
        f"write `async def {getattr(made, '__name__', 'life')}(): …; yield`"
    )
