"""Transports: carry messages to an address and accept them at one.

The division of labour. A transport owns connections, their pool, framing, limits and the task of each accepted call. It
knows nothing of services, codecs or handlers. The server above it gives `listen` one function, `accept`, which looks at
the headers alone and answers what is to be done; that answer owns deadline and cancellation of the work:

    accept(head, peer) -> UnaryCall     collect the body, run it once, send the message it returns
                       -> StreamCall    run it with an exchange
                       -> Message       a refusal, sent as it is

Whether a call is a stream is the caller's word (`micro-stream` in the head), held by `accept` against the endpoint.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, Literal, TypeAlias

from micro_core.component import Component
from micro_core.errors import Reset
from micro_core.message import Buffer, Head, Message
from micro_core.records import Peer


class Exchange(ABC):
    """One stream, either side: messages both ways, in order.

    `send` and `recv` may run at the same time in two tasks, but no two `send` and no two `recv`. A cancelled `recv`
    loses nothing. A cancelled `send` leaves an exchange that works, with the message sent whole or not at all, or one
    that was reset. A refusal that `accept` answered to an opening ends the exchange: `recv` raises EndOfStream, and
    `trailer` holds the refusal's head, but for what is the wire's own. Its body reaches no `recv`.

    Attributes:
        request: what the caller opened with.
        reply: the other way: the server may set it before its first send; at the client it is complete once `recv`
            returned or raised.
        trailer: at the receiving side complete once `recv` raised EndOfStream; empty: ended well.
        peer: who is at the other end.
    """

    __slots__ = ("peer", "reply", "request", "trailer")
    request: Head
    reply: Head
    trailer: Head
    peer: Peer

    @abstractmethod
    async def send(self, body: Buffer) -> None:
        """Sends one message; waits while the peer does not read. The buffer may be reused once it returned.

        Raises:
            TransportError: the exchange was reset, or is gone, or this side has ended.
        """

    @abstractmethod
    async def end(self, trailer: Head | None = None, body: Buffer = b"") -> None:
        """Ends this side; the other may go on sending. Idempotent.

        `body` is for wires whose end carries an envelope; it is not a message and reaches no `recv`.

        Raises:
            TransportError: the exchange was reset or is gone.
        """

    @abstractmethod
    async def recv(self) -> bytes:
        """The next message.

        Raises:
            EndOfStream: the peer ended; again at every further call.
            TransportError: the exchange was reset or is gone; messages that had arrived before are delivered first.
        """

    def send_nowait(self, body: Buffer) -> bool:
        """As `send` where that need not wait; False: nothing was sent, and `send` says or does what there is to.

        By default False. Messages sent in either way stay in order. A peer that does not read gets False at last, and
        so does now and then whoever sends much, since to wait is to let others run.
        """
        return False

    def recv_nowait(self) -> bytes | None:
        """As `recv` where a message has arrived; None: `recv` says or waits for what there is. By default None."""
        return None

    @abstractmethod
    def reset(self, reason: Reset) -> None:
        """Cuts the exchange short; wakes a waiting `recv` and `send`. Idempotent, and nothing after both sides ended.

        Synchronous: it is called from a cancelled task or a deadline sweep, always in the event loop's thread.
        """


class UnaryCall(ABC):
    """The server's side of one accepted call. The transport runs it once, in a task of its own.

    That task may have run calls before, of which none waited for anything, and may lend its scope: `micro_core.loan`.

    Attributes:
        streams: what tells it from a `StreamCall`.
    """

    __slots__ = ()

    streams: ClassVar[Literal[False]] = False

    @abstractmethod
    async def run(self, body: bytes) -> Message | None:
        """Does the work. Never raises; None: the caller is gone, write nothing."""

    @abstractmethod
    def cancel(self, reason: Reset) -> None:
        """The caller is gone or gave up. Synchronous, idempotent, also before `run`, also after.

        May be called where no task runs, like `accept`.
        """


class StreamCall(ABC):
    """The server's side of one accepted stream. The transport runs it once, in a task of its own.

    Attributes:
        streams: what tells it from a `UnaryCall`.
    """

    __slots__ = ()

    streams: ClassVar[Literal[True]] = True

    @abstractmethod
    async def run(self, exchange: Exchange) -> None:
        """Does the work, and ends or resets the exchange itself. Never raises."""

    @abstractmethod
    def cancel(self, reason: Reset) -> None:
        """As UnaryCall.cancel."""


Accept: TypeAlias = Callable[[Head, Peer], UnaryCall | StreamCall | Message]
"""Synchronous, quick, never raises; sees headers only. A Message is a refusal, sent as it is. It is called where no
task runs (a protocol callback), so it must not use anyio."""


class Listener(ABC):
    """A bound address at which calls are accepted.

    Attributes:
        address: `host:port` as bound, the port known.
    """

    address: str

    @abstractmethod
    async def drain(self, deadline: float) -> None:
        """Takes no new work; returns when what was accepted has ended, or at the deadline (clock seconds).

        Calls that still arrive are refused in a way that lets the caller try elsewhere (`micro-unprocessed: 1`).
        Accepted streams run on; the deadline ends the waiting, not the work. Idempotent.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Closes the address and every connection, also when cancelled; running calls are cancelled with GONE.

        Idempotent.
        """


class Transport(Component, ABC):
    """Carries messages. Built as `Transport(options)`. Connections and their pool are its own business.

    Attributes:
        node_metadata: what a node that is served through it says about itself in the registry. `tls=1` there, and only
            there, means that it is called by TLS alone; then this transport dials nothing without, whatever a record
            says. The same for its life.
    """

    node_metadata: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    async def call(self, address: str, request: Message, *, verify_name: str | None = None, deadline: float) -> Message:
        """One unary exchange; returns the reply, whatever its head says. The request is left as it is.

        `deadline` is in clock seconds and covers dialling too. A cancelled call leaves no connection behind that could
        carry its late reply to another call. `verify_name` is the name that the peer's certificate must hold, where
        there is TLS.

        Raises:
            TransportError: with `processed=False` when no handler can have seen the call (the dial failed, nothing was
                written), True when the outcome is unknown; reason DEADLINE at the deadline, REFUSED when the dial
                failed, PROTOCOL for a reply that cannot be parsed, LIMIT for one whose body is over a limit, GONE when
                the peer closed half way.
            ValueError: a head with a line break, NUL or other byte that no header may hold, or a malformed address.
        """

    @abstractmethod
    async def open(
        self, address: str, head: Head, *, opening: Buffer = b"", verify_name: str | None = None, deadline: float
    ) -> Exchange:
        """Opens a stream; `deadline` (clock seconds) covers opening it, not its life.

        Returns when the opening was sent; the server need not have answered. `opening` is the body of the opening
        message, which reaches no `recv`. The caller ends or resets the exchange.

        Raises:
            TransportError, ValueError: as `call`.
        """

    @abstractmethod
    async def listen(self, address: str, accept: Accept) -> Listener:
        """Binds `host:port` (port 0: any free one; empty host: every interface) and serves until closed.

        Raises:
            ConfigurationError: the address cannot be parsed or bound; the text says why and how to choose another.
        """

    def forget(self, address: str) -> None:
        """The node at that address left the registry: nothing that waits for further calls to it is kept.

        Calls and streams that are under way go on to their end; whoever calls the address again is served as before.
        Synchronous, idempotent, never raises, also for an address that is malformed or was never called. Called in the
        event loop's thread, by whoever looks after the nodes; not on the path of a call.
        """
