"""Servers: accept calls and hand them to handlers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from micro_core.call import CallNext
from micro_core.component import Component
from micro_core.records import Endpoint
from micro_core.transport import Listener


@dataclass(frozen=True, slots=True)
class Handler:
    """One endpoint and what serves it.

    Attributes:
        endpoint: as it is registered.
        request_type: annotation of the request, or of the values that a stream receives; None where there is none.
        reply_type: annotation of the reply, or of the values that a stream sends.
        streaming: whether `handle` works with `call.stream` instead of `call.request`.
        handle: the handler inside its middleware. For a stream it returns when the stream is over.
    """

    endpoint: Endpoint
    request_type: Any
    reply_type: Any
    streaming: bool
    handle: CallNext


class Server(Component, ABC):
    """Serves calls. Built as `Server(transport, codecs, options)`."""

    protocol: ClassVar[str] = "mucp"
    """The wire protocol it speaks, registered as `protocol` in the node's metadata for clients to see."""

    @abstractmethod
    async def serve(self, address: str, service: str, handlers: Sequence[Handler]) -> Listener:
        """Binds the address and calls the handlers, each in a context of its own, until the listener is closed.

        `handle` is given a Call with service, endpoint, request or stream, metadata, deadline, peer and caller; it is
        cancelled at the deadline, when the caller is answered 408, and when the caller goes away, when nobody is. What
        it raises becomes the caller's error: an RPCError as it is, with `service` as its id when that is empty;
        anything else a 500 that names the exception's type alone, the rest goes to the log.

        Raises:
            ConfigurationError: the address cannot be parsed or bound, or no installed codec carries a handler's types.
        """
