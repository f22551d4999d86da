"""One call, as clients, servers and middleware see it: values, not bytes.

Middleware is a plain async function around the rest of the call, asked for once when a service is built:

    async def timed(call: Call, call_next: CallNext) -> Reply:
        started = clock()
        try:
            return await call_next(call)
        finally:
            record(call.service, call.endpoint, clock() - started)

At the client it wraps the whole call, outside retries, and sees `call.attempts`. For a stream `Reply.stream` is the
open stream; to see its end, return a reply that holds a `StreamWrapper` around it. At the server it wraps the handler,
for a stream from its opening to its end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from micro_core.errors import Outcome, Reset
from micro_core.message import Head
from micro_core.records import Filter, Node, Peer


class Attempt:
    """One node that was tried. `error` is None where it succeeded."""

    __slots__ = ("error", "node", "outcome", "seconds")

    def __init__(self, node: Node, outcome: Outcome, seconds: float, error: BaseException | None = None) -> None:
        self.node = node
        self.outcome = outcome
        self.seconds = seconds
        self.error = error

    @property
    def address(self) -> str:
        """Where it was."""
        return self.node.address

    def __repr__(self) -> str:
        return f"<Attempt {self.node.id} at {self.address}: {self.outcome.value} after {self.seconds:.3f} s>"


class Stream(ABC):
    """An open stream of values, either side."""

    __slots__ = ()

    @property
    @abstractmethod
    def header(self) -> Head:
        """The peer's header, lower-case; at the client complete after the first `recv`."""

    @property
    @abstractmethod
    def peer(self) -> Peer:
        """Who is at the other end."""

    @abstractmethod
    async def send(self, value: Any) -> None:
        """Sends one value; waits while the peer does not read.

        Raises:
            RPCError: the stream is over; with the server's own error where it sent one.
            BadRequest: at the client, when the value cannot be carried; nothing was sent.
            InternalServerError: the same at the server.
        """

    @abstractmethod
    async def recv(self) -> Any:
        """The next value.

        Raises:
            EndOfStream: the peer ended well.
            RPCError: it failed.
            DecodeError: the value is not of the type asked for; the stream goes on.
        """

    @abstractmethod
    async def end(self) -> None:
        """Nothing more will be sent; receiving goes on. Idempotent."""

    @abstractmethod
    def reset(self, reason: Reset = Reset.CANCELLED) -> None:
        """Leaves the stream at once; the peer is told. Synchronous and idempotent."""


class StreamWrapper(Stream):
    """Passes everything on to another stream: the base of what middleware puts around one."""

    __slots__ = ("inner",)

    def __init__(self, inner: Stream) -> None:
        self.inner = inner

    @property
    def header(self) -> Head:  # noqa: D102
        return self.inner.header

    @property
    def peer(self) -> Peer:  # noqa: D102
        return self.inner.peer

    async def send(self, value: Any) -> None:  # noqa: D102
        await self.inner.send(value)

    async def recv(self) -> Any:  # noqa: D102
        return await self.inner.recv()

    async def end(self) -> None:  # noqa: D102
        await self.inner.end()

    def reset(self, reason: Reset = Reset.CANCELLED) -> None:  # noqa: D102
        self.inner.reset(reason)


class Call:
    """One call or stream, from the caller's intent to the handler. Middleware may change it before passing it on.

    Attributes:
        service, endpoint: what is called, for example `greeter` and `Say.Hello`.
        request: the value to send, or the decoded one; None for a stream.
        request_type, reply_type: annotations to encode and decode by; `typing.Any` where the caller gave none.
        metadata: travels with the call, lower-case names; only what belongs to the user.
        deadline: clock seconds at which the call is over; None for a stream without one.
        streaming: whether it is a stream.
        content_type: bare content type; None leaves the choice to the client.
        idempotent: True when it may be repeated though it may have been processed; None leaves it to the endpoint,
            whose metadata may say `idempotent: "true"`.
        retries: how often an idempotent call whose outcome is unknown may be repeated; None for the client's option.
        address: call this address instead of asking discovery.
        filter: which nodes may be called.
        key: affinity for selectors that know it.
        caller: name of the calling service, empty for none.
        open_deadline: client, streams: clock seconds by which it must be open.
        attempts: client: the nodes tried so far.
        peer: server: who calls.
        stream: server: the stream that the handler works with.
    """

    __slots__ = (
        "address",
        "attempts",
        "caller",
        "content_type",
        "deadline",
        "endpoint",
        "filter",
        "idempotent",
        "key",
        "metadata",
        "open_deadline",
        "peer",
        "reply_type",
        "request",
        "request_type",
        "retries",
        "service",
        "stream",
        "streaming",
    )

    def __init__(
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        request_type: Any = Any,
        reply_type: Any = Any,
        metadata: dict[str, str] | None = None,
        deadline: float | None = None,
        streaming: bool = False,
        caller: str = "",
    ) -> None:
        self.service = service
        self.endpoint = endpoint
        self.request = request
        self.request_type = request_type
        self.reply_type = reply_type
        self.metadata: dict[str, str] = {} if metadata is None else metadata
        self.deadline = deadline
        self.streaming = streaming
        self.caller = caller
        self.content_type: str | None = None
        self.idempotent: bool | None = None
        self.retries: int | None = None
        self.address: str | None = None
        self.filter: Filter | None = None
        self.key: bytes | None = None
        self.open_deadline: float | None = None
        self.attempts: list[Attempt] = []
        self.peer: Peer | None = None
        self.stream: Stream | None = None

    def __repr__(self) -> str:
        return f"<Call {self.service} {self.endpoint}>"


class Reply:
    """What came of a call: a value, or a stream that is open.

    Attributes:
        value: the decoded reply; None for a stream.
        header: the reply's header, lower-case; a handler's middleware may add to it.
        node: client: the node that answered; None for a call by address.
        stream: client: the open stream, else None.
    """

    __slots__ = ("header", "node", "stream", "value")

    def __init__(
        self, value: Any = None, header: Head | None = None, node: Node | None = None, stream: Stream | None = None
    ) -> None:
        self.value = value
        self.header: Head = {} if header is None else header
        self.node = node
        self.stream = stream


CallNext: TypeAlias = Callable[[Call], Awaitable[Reply]]
Middleware: TypeAlias = Callable[[Call, CallNext], Awaitable[Reply]]
