"""From an object with public methods to what a server is given."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from micro_core import (
    Call,
    CallNext,
    ConfigurationError,
    EndOfStream,
    Endpoint,
    Handler,
    Middleware,
    Reply,
    Stream,
)
from micro_core.errors import BadRequest

from micro.context import current
from micro.described import STREAM_KEY
from micro.middleware import chain
from micro.schema import STREAMED, value_of
from micro.shapes import EXAMPLE, Method, Shape, methods_of, public_names


def instance_of(handler: object) -> object:
    """The handler itself, or one made from a class that needs no arguments. Raises ConfigurationError."""
    if not isinstance(handler, type):
        return handler
    try:
        inspect.signature(handler).bind()
    except (TypeError, ValueError):
        name = handler.__name__
        raise ConfigurationError(
            f"{name} needs arguments to be made; hand over an instance: service.handler({name}(…))"
        ) from None
    if inspect.isabstract(handler):
        raise ConfigurationError(f"{handler.__name__} is abstract; hand over a class that implements it")
    return handler()


def check_handler(handler: object) -> None:
    """Raises ConfigurationError for what has no methods to serve."""
    if inspect.isroutine(handler):
        name = handler.__name__ if handler.__name__.isidentifier() else "hello"
        raise ConfigurationError(
            f"{handler.__qualname__} is a function; a handler is a class, or an object of one: write "
            f"`class Say:` with the method `{EXAMPLE.format(name=name)}`"
        )
    cls = handler if isinstance(handler, type) else type(handler)
    if next(public_names(cls), None) is None:
        raise ConfigurationError(
            f"{cls.__qualname__} has no public method to serve; write `{EXAMPLE.format(name='hello')}` in it"
        )


def handlers_of(handler: object, name: str | None = None, middleware: Sequence[Middleware] = ()) -> list[Handler]:
    """One Handler per public method. `name` stands before the dot; by default it is the class's.

    Raises:
        ConfigurationError: a public method cannot be served.
    """
    instance = instance_of(handler)
    cls = type(instance)
    return [_handler(instance, method, name or cls.__name__, middleware) for method in methods_of(cls)]


def check_names(handlers: Sequence[Handler]) -> None:
    """Raises ConfigurationError when two handlers claim one endpoint."""
    seen: set[str] = set()
    for handler in handlers:
        name = handler.endpoint.name
        if name in seen:
            raise ConfigurationError(f"two handlers claim the endpoint {name}; give one another name")
        seen.add(name)


def _handler(instance: object, method: Method, type_name: str, middleware: Sequence[Middleware]) -> Handler:
    handle = _entered(chain(middleware, _MAKERS[method.shape](getattr(instance, method.attribute), method)))
    streaming = method.shape is not Shape.UNARY
    metadata = dict(method.metadata)
    if streaming:
        metadata |= {"stream": "true", STREAM_KEY: _STREAMING[method.shape]}
    if method.idempotent:
        metadata["idempotent"] = "true"
    shapes = STREAMED if streaming else (value_of(method.request_type), value_of(method.reply_type))
    endpoint = Endpoint(method.full_name(type_name), *shapes, metadata)
    return Handler(endpoint, method.request_type, method.reply_type, streaming, handle)


_STREAMING = {Shape.SERVER_STREAMING: "server", Shape.CLIENT_STREAMING: "client", Shape.BIDIRECTIONAL: "both"}


def _entered(inner: CallNext) -> CallNext:
    """Handler and middleware run inside the call's context."""
    enter = current.set

    def handle(call: Call) -> Awaitable[Reply]:
        enter(call)
        return inner(call)

    return handle


def _unary(method: Callable[..., Any], shape: Method) -> CallNext:
    if shape.threaded:
        return _threaded(method, takes_request=bool(shape.request_name))
    if not shape.request_name:

        async def bare(call: Call) -> Reply:
            return Reply(await method())

        return bare

    async def handle(call: Call) -> Reply:
        return Reply(await method(call.request))

    return handle


def _threaded(method: Callable[..., Any], *, takes_request: bool) -> CallNext:
    from anyio import to_thread

    async def handle(call: Call) -> Reply:
        arguments = (call.request,) if takes_request else ()
        return Reply(await to_thread.run_sync(method, *arguments, abandon_on_cancel=True))

    return handle


def _server_streaming(method: Callable[..., Any], shape: Method) -> CallNext:
    async def handle(call: Call) -> Reply:
        stream = _stream(call)
        request = await _first(stream)
        await _send_all(stream, method(request) if shape.request_name else method())
        return Reply()

    return handle


def _client_streaming(method: Callable[..., Any], _: Method) -> CallNext:
    async def handle(call: Call) -> Reply:
        stream = _stream(call)
        await stream.send(await method(Received(stream)))
        return Reply()

    return handle


def _bidirectional(method: Callable[..., Any], _: Method) -> CallNext:
    async def handle(call: Call) -> Reply:
        stream = _stream(call)
        await _send_all(stream, method(Received(stream)))
        return Reply()

    return handle


_MAKERS: dict[Shape, Callable[[Callable[..., Any], Method], CallNext]] = {
    Shape.UNARY: _unary,
    Shape.SERVER_STREAMING: _server_streaming,
    Shape.CLIENT_STREAMING: _client_streaming,
    Shape.BIDIRECTIONAL: _bidirectional,
}


def _stream(call: Call) -> Stream:
    assert call.stream is not None, "a server hands a streaming handler its stream"
    return call.stream


async def _first(stream: Stream) -> Any:
    try:
        return await stream.recv()
    except EndOfStream:
        raise BadRequest("the stream ended before its request came") from None


async def _send_all(stream: Stream, replies: Any) -> None:
    try:
        async for reply in replies:
            await stream.send(reply)
    finally:
        aclose = getattr(replies, "aclose", None)
        if aclose is not None:
            await aclose()


class Received:
    """The values that a caller streams, to be iterated once, in the handler's own task."""

    __slots__ = ("_recv",)

    def __init__(self, stream: Stream) -> None:
        self._recv = stream.recv

    def __aiter__(self) -> Received:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._recv()
        except EndOfStream:
            raise StopAsyncIteration from None
