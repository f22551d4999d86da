"""Typed clients for programs that block: an object with the methods of a contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from micro_core import ConfigurationError, RPCError
from micro_core.revival import check_named, raise_revived

from micro.client import Client
from micro.proxy import argument_of
from micro.shapes import Method, Shape, method_of
from micro.streaming import Replies as AsyncReplies
from micro.sync.background import Background
from micro.sync.streams import Replies

T = TypeVar("T")


class Proxy:
    """Behaves as the contract; each method is made when it is first used, and kept."""

    def __init__(
        self,
        background: Background,
        contract: type[Any],
        service: str,
        timeout: float | None,
        metadata: Mapping[str, str] | None,
        name: str,
        errors: Sequence[type[RPCError]],
    ) -> None:
        self.__background = background
        self.__contract = contract
        self.__service = service
        self.__timeout = timeout
        self.__metadata = None if metadata is None else dict(metadata)
        self.__name = name
        self.__errors = tuple(errors)
        check_named(self.__errors)

    @staticmethod
    def of(background: Background, contract: Callable[..., T], *rest: Any, name: str | None) -> T:
        """The proxy, typed as its contract. Raises ConfigurationError for a contract that is no class."""
        if not isinstance(contract, type):
            raise ConfigurationError(f"a proxy needs a class to tell its methods, not {contract!r}")
        service, timeout, metadata, errors = rest
        made = Proxy(background, contract, service, timeout, metadata, name or contract.__name__, errors)
        return cast(T, made)

    def __getattr__(self, attribute: str) -> Any:
        method = method_of(self.__contract, attribute, blocking=True)
        if method.shape is Shape.UNARY:
            made = self.__unary(method)
        elif method.shape is Shape.SERVER_STREAMING:
            made = self.__streaming(method)
        else:
            raise ConfigurationError(
                f"{self.__contract.__qualname__}.{attribute} takes a stream, and a blocking proxy has none to give; "
                f'write `with client.stream("{self.__service}", "{method.full_name(self.__name)}") as stream:`'
            )
        setattr(self, attribute, made)
        return made

    def __unary(self, method: Method) -> Callable[..., Any]:
        async def call(client: Client, request: Any) -> Any:
            call = client._outgoing.call(
                self.__service,
                method.full_name(self.__name),
                request,
                method.request_type,
                method.reply_type,
                self.__timeout,
                self.__metadata,
            )
            call.idempotent = method.idempotent or None
            try:
                return (await client._call(call)).value
            except RPCError as error:
                raise_revived(error, self.__errors)

        def unary(*arguments: Any, **named: Any) -> Any:
            request = argument_of(method, arguments, named)
            return self.__background.wait(None, lambda client: call(client, request))

        return unary

    def __streaming(self, method: Method) -> Callable[..., Any]:
        async def begin(client: Client, request: Any) -> AsyncReplies[Any]:
            call = client._outgoing.stream(
                self.__service,
                method.full_name(self.__name),
                method.request_type,
                method.reply_type,
                None,
                self.__timeout,
                self.__metadata,
            )
            return client._replies(call, request, None, self.__errors)

        def stream(*arguments: Any, **named: Any) -> Any:
            request, opened = argument_of(method, arguments, named), self.__background.open()
            replies = self.__background.wait(opened, lambda client: begin(client, request))
            return Replies(self.__background, opened, replies)

        return stream

    def __repr__(self) -> str:
        return f"<Proxy of {self.__contract.__qualname__} at {self.__service}>"
