"""The broker and its subscriptions, each in one event loop, around a store that several share."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self

import anyio
from anyio.abc import TaskGroup
from micro_core import (
    Broker,
    BrokerUnavailable,
    Capability,
    EventHandler,
    Message,
    Registry,
    SubscribeOptions,
    Subscription,
    capture_clock,
    option,
)
from micro_messaging import (
    MEBIBYTE,
    Delivery,
    HandledEvent,
    Limits,
    Redelivery,
    Tally,
    Verdict,
    Waker,
    check_options,
    check_size,
    check_topic,
    handle,
    supervise,
    tell,
)

from micro_broker_memory.store import Store, enter, leave

log = logging.getLogger("micro.broker.memory")


class MemorySubscription(Subscription):
    """Takes from its lane while a handler is free."""

    def __init__(self, broker: MemoryBroker, topic: str, handler: EventHandler, options: SubscribeOptions) -> None:
        self.topic = topic
        self._handler = handler
        self._options = options
        self._broker = broker
        self._store = broker.store
        self._waker = Waker()
        self._slots = anyio.Semaphore(options.concurrency)
        self._running: set[int] = set()
        self._ended = anyio.Event()
        self._open = True
        settings = broker.options
        limits = Limits(settings.lane_messages, settings.lane_bytes, settings.stalled_after)
        policy = Redelivery(settings.attempts, settings.backoff, settings.backoff_max)
        self._group = self._store.join(topic, options.queue, self._waker, limits, policy, settings.orphaned_for)

    async def work(self) -> None:
        """Hands deliveries to the handler until the subscription is closed."""
        while self._open:
            await self._slots.acquire()
            delivery = await self._next()
            if delivery is None:
                return
            self._broker.tasks.start_soon(self._deliver, delivery)

    async def _next(self) -> Delivery | None:
        while self._open:
            delivery, seconds = self._store.take(self._group)
            if delivery is not None:
                return delivery
            await self._waker.wait(seconds)
        return None

    async def _deliver(self, delivery: Delivery) -> None:
        event = HandledEvent(self.topic, delivery.letter.copy(), delivery.attempt)
        try:
            verdict = await self._handle(event)
        except BaseException:
            self._store.put_back(self._group, delivery)
            raise
        self._store.settle(self._group, delivery, verdict)

    async def _handle(self, event: HandledEvent) -> Verdict:
        task = anyio.get_current_task().id
        self._running.add(task)
        try:
            verdict, error = await handle(self._handler, event, manual_ack=self._options.manual_ack)
        finally:
            self._running.discard(task)
            self._slots.release()
            self._ended.set()
            self._ended = anyio.Event()
        if error is not None:
            tell(log, event, self._group.lane.subscriber, error)
        return verdict

    async def aclose(self) -> None:  # noqa: D102
        self._open = False
        self._store.leave(self._group, self._waker)
        self._waker.wake()
        own = anyio.get_current_task().id
        try:
            while self._running - {own}:
                await self._ended.wait()
        finally:
            self.end()

    def end(self) -> None:
        """Closes it without waiting for handlers."""
        self._open = False
        self._store.leave(self._group, self._waker)
        self._store.finish(self._group, self._waker)
        self._broker.subscriptions.discard(self)


class MemoryBroker(Broker):
    """Events within one process: every broker with the same `address` shares one store, whatever its event loop.

    The registry is not used. Failures are redelivered with backoff, after `attempts` of them the event becomes a dead
    letter: an error in the log, and published on `<topic>.dead`.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.AT_LEAST_ONCE, Capability.NACK})

    @dataclass(frozen=True, slots=True)
    class Options:
        """The options of broker `memory`."""

        address: str = option("", help="which store of this process to use")
        attempts: int = option(10, help="deliveries of an event before it is a dead letter", minimum=1)
        backoff: float = option(0.1, help="seconds before the second delivery; each wait is twice the last", minimum=0)
        backoff_max: float = option(30.0, help="longest wait between deliveries", minimum=0)
        message_limit: int = option(4 * MEBIBYTE, help="largest event in bytes", minimum=1)
        lane_messages: int = option(1000, help="events waiting for one subscriber or queue", minimum=1)
        lane_bytes: int = option(16 * MEBIBYTE, help="bytes waiting for one subscriber or queue", minimum=1)
        stalled_after: float = option(2.0, help="how long a full lane without an ack holds up publishers", minimum=0)
        orphaned_for: float = option(30.0, help="how long events wait for a queue without members", minimum=0)

    def __init__(self, registry: Registry, options: Options) -> None:
        self.options = options
        self._tally = Tally()
        self._entered = False
        self.subscriptions: set[MemorySubscription] = set()

    async def __aenter__(self) -> Self:
        self._clock = capture_clock()
        self._waker = Waker()
        self.tasks: TaskGroup = anyio.create_task_group()
        await self.tasks.__aenter__()
        self.store: Store = enter(self.options.address, self._waker)
        self._entered = True
        self.tasks.start_soon(supervise, "giving up orphaned queues", self._tend, log)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._entered:
            return
        self._entered = False
        self.tasks.cancel_scope.cancel()
        try:
            await self.tasks.__aexit__(None, None, None)
        finally:
            for subscription in tuple(self.subscriptions):
                subscription.end()
            leave(self.options.address, self.store, self._waker)

    async def publish(self, topic: str, message: Message, *, deadline: float, key: bytes | None = None) -> None:  # noqa: D102
        check_topic(topic)
        check_size(topic, message.body, self.options.message_limit)
        await anyio.lowlevel.checkpoint()
        kept = Message({**message.head, "micro-topic": topic}, bytes(message.body))
        self._check_open()
        if self.store.accept(topic, kept, self._tally) is None:
            return
        waker = self._waiting()
        try:
            while (seconds := self.store.accept(topic, kept, self._tally)) is not None:
                left = deadline - self._clock()
                if left <= 0:
                    raise BrokerUnavailable(f"no room for an event on {topic!r}: a subscriber is behind")
                await waker.wait(min(seconds, left))
        finally:
            self._done_waiting(waker)

    async def subscribe(self, topic: str, handler: EventHandler, options: SubscribeOptions) -> Subscription:  # noqa: D102
        check_topic(topic)
        check_options("memory", self.capabilities, options)
        self._check_open()
        subscription = MemorySubscription(self, topic, handler, options)
        self.subscriptions.add(subscription)
        self.tasks.start_soon(supervise, f"the subscription of {topic!r}", subscription.work, log)
        await anyio.lowlevel.checkpoint()
        return subscription

    async def flush(self, deadline: float) -> None:  # noqa: D102
        self._check_open()
        waker = self._waiting()
        try:
            while self._tally.unsettled and (left := deadline - self._clock()) > 0:
                await waker.wait(left)
        finally:
            self._done_waiting(waker)

    def _check_open(self) -> None:
        if not self._entered:
            raise BrokerUnavailable("broker 'memory' is not open: use it inside `async with`")

    def _waiting(self) -> Waker:
        waker = Waker()
        with self.store.lock:
            self.store.waiting.add(waker)
        return waker

    def _done_waiting(self, waker: Waker) -> None:
        with self.store.lock:
            self.store.waiting.discard(waker)

    async def _tend(self) -> None:
        while True:
            await self._waker.wait(self.store.expire())
