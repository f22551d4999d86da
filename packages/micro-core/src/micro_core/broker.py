"""Brokers: asynchronous messages to everyone who subscribed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, TypeAlias

from micro_core.component import Component
from micro_core.message import Message


class Capability(Enum):
    """What a broker promises beyond the interface. Asking for one that it lacks is an error when subscribing."""

    AT_LEAST_ONCE = "at_least_once"
    """Failures are redelivered while the publisher lives."""
    DURABLE = "durable"
    """Accepted messages survive the publisher and the broker."""
    ORDERED = "ordered"
    """Messages of one publisher and key arrive in the order of publishing."""
    NACK = "nack"
    """`Event.nack` is honoured; without it the message counts as delivered."""
    WILDCARD = "wildcard"
    """Topics may hold the broker's wildcards."""
    REPLAY = "replay"
    """Subscribing may begin in the past."""


class Event(ABC):
    """One delivery of a message to one subscriber.

    Attributes:
        topic: where it was published.
        message: head (lower-case names; `content-type` among them) and body.
        attempt: 1 at the first delivery to this subscriber, or to any member of its queue, counting on.
    """

    __slots__ = ()
    topic: str
    message: Message
    attempt: int

    @abstractmethod
    async def ack(self) -> None:
        """It is dealt with; it is not delivered again. Idempotent; nothing after `nack`."""

    @abstractmethod
    async def nack(self, delay: float = 0.0) -> None:
        """It is not dealt with: deliver it again after `delay` seconds. Idempotent; nothing after `ack`."""


EventHandler: TypeAlias = Callable[[Event], Awaitable[None]]
SubscriberMiddleware: TypeAlias = Callable[[Event, EventHandler], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SubscribeOptions:
    """How to subscribe.

    Attributes:
        queue: members of one queue share the messages, each goes to one of them; None: every subscriber gets each.
        concurrency: how many handlers run at once, at least 1.
        manual_ack: the handler acknowledges by `ack` or `nack`, and one that ends with neither has not; else one that
            returns has, and one that raises has not.
        requires: capabilities without which subscribing fails.
    """

    queue: str | None = None
    concurrency: int = 1
    manual_ack: bool = False
    requires: frozenset[Capability] = frozenset()


class Subscription(ABC):
    """What `subscribe` returns."""

    topic: str

    @abstractmethod
    async def aclose(self) -> None:
        """No new events; returns when running handlers have returned. Idempotent, also when cancelled.

        Not to be called by a handler of the subscription, which it would wait for.
        """


class Broker(Component, ABC):
    """Delivers messages. Built as `Broker(registry, options)`.

    The registry is there for brokers without a server of their own, which find each other by it.

    A handler that raises never ends the broker: the message is redelivered with backoff where the broker promises
    AT_LEAST_ONCE, finally dead-lettered, and each failure is logged. Handlers of one subscription run at most
    `concurrency` at once; a slow subscriber does not hold up others.
    """

    capabilities: ClassVar[frozenset[Capability]]

    @abstractmethod
    async def publish(self, topic: str, message: Message, *, deadline: float, key: bytes | None = None) -> None:
        """Returns when the message is accepted for delivery; a topic without subscribers is no error.

        Raises:
            BrokerUnavailable: it was not accepted by the deadline (clock seconds).
            ValueError: an empty topic, or one with control characters.
        """

    @abstractmethod
    async def subscribe(self, topic: str, handler: EventHandler, options: SubscribeOptions) -> Subscription:
        """Every message published from when this returns is delivered to the handler.

        Raises:
            BrokerUnavailable: it cannot be reached.
            ConfigurationError: a required capability is missing; the text names it and the broker.
            ValueError: as `publish`.
        """

    async def flush(self, deadline: float) -> None:
        """Returns when everything accepted is delivered, or at the deadline (clock seconds)."""
