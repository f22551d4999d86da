"""The store of a process, and the transport that calls and listens in it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from weakref import WeakSet

import anyio
from anyio.abc import TaskGroup
from micro_core import (
    Accept,
    Buffer,
    Clock,
    ConfigurationError,
    Exchange,
    Head,
    Listener,
    Message,
    Peer,
    Reset,
    StreamCall,
    Transport,
    TransportError,
    UnaryCall,
    capture_clock,
    option,
)

from micro_transport_memory.exchange import MemoryExchange, Pipe
from micro_transport_memory.heads import check_head, refusal

log = logging.getLogger("micro.transport.memory")

_stores: dict[str, dict[str, MemoryListener]] = {}
"""Listeners by address, by store: shared by the process, as is documented. A store without listeners is removed."""


class MemoryTransport(Transport):
    """Calls and listens within this process."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """Options of the transport `memory`."""

        address: str = option("", help="which store of this process to use")
        buffer: int = option(16, help="messages that a stream keeps in each direction before senders wait", minimum=1)
        message_limit: int = option(4 * 1024 * 1024, help="bytes of the largest message", minimum=1)

    def __init__(self, options: Options) -> None:
        self._options = options
        self._listeners: list[MemoryListener] = []
        self._opened: WeakSet[MemoryExchange] = WeakSet()
        self._peer = Peer(f"memory:{id(self):x}", protocol="memory")
        self._tasks: TaskGroup | None = None
        self._clock: Clock = _no_clock

    async def __aenter__(self) -> Self:
        self._clock = capture_clock()
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in tuple(self._listeners):
            listener.close()
        self._listeners.clear()
        for exchange in tuple(self._opened):
            exchange.reset(Reset.GONE)
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)

    async def call(  # noqa: D102
        self, address: str, request: Message, *, verify_name: str | None = None, deadline: float
    ) -> Message:
        listener = self._reach(address, request.head, deadline)
        if len(request.body) > self._options.message_limit:
            return _too_large(request.body, self._options.message_limit)
        work = listener.accept(dict(request.head), self._peer)
        if isinstance(work, Message):
            return _copy(work)
        if work.streams:
            work.cancel(Reset.PROTOCOL)
            raise TransportError("the endpoint is a stream", Reset.PROTOCOL, processed=False)
        answer = Answer(work)
        listener.start(answer, bytes(request.body))
        reply = await answer.wait(deadline)
        if len(reply.body) > self._options.message_limit:
            raise TransportError(_over(reply.body, self._options.message_limit), Reset.LIMIT, processed=True)
        return reply

    async def open(  # noqa: D102
        self, address: str, head: Head, *, opening: Buffer = b"", verify_name: str | None = None, deadline: float
    ) -> Exchange:
        listener = self._reach(address, head, deadline)
        work = listener.accept(dict(head), self._peer)
        there, back = Pipe(self._options.buffer), Pipe(self._options.buffer)
        near = MemoryExchange(
            dict(head), Peer(listener.address, protocol="memory"), back, there, self._options.message_limit
        )
        if isinstance(work, UnaryCall):
            work.cancel(Reset.PROTOCOL)
            raise TransportError("the endpoint is not a stream", Reset.PROTOCOL, processed=False)
        if isinstance(work, Message):
            back.end(dict(work.head))
            there.fail(Reset.REFUSED)
            return near
        far = MemoryExchange(dict(head), self._peer, there, back, self._options.message_limit)
        near.replies_from(far, work.cancel)
        self._opened.add(near)
        listener.start(Streaming(work, far))
        return near

    async def listen(self, address: str, accept: Accept) -> Listener:  # noqa: D102
        if self._tasks is None:
            raise ConfigurationError("the memory transport listens only inside `async with`")
        try:
            host, port = _parse(address)
        except ValueError as error:
            raise ConfigurationError(f"cannot listen: {error}") from None
        store = _stores.setdefault(self._options.address, {})
        bound = f"{host}:{port or next(_free_ports(store, host))}"
        if bound in store:
            raise ConfigurationError(f"address {bound} is in use in this process; choose another, or port 0 for any")
        listener = MemoryListener(bound, self._options.address, accept, self._tasks, self._clock)
        store[bound] = listener
        self._listeners.append(listener)
        return listener

    def _reach(self, address: str, head: Head, deadline: float) -> MemoryListener:
        check_head(head)
        host, port = _parse(address)
        listener = _stores.get(self._options.address, {}).get(f"{host}:{port}")
        if listener is None:
            raise TransportError(f"nobody listens at {address} in this process", Reset.REFUSED, processed=False)
        if self._clock() >= deadline:
            raise TransportError("the deadline had passed before the call", Reset.DEADLINE, processed=False)
        return listener


class MemoryListener(Listener):
    """A bound address: the accept function behind it, and the work that it has accepted."""

    def __init__(self, address: str, store: str, accept: Accept, tasks: TaskGroup, clock: Clock) -> None:
        self.address = address
        self._store = store
        self._accept = accept
        self._tasks = tasks
        self._clock = clock
        self._context = copy_context()
        self._running: set[Answer | Streaming] = set()
        self._draining = False
        self._idle: anyio.Event | None = None

    def accept(self, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        """What is to be done with a call; a refusal while draining."""
        if self._draining:
            return refusal(503, "Service Unavailable", "the server is stopping", unprocessed=True)
        return self._accept(head, peer)

    def start(self, work: Answer | Streaming, *arguments: bytes) -> None:
        """Runs accepted work in a task of its own, with the context variables of whoever listened."""
        self._running.add(work)
        self._context.copy().run(self._tasks.start_soon, self._run, work, *arguments)

    async def _run(self, work: Answer | Streaming, *arguments: bytes) -> None:
        try:
            await work.run(*arguments)
        except Exception:
            log.exception("a call to %s failed outside its handler", self.address)
        finally:
            work.finish()
            self._running.discard(work)
            if self._idle is not None and not self._running:
                self._idle.set()

    async def drain(self, deadline: float) -> None:  # noqa: D102
        self._draining = True
        if self._running:
            self._idle = self._idle or anyio.Event()
            with anyio.CancelScope(deadline=deadline):
                await self._idle.wait()

    async def aclose(self) -> None:  # noqa: D102
        self.close()

    def close(self) -> None:
        """Frees the address and cancels what runs. Idempotent."""
        store = _stores.get(self._store, {})
        if store.get(self.address) is self:
            del store[self.address]
            if not store:
                _stores.pop(self._store, None)
        for work in tuple(self._running):
            work.gone()


class Answer:
    """One unary call: the task that runs it sets `reply`, the task that called waits."""

    __slots__ = ("_call", "_done", "_reply")

    def __init__(self, call: UnaryCall) -> None:
        self._call = call
        self._done = anyio.Event()
        self._reply: Message | None = None

    async def run(self, body: bytes = b"") -> None:
        """Runs the call and keeps its reply."""
        self._reply = await self._call.run(body)

    def finish(self) -> None:
        """The task is over: wakes the caller."""
        self._done.set()

    def gone(self) -> None:
        """The listener closes: cancels the call, and the caller learns it at once."""
        self._call.cancel(Reset.GONE)
        self._done.set()

    async def wait(self, deadline: float) -> Message:
        """The reply, for the caller. Raises TransportError; the call is cancelled when nobody waits for it any more."""
        try:
            with anyio.CancelScope(deadline=deadline) as scope:
                await self._done.wait()
        except BaseException:
            self._call.cancel(Reset.CANCELLED)
            raise
        if scope.cancelled_caught and not self._done.is_set():
            self._call.cancel(Reset.DEADLINE)
            raise TransportError("no reply by the deadline", Reset.DEADLINE, processed=True)
        if self._reply is None:
            raise TransportError("the server left without a reply", Reset.GONE, processed=True)
        return _copy(self._reply)


class Streaming:
    """One stream at the server's side."""

    __slots__ = ("_call", "_exchange")

    def __init__(self, call: StreamCall, exchange: MemoryExchange) -> None:
        self._call = call
        self._exchange = exchange

    async def run(self) -> None:
        """Runs the stream to its end."""
        await self._call.run(self._exchange)

    def finish(self) -> None:
        """The task is over: what it left open is cut."""
        self._exchange.finish()

    def gone(self) -> None:
        """The listener closes: cancels the call and resets the exchange."""
        self._call.cancel(Reset.GONE)
        self._exchange.reset(Reset.GONE)


def _parse(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or "/" in host:
        raise ValueError(f"{address!r} is not an address such as greeter:0 or 127.0.0.1:8080")
    return host or "localhost", int(port)


def _free_ports(store: dict[str, MemoryListener], host: str) -> Iterator[int]:
    for port in range(49152, 65536):
        if f"{host}:{port}" not in store:
            yield port
    raise ConfigurationError(f"every port of {host} is in use in this process")


def _copy(message: Message) -> Message:
    return Message(dict(message.head), bytes(message.body), None if message.trailer is None else dict(message.trailer))


def _over(body: Buffer, limit: int) -> str:
    return f"{len(body)} bytes are over the limit of {limit} for a message (option message_limit)"


def _too_large(body: Buffer, limit: int) -> Message:
    return refusal(413, "Payload Too Large", f"the request is too large: {_over(body, limit)}", unprocessed=False)


def _no_clock() -> float:
    return -math.inf
