"""Typed clients for programs that block: an object with the methods of a contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from micro_core import ConfigurationError

from micro.calling import ProxyOptions
from micro.client import Client
from micro.proxy import Target, argument_of
from micro.shapes import Method, Shape, method_of
from micro.streaming import Replies as AsyncReplies
from micro.sync.background import Background
from micro.sync.streams import Replies

T = TypeVar("T")


class Proxy:
    """Behaves as the contract; each method is made when it is first used, and kept."""

    def __init__(self, background: Background, target: Target) -> None:
        self.__background = background
        self.__target = target

    @staticmethod
    def of(background: Background, contract: Callable[..., T], service: str, options: ProxyOptions) -> T:
        """The proxy, typed as its contract. Raises what `Target` raises."""
        return cast(T, Proxy(background, Target(contract, service, options)))

    def __getattr__(self, attribute: str) -> Any:
        target = self.__target
        method = method_of(target.contract, attribute, blocking=True)
        if method.shape is Shape.UNARY:
            made = self.__unary(method)
        elif method.shape is Shape.SERVER_STREAMING:
            made = self.__streaming(method)
        else:
            raise ConfigurationError(
                f"{target.contract.__qualname__}.{attribute} takes a stream, and a blocking proxy has none to give; "
                f'write `with client.stream("{target.service}", "{method.full_name(target.name)}") as stream:`'
            )
        setattr(self, attribute, made)
        return made

    def __unary(self, method: Method) -> Callable[..., Any]:
        send = self.__target.sender(method)

        def unary(*arguments: Any, **named: Any) -> Any:
            request = argument_of(method, arguments, named)
            return self.__background.wait(None, lambda client: send(client, request))

        return unary

    def __streaming(self, method: Method) -> Callable[..., Any]:
        async def begin(client: Client, request: Any) -> AsyncReplies[Any]:
            return self.__target.stream(client, method, request, None)

        def stream(*arguments: Any, **named: Any) -> Any:
            request, opened = argument_of(method, arguments, named), self.__background.open()
            replies = self.__background.wait(opened, lambda client: begin(client, request))
            return Replies(self.__background, opened, replies)

        return stream

    def __repr__(self) -> str:
        return repr(self.__target)
