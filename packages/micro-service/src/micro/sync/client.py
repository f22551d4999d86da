"""The blocking client as its users see it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from micro_core import Broker, Middleware, Registry, Selector, ServiceRecord, Transport
from micro_core import Client as ClientPlugin
from micro_core.revival import check_named

from micro.calling import CallOptions, Key, ProxyOptions, StreamOptions, check
from micro.client import Client as AsyncClient
from micro.config import Config
from micro.response import Response
from micro.run import event_loop
from micro.stream import Stream as AsyncStream
from micro.sync.background import Background
from micro.sync.proxy import Proxy
from micro.sync.streams import Stream

T = TypeVar("T")


class Client:
    """`micro.Client` for code that blocks: the same words, without `await`.

        client = micro.sync.Client()
        reply = client.call("greeter", "Say.Hello", HelloRequest("Ada"), HelloReply)

    Usable at once, by any number of threads, and closed when the process ends; or as a context that closes it earlier.
    The first use starts a thread with an event loop, which all calls share. A process that was forked, such as a worker
    of Celery or gunicorn, starts its own at its first use. Inside a handler that runs in a thread, calls end by the
    deadline of the call that is served, and its metadata goes along, as with `service.client`.

    Ctrl-C cancels the call that waits, here and at the server, and is raised.

    Args:
        name, version, registry, selector, transport, broker, client, options, client_middleware: as `micro.Client`.
            Middleware, and a function given as `where`, run in the event loop.
        backend: asyncio, uvloop or trio; by default MICRO_BACKEND, else uvloop where it is installed, else asyncio.

    Every method raises ConfigurationError at the first use when something that was chosen cannot be had, and
    RuntimeError after `close`, or where it would block the event loop that serves a call.
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
        backend: str | None = None,
    ) -> None:
        self.name = name

        def make() -> AsyncClient:
            return AsyncClient(
                name,
                version=version,
                registry=registry,
                selector=selector,
                transport=transport,
                broker=broker,
                client=client,
                options=options,
                client_middleware=client_middleware,
            )

        written = make()  # here, where a mistake has the line of whoever wrote it

        def loop() -> tuple[str, dict[str, Any]]:
            written._mistakes.tell()
            return event_loop(backend or Config("", options, environment=os.environ).settings.backend)

        self._background = Background(make, loop)
        weakref.finalize(self, self._background.abandon).atexit = False

    @overload
    def call(self, service: str, endpoint: str, request: Any, reply: type[T], **options: Unpack[CallOptions]) -> T: ...

    @overload
    def call(
        self, service: str, endpoint: str, request: Any, reply: Any = ..., **options: Unpack[CallOptions]
    ) -> Any: ...

    def call(self, service: str, endpoint: str, request: Any, reply: Any = Any, **options: Unpack[CallOptions]) -> Any:
        """As `micro.Client.call`."""

        async def call(client: AsyncClient) -> Any:
            return await client.call(service, endpoint, request, reply, **options)

        return self._background.wait(None, call)

    @overload
    def call_response(
        self, service: str, endpoint: str, request: Any, reply: type[T], **options: Unpack[CallOptions]
    ) -> Response[T]: ...

    @overload
    def call_response(
        self, service: str, endpoint: str, request: Any, reply: Any = ..., **options: Unpack[CallOptions]
    ) -> Response[Any]: ...

    def call_response(
        self, service: str, endpoint: str, request: Any, reply: Any = Any, **options: Unpack[CallOptions]
    ) -> Response[Any]:
        """As `micro.Client.call_response`."""

        async def call(client: AsyncClient) -> Response[Any]:
            return await client.call_response(service, endpoint, request, reply, **options)

        return self._background.wait(None, call)

    @overload
    def stream(self, service: str, endpoint: str, reply: type[T], **options: Unpack[StreamOptions]) -> Stream[T]: ...

    @overload
    def stream(
        self, service: str, endpoint: str, reply: Any = ..., **options: Unpack[StreamOptions]
    ) -> Stream[Any]: ...

    def stream(self, service: str, endpoint: str, reply: Any = Any, **options: Unpack[StreamOptions]) -> Stream[Any]:
        """As `micro.Client.stream`, opened by `with client.stream(…) as stream:`."""
        check(options, StreamOptions)
        check_named(options.get("errors", ()))

        def make(client: AsyncClient) -> AsyncStream[Any]:
            return client.stream(service, endpoint, reply, **options)

        return Stream(self._background, make)

    def publish(
        self,
        topic: str,
        event: Any,
        *,
        timeout: float | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        key: Key | None = None,
    ) -> None:
        """As `micro.Client.publish`; `close`, or exit, gives accepted events `stop.flush` seconds to be delivered."""

        async def publish(client: AsyncClient) -> None:
            await client.publish(topic, event, timeout=timeout, content_type=content_type, metadata=metadata, key=key)

        self._background.wait(None, publish)

    def list_services(self) -> tuple[ServiceRecord, ...]:
        """As `micro.Client.list_services`."""
        return self._background.wait(None, AsyncClient.list_services)

    def proxy(self, contract: Callable[..., T], service: str, **options: Unpack[ProxyOptions]) -> T:
        """A typed client: has the unary and server-streaming methods of `contract`.

        For a type checker the contract has plain methods, `def hello(self, request: HelloRequest) -> HelloReply` and
        `def count(self, to: int) -> Iterator[int]`, as a Protocol of the handler's name. The handler's own class does
        as well, but is typed as if it were awaited. A stream is a `micro.sync.Replies`.

        The rest is as for `micro.Client.proxy`. Raises ConfigurationError when a method that takes a stream is used.
        """
        return Proxy.of(self._background, contract, service, options)

    def close(self) -> None:
        """Cancels calls that run in other threads, delivers events, closes everything, for good. Idempotent."""
        self._background.close()

    def __enter__(self) -> Self:
        self._background.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<micro.sync.Client {self.name!r}>" if self.name else "<micro.sync.Client>"
