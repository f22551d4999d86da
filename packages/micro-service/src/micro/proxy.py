"""Typed clients without code generation: an object with the methods of a handler's class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from micro_core import ConfigurationError, RPCError
from micro_core.errors import InternalServerError
from micro_core.revival import check_named, raise_revived

from micro.shapes import Method, Shape, method_of

if TYPE_CHECKING:
    from micro.caller import Caller

T = TypeVar("T")


class Proxy:
    """Behaves as the contract; each method is made when it is first used, and kept."""

    def __init__(
        self,
        caller: Caller,
        contract: type[Any],
        service: str,
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        name: str,
        errors: Sequence[type[RPCError]],
    ) -> None:
        self.__caller = caller
        self.__contract = contract
        self.__service = service
        self.__timeout = timeout
        self.__metadata = None if metadata is None else dict(metadata)
        self.__name = name
        self.__errors = errors
        check_named(errors)

    @staticmethod
    def of(
        caller: Caller,
        contract: Callable[..., T],
        service: str,
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        name: str | None,
        errors: Sequence[type[RPCError]] = (),
    ) -> T:
        """The proxy, typed as its contract. Raises ConfigurationError for a contract that is no class."""
        if not isinstance(contract, type):
            raise ConfigurationError(f"a proxy needs a class to tell its methods, not {contract!r}")
        return cast(T, Proxy(caller, contract, service, timeout, metadata, name or contract.__name__, errors))

    def __getattr__(self, attribute: str) -> Any:
        method = method_of(self.__contract, attribute)
        if method.threaded:
            raise ConfigurationError(
                f"{self.__contract.__qualname__}.{attribute} is a plain function; a proxy's methods are awaited, "
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
        caller, service, timeout, metadata = self.__caller, self.__service, self.__timeout, self.__metadata
        name, request_type, reply_type = method.full_name(self.__name), method.request_type, method.reply_type
        idempotent, errors = method.idempotent or None, self.__errors

        async def unary(*arguments: Any, **named: Any) -> Any:
            request = arguments[0] if len(arguments) == 1 and not named else argument_of(method, arguments, named)
            call = caller._outgoing.call(service, name, request, request_type, reply_type, timeout, metadata)
            call.idempotent = idempotent
            try:
                return (await caller._call(call)).value
            except RPCError as error:
                raise_revived(error, errors)

        return unary

    def __streaming(self, method: Method) -> Callable[..., Any]:
        feeding = method.shape is Shape.BIDIRECTIONAL

        def stream(*arguments: Any, **named: Any) -> Any:
            argument = argument_of(method, arguments, named)
            call = self.__caller._outgoing.stream(
                self.__service,
                method.full_name(self.__name),
                method.request_type,
                method.reply_type,
                None,
                self.__timeout,
                self.__metadata,
            )
            first, values = (None, argument) if feeding else (argument, None)
            return self.__caller._replies(call, first, values, self.__errors)

        return stream

    def __client_streaming(self, method: Method) -> Callable[..., Any]:
        async def total(*arguments: Any, **named: Any) -> Any:
            values = argument_of(method, arguments, named)
            call = self.__caller._outgoing.stream(
                self.__service,
                method.full_name(self.__name),
                method.request_type,
                method.reply_type,
                None,
                self.__timeout,
                self.__metadata,
            )
            async with self.__caller._replies(call, None, values, self.__errors) as replies:
                async for reply in replies:
                    return reply
            raise InternalServerError(f"{self.__service} {method.full_name(self.__name)} ended without a reply")

        return total

    def __repr__(self) -> str:
        return f"<Proxy of {self.__contract.__qualname__} at {self.__service}>"


def argument_of(method: Method, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """The request among the arguments of a proxy's method. Raises TypeError for any others."""
    expected = [method.request_name] if method.request_name else []
    given = [*expected[: len(arguments)], *named]
    if len(arguments) + len(named) != len(expected) or given != expected:
        words = ", ".join([*(repr(argument) for argument in arguments), *named])
        raise TypeError(f"{method.attribute}() takes ({', '.join(expected)}), not ({words})")
    if not expected:
        return None
    return arguments[0] if arguments else named[method.request_name]


__all__ = ["Proxy"]
