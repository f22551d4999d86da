"""The shape of a method, read from its annotations: the same on the server and behind a proxy.

    async def hello(self, request: R) -> A                           unary
    def count(self, request: R) -> AsyncIterator[A]                  server streaming
    async def total(self, values: AsyncIterator[R]) -> A             client streaming
    def chat(self, values: AsyncIterator[R]) -> AsyncIterator[A]     bidirectional

The request may be left out where there is none. A plain `def` that returns a value is unary, run in a worker thread.
"""

from __future__ import annotations

import collections.abc
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import FunctionType, MappingProxyType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from micro_core import ConfigurationError

from micro.naming import go_name

F = TypeVar("F", bound=Callable[..., Any])

_ITERATORS = (collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator)
_SYNC_ITERATORS = (collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator)
EXAMPLE = "async def {name}(self, request: Request) -> Reply"


class Shape(Enum):
    """The four kinds of call."""

    UNARY = "unary"
    SERVER_STREAMING = "server streaming"
    CLIENT_STREAMING = "client streaming"
    BIDIRECTIONAL = "bidirectional"


@dataclass(frozen=True, slots=True)
class Marked:
    """What `@micro.endpoint` says about a method."""

    name: str | None
    idempotent: bool
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Method:
    """One public method as an endpoint.

    Attributes:
        attribute: its name in Python.
        endpoint: the part of the endpoint's name after the dot, or all of it where it holds one.
        request_type: of the request, or of the values a stream receives; None where there is none.
        request_name: of the parameter.
        default: what a caller leaves out, or NO_DEFAULT.
        reply_type: of the reply, or of the values a stream sends.
        threaded: a plain function, to be run in a worker thread.
    """

    attribute: str
    endpoint: str
    shape: Shape
    request_type: Any
    request_name: str
    default: Any
    reply_type: Any
    threaded: bool
    idempotent: bool
    metadata: Mapping[str, str]

    def full_name(self, type_name: str) -> str:
        """`Say.Hello`."""
        return self.endpoint if "." in self.endpoint else f"{type_name}.{self.endpoint}"


def endpoint(
    name: str | None = None, *, idempotent: bool = False, metadata: Mapping[str, str] = MappingProxyType({})
) -> Callable[[F], F]:
    """Says about a handler's method what its signature cannot.

    Args:
        name: instead of the one made from the method's; `Find`, or in full `Users.Find`.
        idempotent: it may be repeated though it may have been processed; callers retry it where the outcome is unknown.
        metadata: registered with the endpoint.
    """
    marked = Marked(name, idempotent, MappingProxyType(dict(metadata)))

    def mark(method: F) -> F:
        setattr(method, _MARK, marked)
        return method

    return mark


NO_DEFAULT = object()
"""Where a parameter has no default; nor is `...` one, as contracts write it."""

_MARK = "__micro_endpoint__"


def methods_of(cls: type[Any]) -> tuple[Method, ...]:
    """The public methods of a class and its bases, in the order of their definition.

    Raises:
        ConfigurationError: one cannot be served; the text names it and says what to write.
    """
    return tuple(method_of(cls, name) for name in public_names(cls))


def public_names(cls: type[Any]) -> Iterator[str]:
    """The names of the methods that are endpoints."""
    seen: set[str] = set()
    for base in reversed(cls.__mro__):
        if base.__module__ in _NOT_OURS:
            continue
        for name in vars(base):
            if not name.startswith("_") and name not in seen and _function(cls, name) is not None:
                seen.add(name)
                yield name


_NOT_OURS = frozenset({"builtins", "abc", "typing"})


def _function(cls: type[Any], name: str) -> FunctionType | None:
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    return found if isinstance(found, FunctionType) else None


