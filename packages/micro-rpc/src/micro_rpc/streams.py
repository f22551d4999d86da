"""Streams of values at the server: an exchange between two compiled functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro_core import (
    DecodeError,
    Exchange,
    Head,
    Peer,
    Reset,
    RPCError,
    Stream,
    TransportError,
    UnsupportedType,
)
from micro_core.errors import BadRequest, InternalServerError, Timeout

if TYPE_CHECKING:
    from micro_rpc.routing import Binding

LEFT = 499
"""The code, nginx's, under which a handler learns that its caller has left; nobody else sees it."""


class ServerStream(Stream):
    """The stream that a handler works with."""

    __slots__ = ("_binding", "_encode", "_exchange", "_max")

    def __init__(self, exchange: Exchange, binding: Binding, max_reply: int) -> None:
        self._exchange = exchange
        self._binding = binding
        self._encode = binding.encode
        self._max = max_reply

    @property
    def header(self) -> Head:  # noqa: D102
        return self._exchange.request

    @property
    def peer(self) -> Peer:  # noqa: D102
        return self._exchange.peer

    async def send(self, value: Any) -> None:  # noqa: D102
        encode, exchange = self._encode, self._exchange
        try:
            body = encode(value)
        except UnsupportedType as error:
            raise InternalServerError(f"a value that {self._name} sends cannot be encoded: {error}") from error
        if len(body) > self._max:
            raise InternalServerError(f"a value that {self._name} sends is {len(body)} bytes, the limit is {self._max}")
        if exchange.send_nowait(body):
            return
        try:
            await exchange.send(body)
        except TransportError as error:
            raise _gone(error) from error

    async def recv(self) -> Any:  # noqa: D102
        exchange = self._exchange
        try:
            body = exchange.recv_nowait()
            if body is None:
                body = await exchange.recv()
        except TransportError as error:
            raise _gone(error) from error
        binding = self._binding
        decode = binding.decode
        if decode is None:
            return None
        try:
            return decode(body or binding.empty)
        except DecodeError as error:
            text = f"a message to {binding.handler.endpoint.name} cannot be read as {binding.content_type}: {error}"
            raise BadRequest(text) from None

    @property
    def _name(self) -> str:
        return self._binding.handler.endpoint.name

    async def end(self) -> None:  # noqa: D102
        try:
            await self._exchange.end()
        except TransportError as error:
            raise _gone(error) from error

    def reset(self, reason: Reset = Reset.CANCELLED) -> None:  # noqa: D102
        self._exchange.reset(reason)


def _gone(error: TransportError) -> RPCError:
    if error.reason is Reset.DEADLINE:
        return Timeout(f"the stream is over: {error}")
    return RPCError(f"the caller has left: {error}", code=LEFT, status="Client Closed Request")
