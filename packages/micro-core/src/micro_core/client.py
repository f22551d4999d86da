"""Clients: make one call, whatever it takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from micro_core.call import Call, Reply
from micro_core.component import Component


class Client(Component, ABC):
    """Makes calls. Built as `Client(discovery, selector, transport, codecs, options)`.

    How an attempt ends:

        what happened                          outcome        error                     tried again
        TransportError, processed=False        NOT_PROCESSED  503                       always
        a reply with `micro-unprocessed: 1`    NOT_PROCESSED  the reply's               always
        TransportError, processed=True         UNKNOWN        408 for DEADLINE or 502   if idempotent
        the server answers 408                 UNKNOWN        Timeout                   if idempotent
        any other error from the server        ANSWERED       the class of its code     never
        a reply                                OK             DecodeError, if any       never

    Errors made here have the id `go.micro.client`.
    """

    protocol: ClassVar[str] = "mucp"
    """The wire protocol it speaks, as nodes name it in their metadata. It may speak others to nodes that name them, or
    none; a node that names one it does not speak is not called."""

    @abstractmethod
    async def call(self, call: Call) -> Reply:
        """One unary call: encode, choose a node, send, decode; again where that is safe.

        Every attempt is appended to `call.attempts`, and every node taken from the selector is given back by `done`
        exactly once, also when cancelled. A call whose `deadline` is None gets the client's default. A call with an
        `address` asks neither discovery nor selector; its attempts name a node whose id is the address.

        Raises:
            RPCError: with outcome, service, endpoint, node, attempts and elapsed filled in. When attempts run out it is
                the last node's own error.
            BadRequest: the request cannot be encoded; nothing was sent.
            DecodeError: the reply is not of the type asked for; it was processed.
        """

    @abstractmethod
    async def stream(self, call: Call) -> Reply:
        """Opens a stream on the first node that takes it; `Reply.stream` is open.

        A server that refuses need not have answered yet: the stream then moves to another node where nothing was lost
        by it, or its first `recv` raises the refusal. The node is given back by `done` when the stream ends.

        Raises:
            RPCError: as `call`, when no node would open it.
        """
