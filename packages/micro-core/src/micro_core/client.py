"""Clients: make one call, whatever it takes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from micro_core.call import Call, Reply
from micro_core.component import Component


class Client(Component, ABC):
    """Makes calls. Built as `Client(discovery, selector, transport, codecs, options)`."""

    @abstractmethod
    async def call(self, call: Call) -> Reply:
        """One unary call: encode, choose a node, send, decode; again where that is safe.

        Every attempt is appended to `call.attempts`, and every node taken from the selector is given back by `done`
        exactly once, also when cancelled. A call whose `deadline` is None gets the client's default.

        Raises:
            RPCError: with outcome, service, endpoint, node, attempts and elapsed filled in. When attempts run out it is
                the last node's own error.
            BadRequest: the request cannot be encoded; nothing was sent.
            DecodeError: the reply is not of the type asked for; it was processed.
        """

    @abstractmethod
    async def stream(self, call: Call) -> Reply:
        """Opens a stream; `Reply.stream` is open. Raises RPCError as `call`, when no node would open it."""
