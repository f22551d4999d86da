"""Streams at the client.

A server that refuses a stream because it is busy or stopping says so only after the stream was opened, when the caller
may have sent something already. Nothing of it was processed, so the stream moves to another node: what was sent is kept
until the first word of a reply and sent again there. That is at most 8 messages in 16 KiB, which any wire takes while
nobody reads; a caller who has sent more gets the refusal.

A `send` that fails does not know why; the server's reason arrives on the other side. So a failed `send` reads on,
keeping messages for later `recv`s, until it finds the error, unless a `recv` is doing so already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from micro_core import (
    Call,
    DecodeError,
    EndOfStream,
    Exchange,
    Head,
    Node,
    Outcome,
    Peer,
    Reset,
    RPCError,
    Stream,
    TransportError,
    UnsupportedType,
)
from micro_core.errors import BadGateway, BadRequest, Timeout

from micro_rpc.wire import CLIENT_ID, unreadable

if TYPE_CHECKING:
    from micro_rpc.attempts import Attempts
    from micro_rpc.client import RPCClient

T = TypeVar("T")

_MOST_KEPT = 8
_MOST_BYTES = 16 * 1024
_LEFT = 499


class ClientStream(Stream):
    """A stream that a caller works with. `node` is the one that serves it; None for a call by address."""

    __slots__ = (
        "_ahead",
        "_attempts",
        "_began",
        "_call",
        "_client",
        "_deadline",
        "_ended",
        "_exchange",
        "_final",
        "_head",
        "_kept",
        "_kept_bytes",
        "_plan",
        "_read",
        "_receiving",
        "_taken",
    )

    _exchange: Exchange

    def __init__(self, client: RPCClient, call: Call, attempts: Attempts, deadline: float) -> None:
        self._client = client
        self._call = call
        self._plan, self._head = client.opening(call, attempts)
        self._attempts = attempts
        self._deadline = deadline
        self._taken: Node | None = None
        self._began = 0.0
        self._ended = False
        self._final: RPCError | EndOfStream | None = None
        self._ahead: deque[bytes] = deque()
        self._kept: list[bytes] | None = []
        self._kept_bytes = 0
        self._receiving = False
        self._read: anyio.Event | None = None

    @property
    def node(self) -> Node | None:
        """The node that serves it, while it lives; None for a call by address."""
        return None if self._call.address else self._taken

    @property
    def header(self) -> Head:  # noqa: D102
        return self._exchange.reply

    @property
    def peer(self) -> Peer:  # noqa: D102
        return self._exchange.peer

    async def open(self) -> None:
        """Opens it at one node after another. Raises RPCError when none would."""
        attempts = self._attempts
        node = attempts.first() or await attempts.next()
        await self._open(node)

    async def _open(self, node: Node) -> None:
        attempts = self._attempts
        while True:
            if attempts.dialects is not None and (other := attempts.content_type_at(node, self._plan)):
                with attempts.giving_back(node):
                    self._plan, self._head = self._client.opening(self._call, attempts, other)
            began = attempts.now()
            try:
                exchange = await self._open_at(node)
            except (TransportError, ValueError) as failure:
                attempts.failed(node, began, failure)
                node = await attempts.next()
            except BaseException as error:
                attempts.abandoned(node, began, error)
                raise
            else:
                self._exchange, self._taken, self._began = exchange, node, began
                return

    async def _open_at(self, node: Node) -> Exchange:
        plan = self._plan
        exchange = await self._client.transport.open(
            node.address,
            self._head.copy(),
            opening=plan.empty if plan.pack is None else plan.pack(self._head, plan.empty),
            verify_name=self._call.service,
            deadline=self._deadline,
        )
        exchange = plan.dialect.exchange(exchange)
        if self._kept or self._ended:
            await self._repeat(exchange)
        return exchange

    async def _repeat(self, exchange: Exchange) -> None:
        """Sends again what was sent before. A failure is no news: its reason comes with the next `recv`."""
        try:
            with anyio.CancelScope(deadline=self._deadline) as scope:
                for body in tuple(self._kept or ()):
                    await exchange.send(body)
                if self._ended:
                    await exchange.end()
        except TransportError:
            return
        except BaseException:
            exchange.reset(Reset.CANCELLED)
            raise
        if scope.cancelled_caught:
            exchange.reset(Reset.DEADLINE)

    async def send(self, value: Any) -> None:  # noqa: D102
        try:
            body = self._plan.encode(value)
        except UnsupportedType as error:
            raise self._attempts.circumstances(BadRequest(f"a value cannot be sent: {error}", id=CLIENT_ID)) from error
        if self._ended:
            raise self._attempts.circumstances(BadRequest("this side of the stream has ended", id=CLIENT_ID))
        if isinstance(self._final, RPCError):
            raise self._final
        if self._kept is not None:
            self._keep(body)
        if not self._exchange.send_nowait(body):
            await self._timed(lambda: self._send(body))

    async def _send(self, body: bytes) -> None:
        exchange = self._exchange
        try:
            await exchange.send(body)
        except TransportError as error:
            await self._explain(exchange, error)

    def _keep(self, body: bytes) -> None:
        if self._kept is None:
            return
        self._kept_bytes += len(body)
        if self._kept_bytes > _MOST_BYTES or len(self._kept) >= _MOST_KEPT:
            self._kept = None
        else:
            self._kept.append(body)

    async def _explain(self, exchange: Exchange, error: TransportError) -> None:
        while self._final is None and self._exchange is exchange:
            if error.reason is Reset.PROTOCOL:
                break
            if self._receiving:
                self._read = self._read or anyio.Event()
                await self._read.wait()
                continue
            try:
                self._ahead.append(await self._next())
            except (EndOfStream, RPCError):
                break
        if self._exchange is not exchange:
            return
        if isinstance(self._final, RPCError):
            raise self._final
        broken = BadGateway("the server has ended the stream" if self._final else str(error), id=CLIENT_ID)
        broken.outcome = Outcome.UNKNOWN
        raise self._attempts.circumstances(broken) from error

    async def recv(self) -> Any:  # noqa: D102
        body = None
        if self._ahead:
            body = self._ahead.popleft()
        elif self._final is None and not self._receiving:
            body = self._exchange.recv_nowait()
            if body is not None:
                self._kept = None
        if body is None:
            body = await (self._next() if self._call.deadline is None else self._timed(self._next))
        decode = self._plan.decode
        try:
            return decode(body)
        except DecodeError as error:
            what = f"a message of {self._call.service} {self._call.endpoint}"
            asked = self._plan.head["content-type"]
            raise unreadable(what, self._taken, self._exchange.reply, body, asked, error) from None

    async def _next(self) -> bytes:
        if self._final is not None:
            raise self._final
        self._receiving = True
        try:
            while True:
                try:
                    body = await self._exchange.recv()
                except EndOfStream:
                    failure: RPCError | TransportError | None = self._plan.refusal(self._exchange.trailer, b"")
                except TransportError as error:
                    failure = error
                else:
                    self._kept = None
                    return body
                await self._over(failure)
        finally:
            self._receiving = False
            read, self._read = self._read, None
            if read is not None:
                read.set()

    async def _over(self, failure: RPCError | TransportError | None) -> None:
        """Returns when the stream has moved to another node, else raises what it ended with."""
        if failure is None:
            self._finish(Outcome.OK, None)
            self._final = EndOfStream()
            raise self._final
        self._exchange.reset(Reset.CANCELLED)
        error = self._attempts.translated(self._taken, failure)
        if error.outcome is Outcome.NOT_PROCESSED and self._kept is not None and self._taken is not None:
            node, self._taken = self._taken, None
            try:
                self._attempts.failed(node, self._began, error)
                await self._open(await self._attempts.next())
            except RPCError as last:
                self._final = last
                raise
            if self._final is not None:  # left by another task meanwhile
                self._exchange.reset(Reset.CANCELLED)
                self._finish(Outcome.CANCELLED, None)
                raise self._final
            return
        self._finish(error.outcome, error)
        self._final = self._attempts.circumstances(error)
        raise self._final

    def _finish(self, outcome: Outcome, error: BaseException | None) -> None:
        node, self._taken = self._taken, None
        if node is not None:
            self._attempts.done(node, outcome, self._began, error)

    async def end(self) -> None:
        """As any stream's; on one that is over already it does nothing, `recv` says why."""
        if not self._ended:
            self._ended = True
            try:
                await self._timed(self._exchange.end)
            except TransportError:
                return

    def reset(self, reason: Reset = Reset.CANCELLED) -> None:  # noqa: D102
        self._exchange.reset(reason)
        if self._final is None:
            self._finish(Outcome.CANCELLED, None)
            left = RPCError("the stream was left", id=CLIENT_ID, code=_LEFT, status="Client Closed Request")
            left.outcome = Outcome.CANCELLED
            self._final = self._attempts.circumstances(left)

    async def _timed(self, operation: Callable[[], Awaitable[T]]) -> T:
        deadline = self._call.deadline
        if deadline is None:
            return await operation()
        with anyio.CancelScope(deadline=deadline):
            return await operation()
        if self._taken is None and self._final is None:
            self._final = self._attempts.expired()
            raise self._final
        self._exchange.reset(Reset.DEADLINE)
        late = Timeout("the stream's deadline passed", id=CLIENT_ID)
        late.outcome = Outcome.UNKNOWN
        if self._final is None:
            self._finish(Outcome.UNKNOWN, late)
            self._final = self._attempts.circumstances(late)
        raise self._final