def method_of(cls: type[Any], name: str, *, blocking: bool = False) -> Method:
    """One method. Raises ConfigurationError as `methods_of`, AttributeError for a name that is no public method.

    A contract for callers that block may return a plain iterator for a stream.
    """
    function = _function(cls, name)
    if function is None or name.startswith("_"):
        raise AttributeError(f"{cls.__qualname__} has no public method {name!r}")
    where = f"{cls.__qualname__}.{name}"
    bound = not isinstance(inspect.getattr_static(cls, name), staticmethod)
    hints = _hints(function, where)
    parameter, default = _parameter(function, where, bound=bound)
    if "return" not in hints:
        raise ConfigurationError(f"{where} has no return annotation; write `{EXAMPLE.format(name=name)}`")
    if parameter and parameter not in hints:
        raise ConfigurationError(f"{where}: {parameter!r} has no annotation; write `{EXAMPLE.format(name=name)}`")
    marked = _marked(cls, name)
    shape, request, reply = _shape(
        function, hints.get(parameter), _async(hints["return"]) if blocking else hints["return"], where
    )
    threaded = shape in (Shape.UNARY, Shape.CLIENT_STREAMING) and not _is_coroutine(function)
    if threaded and shape is Shape.CLIENT_STREAMING:
        raise ConfigurationError(f"{where} takes a stream, so it must be async: write `async def {name}(…)`")
    return Method(
        name,
        marked.name or go_name(name),
        shape,
        request,
        parameter,
        default,
        reply,
        threaded,
        marked.idempotent,
        marked.metadata,
    )


def _marked(cls: type[Any], name: str) -> Marked:
    """What the class or the nearest of its bases says about the method: a contract need not be repeated."""
    for base in cls.__mro__:
        function = _function(base, name) if name in vars(base) else None
        marked: Marked | None = getattr(function, _MARK, None)
        if marked is not None:
            return marked
    return Marked(None, False, {})


def _async(reply: Any) -> Any:
    """A plain iterator as the asynchronous one that it stands for."""
    if get_origin(reply) not in _SYNC_ITERATORS or not get_args(reply):
        return reply
    streamed: Any = collections.abc.AsyncIterator
    return streamed[get_args(reply)[0]]


def _is_coroutine(function: FunctionType) -> bool:
    """Also behind a decorator that says what it wraps."""
    return inspect.iscoroutinefunction(inspect.unwrap(function))


def _hints(function: FunctionType, where: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"{where}: the annotation {error.name!r} cannot be found in module {function.__module__}; "
            "define or import it there, outside of functions and of `if TYPE_CHECKING`"
        ) from None
    except TypeError as error:
        raise ConfigurationError(f"{where}: its annotations cannot be read: {error}") from None


def _parameter(function: FunctionType, where: str, *, bound: bool) -> tuple[str, Any]:
    """The name of the request's parameter, and its default."""
    parameters = list(inspect.signature(function).parameters.values())[1 if bound else 0 :]
    required = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    chosen = required or parameters[:1]
    if len(chosen) > 1 or any(each.kind in (each.VAR_POSITIONAL, each.KEYWORD_ONLY) for each in chosen):
        names = ", ".join(each.name for each in chosen)
        raise ConfigurationError(f"{where} takes ({names}); an endpoint takes one request: put them into one dataclass")
    if not chosen:
        return "", NO_DEFAULT
    default = chosen[0].default
    return chosen[0].name, NO_DEFAULT if default is inspect.Parameter.empty or default is ... else default


def _shape(function: FunctionType, request: Any, reply: Any, where: str) -> tuple[Shape, Any, Any]:
    if get_origin(reply) in _SYNC_ITERATORS or inspect.isgeneratorfunction(function):
        raise ConfigurationError(f"{where} returns a plain iterator; write an async generator -> AsyncIterator[…]")
    received, sent = _item(request, where), _item(reply, where)
    if sent is not _NO_STREAM and _is_coroutine(function):
        raise ConfigurationError(
            f"{where} is a coroutine that returns an iterator; yield the replies in it, or write `def` for `async def`"
        )
    if received is _NO_STREAM:
        shape = Shape.UNARY if sent is _NO_STREAM else Shape.SERVER_STREAMING
    else:
        shape = Shape.CLIENT_STREAMING if sent is _NO_STREAM else Shape.BIDIRECTIONAL
    return shape, request if received is _NO_STREAM else received, reply if sent is _NO_STREAM else sent


_NO_STREAM = object()


def _item(annotation: Any, where: str) -> Any:
    if annotation in _ITERATORS:
        raise ConfigurationError(f"{where}: say what the stream holds, as AsyncIterator[Item]")
    if get_origin(annotation) not in _ITERATORS:
        return _NO_STREAM
    arguments = get_args(annotation)
    if not arguments:
        raise ConfigurationError(f"{where}: say what the stream holds, as AsyncIterator[Item]")
    return arguments[0]
