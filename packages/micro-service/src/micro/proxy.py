"""Typed clients without code generation: an object with the methods of a handler's class."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from micro_core import Call, ConfigurationError, RPCError
from micro_core.errors import InternalServerError
from micro_core.revival import check_named, raise_revived

from micro.calling import ProxyOptions, attributes_of
from micro.shapes import NO_DEFAULT, Method, Shape, method_of
from micro.streaming import Replies

if TYPE_CHECKING:
    from micro.caller import Caller

T = TypeVar("T")
Send: TypeAlias = "Callable[[Caller, Any], Awaitable[Any]]"


class Target:
    """Where the calls of a proxy go, and how: what proxies that are awaited and proxies that block have in common.

    Raises:
        ConfigurationError: a contract that is no class, or `errors` that cannot be revived.
        TypeError: an unknown option.
    """

    def __init__(self, contract: Callable[..., Any], service: str, options: ProxyOptions) -> None:
        if not isinstance(contract, type):
            raise ConfigurationError(
                f"a proxy needs a class to tell its methods, not {contract!r}; write client.proxy(Say, {service!r})"
            )
        self.contract: type[Any] = contract
        self.service = service
        self.name = options.get("name") or contract.__name__
        self._timeout = options.get("timeout")
        metadata = options.get("metadata")
        self._metadata = None if metadata is None else dict(metadata)
        self._errors = tuple(options.get("errors", ()))
        self._attributes = tuple(attributes_of(options, ProxyOptions).items())
        check_named(self._errors)

    def __repr__(self) -> str:
        return f"<Proxy of {self.contract.__qualname__} at {self.service}>"

    def sender(self, method: Method) -> Send:
        """Makes the unary calls of a method."""
        service, timeout, metadata, attributes = self.service, self._timeout, self._metadata, self._attributes
        name, request_type, reply_type = method.full_name(self.name), method.request_type, method.reply_type
        idempotent, errors = method.idempotent or None, self._errors

        async def send(caller: Caller, request: Any) -> Any:
            call = caller._outgoing.call(service, name, request, request_type, reply_type, timeout, metadata)
            call.idempotent = idempotent
            for attribute, value in attributes:
                setattr(call, attribute, value)
            try:
                return (await caller._call(call)).value
            except RPCError as error:
                raise_revived(error, errors)

        return send

    def stream(self, caller: Caller, method: Method, first: Any, values: AsyncIterable[Any] | None) -> Replies[Any]:
        """A stream of a method: opened with the request `first`, or fed with `values`."""
        name, request_type, reply_type = method.full_name(self.name), method.request_type, method.reply_type

        def made() -> Call:
            call = caller._outgoing.stream(
                self.service, name, request_type, reply_type, None, self._timeout, self._metadata
            )
            for attribute, value in self._attributes:
                setattr(call, attribute, value)
            return call

        return caller._replies(made, first, values, self._errors)


class Proxy:
    """Behaves as the contract; each method is made when it is first used, and kept."""

    def __init__(self, caller: Caller, target: Target) -> None:
        self.__caller = caller
        self.__target = target

    @staticmethod
    def of(caller: Caller, contract: Callable[..., T], service: str, options: ProxyOptions) -> T:
        """The proxy, typed as its contract. Raises what `Target` raises."""
        return cast(T, Proxy(caller, Target(contract, service, options)))

    def __getattr__(self, attribute: str) -> Any:
        contract = self.__target.contract
        method = method_of(contract, attribute)
        if method.threaded:
            raise ConfigurationError(
                f"{contract.__qualname__}.{attribute} is a plain function; a proxy's methods are awaited, "
                f"so a contract declares `async def {attribute}(…)`"
            )
        made = self.__make(method)
        setattr(self, attribute, made)
        return made

    def __make(self, method: Method) -> Callable[..., Any]:
        if method.shape is Shape.UNARY:
            return self.__unary(method)
        if method.shape is Shape.CLIENT_STREAMING:
            return self.__client_streaming(method)
        return self.__streaming(method)

    def __unary(self, method: Method) -> Callable[..., Any]:
        caller, send, takes_one = self.__caller, self.__target.sender(method), bool(method.request_name)

        def unary(*arguments: Any, **named: Any) -> Awaitable[Any]:
            if takes_one and len(arguments) == 1 and not named:
                return send(caller, arguments[0])
            return send(caller, argument_of(method, arguments, named))

        return unary

    def __streaming(self, method: Method) -> Callable[..., Any]:
        feeding = method.shape is Shape.BIDIRECTIONAL

        def stream(*arguments: Any, **named: Any) -> Any:
            argument = argument_of(method, arguments, named)
            first, values = (None, argument) if feeding else (argument, None)
            return self.__target.stream(self.__caller, method, first, values)

        return stream

    def __client_streaming(self, method: Method) -> Callable[..., Any]:
        async def total(*arguments: Any, **named: Any) -> Any:
            values, target = argument_of(method, arguments, named), self.__target
            async with target.stream(self.__caller, method, None, values) as replies:
                async for reply in replies:
                    return reply
            raise InternalServerError(f"{target.service} {method.full_name(target.name)} ended without a reply")

        return total

    def __repr__(self) -> str:
        return repr(self.__target)


def argument_of(method: Method, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """The request among the arguments of a proxy's method, else its default. Raises TypeError for any others."""
    if not arguments and not named and method.default is not NO_DEFAULT:
        return method.default
    expected = [method.request_name] if method.request_name else []
    given = [*expected[: len(arguments)], *named]
    if len(arguments) + len(named) != len(expected) or given != expected:
        words = ", ".join([*(repr(argument) for argument in arguments), *named])
        raise TypeError(f"{method.attribute}() takes ({', '.join(expected)}), not ({words})")
    if not expected:
        return None
    return arguments[0] if arguments else named[method.request_name]


__all__ = ["Proxy", "Target", "argument_of"]
