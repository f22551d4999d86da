"""One accepted call, from the task that the transport gives it to the message that goes back.

The work owns its scope, because the answer to a deadline is written after the handler was cancelled. A scope without a
deadline is all it opens, unless its task has lent it one; the sweep, the transport (`cancel`) or the closing listener
(`stop`) cancel it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import anyio
from micro_core import (
    Call,
    DecodeError,
    EndOfStream,
    Exchange,
    Head,
    Message,
    Peer,
    Reply,
    Reset,
    RPCError,
    StreamCall,
    TransportError,
    UnaryCall,
    UnsupportedType,
)
from micro_core.errors import BadRequest, InternalServerError, ServiceUnavailable, Timeout
from micro_core.loan import Loan, borrow

from micro_rpc.streams import ServerStream
from micro_rpc.wire import error_text, refuse, reply_header, user_metadata

if TYPE_CHECKING:
    from micro_rpc.routing import Binding, Served

log = logging.getLogger("micro.rpc")

_LINGER = 1.0
"""Seconds that the end of a stream may take to be written after its deadline."""


class _Work:
    """What unary calls and streams have in common."""

    __slots__ = ("_reason", "_scope", "_stopped", "binding", "deadline", "head", "peer", "served")

    def __init__(self, served: Served, binding: Binding, head: Head, peer: Peer, deadline: float) -> None:
        self.served = served
        self.binding = binding
        self.head = head
        self.peer = peer
        self.deadline = deadline
        self._scope: anyio.CancelScope | Loan | None = None
        self._reason: Reset | None = None
        self._stopped = False

    def cancel(self, reason: Reset) -> None:
        """The first reason counts. Synchronous, idempotent, also before and after it runs."""
        if self._reason is None:
            self._reason = reason
            if self._scope is not None:
                self._scope.cancel()

    def _cancelled(self) -> bool:
        return self._reason is not None

    def stop(self) -> None:
        """The server closes: as `cancel`, but the caller is there and is told."""
        self._stopped = self._stopped or self._reason is None
        self.cancel(Reset.GONE)

    def call(self, request: Any, streaming: bool) -> Call:
        """The call as handlers see it."""
        binding, head, deadline = self.binding, self.head, self.deadline
        handler = binding.handler
        call = Call(
            self.served.service,
            handler.endpoint.name,
            request,
            handler.request_type,
            handler.reply_type,
            user_metadata(head),
            deadline if deadline < math.inf else None,
            streaming,
            head.get("micro-from-service", ""),
        )
        call.content_type = binding.content_type
        call.peer = self.peer
        return call

    def error_of(self, error: BaseException) -> RPCError:
        """What the caller is told of an exception: nothing but its type, unless it was meant for the caller."""
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, RPCError):
            return error
        endpoint = self.binding.handler.endpoint.name
        log.error("%s %s failed", self.served.service, endpoint, exc_info=error)
        return InternalServerError(f"{endpoint} failed: {type(error).__name__}")

    def cut_short(self) -> RPCError | None:
        """What a caller who is still there is told of cancelled work."""
        name = self.binding.handler.endpoint.name
        if self._stopped:
            return ServiceUnavailable(f"{name} was cut short: {self.served.service} is stopping")
        if self._reason is Reset.DEADLINE:
            return Timeout(f"{name} was not done by the deadline")
        return None

    def _is_own_end(self, error: BaseException) -> bool:
        """Whether a scope that `cancel` has cancelled would swallow it."""
        if self._reason is None:
            return False
        kind = self.served.cancelled
        return error.split(kind)[1] is None if isinstance(error, BaseExceptionGroup) else isinstance(error, kind)

    def _is_failure(self, error: BaseException) -> bool:
        """Whether the handler has failed, and was not cut short."""
        return isinstance(error, (Exception, SystemExit)) or (
            isinstance(error, self.served.cancelled) and self._stray()
        )

    def _stray(self) -> bool:
        """Whether a cancellation came from within the handler, from a future that someone cancelled."""
        if self._reason is not None or self.served.cancelled is not asyncio.CancelledError:
            return False
        task = asyncio.current_task()
        return task is not None and not task.cancelling()


class UnaryWork(_Work, UnaryCall):
    """A unary call."""

    __slots__ = ()

    async def run(self, body: bytes) -> Message | None:
        """The reply, an error as a reply, or None when the caller is gone."""
        served = self.served
        if self._reason is not None:
            return self._ended()
        taken = served.slots.take()
        if not taken and served.slots.full:
            return self.fail(served.too_busy(), unprocessed=True)
        served.sweep.add(self)
        lent = borrow() if taken else None
        try:
            if lent is not None:
                self._scope = lent
                return self._answer(await self._handled(body))
            with served.scope() as self._scope:
                if not taken:
                    await served.slots.wait()
                    taken = True
                return self._answer(await self._handled(body))
        except BaseException as error:
            if self._is_failure(error):
                told = self.error_of(error)
                if not self._cancelled():
                    return self.fail(told)
            elif lent is None or not self._is_own_end(error):
                raise
        finally:
            self._scope = None
            served.leave(self, taken)
        return self._ended()

    def _handled(self, body: bytes) -> Awaitable[Reply]:
        binding = self.binding
        decode, handle = binding.decode, binding.handle
        try:
            request = None if decode is None else decode(body or binding.empty)
        except DecodeError as error:
            raise BadRequest(_undecodable(binding, body, error)) from None
        return handle(self.call(request, False))

    def _answer(self, reply: Reply) -> Message:
        encode = self.binding.encode
        try:
            body = encode(reply.value)
        except UnsupportedType as error:
            raise self._unencodable(error) from None
        if len(body) > self.served.max_reply:
            raise self._too_large(len(body))
        return self.succeed(reply, body)

    def _unencodable(self, error: UnsupportedType) -> RPCError:
        name = self.binding.handler.endpoint.name
        log.error("the reply of %s %s cannot be encoded: %s", self.served.service, name, error)
        return InternalServerError(f"the reply of {name} cannot be encoded: {error}")

    def _too_large(self, size: int) -> RPCError:
        text = f"the reply of {self.binding.handler.endpoint.name} is too large: {size} bytes"
        return InternalServerError(f"{text}, the limit is {self.served.max_reply} (option max_reply of the server)")

    def _ended(self) -> Message | None:
        told = self.cut_short()
        return None if told is None else self.fail(told)

    def succeed(self, reply: Reply, body: bytes) -> Message:
        """The reply to a call that went well, in the codec of the request."""
        if not reply.header:
            return Message({"content-type": self.binding.content_type}, body)
        return Message({**reply_header(reply.header), "content-type": self.binding.content_type}, body)

    def fail(self, error: RPCError, *, unprocessed: bool = False) -> Message:
        """The reply to a call that failed, or that no slot was left for."""
        return refuse(error, self.served.service, unprocessed=unprocessed)


class StreamWork(_Work, StreamCall):
    """A stream."""

    __slots__ = ()

    async def run(self, exchange: Exchange) -> None:
        """Runs the handler, then ends the exchange: well, with the error, or by a reset when the caller is gone."""
        served = self.served
        slots = served.slots
        taken = slots.take()
        if self._reason is None and not taken and slots.full:
            await self._end(exchange, self.trailer(served.too_busy(), unprocessed=True))
            return
        served.sweep.add(self)
        done = False
        error: RPCError | None = None
        try:
            with served.scope() as self._scope:
                if self._reason is not None:
                    self._scope.cancel()
                if not taken:
                    await slots.wait()
                    taken = True
                error = await self._serve(exchange)
                done = True
            await self._close(exchange, done, error)
        finally:
            served.leave(self, taken)

    async def _serve(self, exchange: Exchange) -> RPCError | None:
        call = self.call(None, True)
        call.stream = ServerStream(exchange, self.binding, self.served.max_reply)
        exchange.reply["content-type"] = self.binding.content_type
        try:
            await self.binding.handler.handle(call)
        except EndOfStream:
            return None
        except BaseException as error:
            if not self._is_failure(error):
                raise
            return self.error_of(error)
        return None

    async def _close(self, exchange: Exchange, done: bool, error: RPCError | None) -> None:
        if not done or (error is not None and self._reason is not None):
            error = self.cut_short()
            if error is None:
                exchange.reset(self._reason or Reset.CANCELLED)
                return
        await self._end(exchange, self.trailer(error))

    async def _end(self, exchange: Exchange, trailer: Head) -> None:
        try:
            with anyio.move_on_after(_LINGER) as scope:
                await exchange.end(trailer)
        except TransportError:
            return
        except BaseException:
            exchange.reset(Reset.GONE)
            raise
        if scope.cancelled_caught:
            exchange.reset(self._reason or Reset.CANCELLED)

    def trailer(self, error: RPCError | None, *, unprocessed: bool = False) -> Head:
        """How the stream ends: well, or with an error."""
        if error is None:
            return {}
        trailer = {"micro-error": error_text(error, self.served.service)}
        return {**trailer, "micro-unprocessed": "1"} if unprocessed else trailer


def _undecodable(binding: Binding, body: bytes, error: DecodeError) -> str:
    what = "the request" if body else "the empty request"
    return f"{what} of {binding.handler.endpoint.name} cannot be read as {binding.content_type}: {error}"
