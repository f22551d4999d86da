"""The broker: one listener, one client, the lanes of what was published."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import random
from types import TracebackType
from typing import ClassVar, Self
from uuid import uuid4

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from micro_core import (
    Broker,
    BrokerUnavailable,
    Capability,
    ConfigurationError,
    EventHandler,
    Listener,
    Message,
    Node,
    Registry,
    ServiceRecord,
    Snapshot,
    SubscribeOptions,
    Subscription,
    capture_clock,
    option,
)
from micro_discovery import HOST_KEY, host_id, reachable_address
from micro_http import TLS, HTTPClient, Limits, listen
from micro_messaging import (
    MEBIBYTE,
    Blocked,
    DeadLetter,
    Lane,
    Letter,
    Redelivery,
    Tally,
    Waker,
    check_options,
    check_size,
    check_topic,
    dead_letter,
    offer,
    supervise,
)
from micro_messaging import Limits as LaneLimits

from micro_broker_http import wire
from micro_broker_http.courier import Courier, Pace
from micro_broker_http.intake import Intake
from micro_broker_http.lists import Lists
from micro_broker_http.registration import Registration
from micro_broker_http.releases import Release
from micro_broker_http.routes import Destination, Routes
from micro_broker_http.subscription import HTTPSubscription

log = logging.getLogger("micro.broker.http")

_NAME_BYTES = 26
_SETTLING = 0.1
_FOLLOWED = 300.0
"""Seconds that the subscribers of a topic are followed after the last event, where every topic is a service."""


class HTTPBroker(Broker):
    """Events posted straight from publisher to subscriber, as Go Micro's default broker does from v2.5 on.

    `publish` returns when the event lies in a lane per broadcast subscriber and per queue; from there it is delivered,
    and redelivered, while the publisher lives. Subscribers are found by the registry: whoever is listed when the first
    complete list is there gets the first event, whoever subscribes later is known when the registry tells.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.AT_LEAST_ONCE, Capability.NACK})

    @dataclass(frozen=True, slots=True)
    class Options:
        """The options of broker `http`."""

        address: str = option("", help="host:port that subscribers listen at; empty: 127.0.0.1, any port")
        advertise: str = option("", help="host or host:port to register instead of the bound address")
        attempts: int = option(10, help="deliveries of an event before it is a dead letter", minimum=1)
        backoff: float = option(0.1, help="seconds before the second delivery; each wait is twice the last", minimum=0)
        backoff_max: float = option(30.0, help="longest wait between deliveries", minimum=0)
        answer_within: float = option(10.0, help="how often a running handler is asked after", minimum=0.05, maximum=60)
        handled_within: float = option(60.0, help="how long a subscriber of Go Micro may work on an event", minimum=0)
        orphaned_for: float = option(30.0, help="how long events wait for a queue without members", minimum=0)
        at_once: int = option(16, help="events posted to one subscriber at once", minimum=1)
        message_limit: int = option(4 * MEBIBYTE, help="largest event in bytes", minimum=1)
        lane_messages: int = option(1000, help="events waiting for one subscriber or queue", minimum=1)
        lane_bytes: int = option(16 * MEBIBYTE, help="bytes waiting for one subscriber or queue", minimum=1)
        stalled_after: float = option(2.0, help="how long a full lane without an ack holds up publishers", minimum=0)
        waiting: int = option(1000, help="events accepted by a subscription that wait for its handler", minimum=1)
        duplicates: int = option(10_000, help="events that a subscription remembers", minimum=1)
        duplicate_window: float = option(300.0, help="how long it remembers them", minimum=0)
        releases: tuple[Release, ...] = option(
            (), help="older Go Micro to exchange events with: v1.0 (to v1.12), v1.13 (to v1.17), v1.18"
        )
        tls_cert: Path | None = option(None, help="PEM file of the certificate; as all of tls_, else the transport's")
        tls_key: Path | None = option(None, help="PEM file of its key; where there is none, it is in tls_cert")
        tls_ca: Path | None = option(
            None, help="PEM file of the CAs of peers, revocation lists too; none: the system's"
        )
        tls_identity: str = option("service", help="what a subscriber's certificate holds: tls_name, host, or a name")
        tls_client_auth: bool = option(False, help="whether publishers must have a certificate, too")
        tls_name: str = option("", help="name in tls_cert that publishers verify; empty: the service's, else the host")

    def __init__(self, registry: Registry, options: Options) -> None:
        self.options = options
        self.policy = Redelivery(options.attempts, options.backoff, options.backoff_max)
        self.draw: Callable[[], float] = random
        self.subscriptions: dict[str, HTTPSubscription] = {}
        self._registry = registry
        self._tally = Tally()
        self._waiting: set[Waker] = set()
        self._tls = _tls(options)
        self._older = frozenset(options.releases) - {Release.V2_5}
        self._releases = (Release.V2_5, *sorted(self._older, key=lambda release: release.value))
        self._per_topic = [release for release in self._older if release.per_topic]
        self._listener: Listener | None = None
        self._published = float("-inf")
        self._open = False

    async def __aenter__(self) -> Self:
        options = self.options
        self.clock = capture_clock()
        self.registration = Registration(self._registry)
        self._limits = Limits(body=options.message_limit // 3 * 4 + 256 * 1024)
        self._client = HTTPClient(self._limits, tls=self._tls)
        await self._client.__aenter__()
        self.tasks: TaskGroup = anyio.create_task_group()
        await self.tasks.__aenter__()
        self._listening = anyio.Lock()
        self._routes = Routes(self._new_lane, host_id(), secure=self._tls is not None, older=self._older)
        self._lists = Lists(self._registry, self.tasks, self._update)
        self._topics: dict[str, float] = {}
        pace = Pace(options.at_once, options.answer_within, options.handled_within, options.orphaned_for)
        self._courier = Courier(self._routes, self._client, self.clock, pace, self.bury, self._wake)
        self._open = True
        self._known = [self._lists.follow(release.service("")) for release in self._releases if not release.per_topic]
        self.tasks.start_soon(supervise, "keeping subscriptions registered", self.registration.keep, log)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            return
        self._open = False
        try:
            await self.registration.remove_all()
            if self._listener is not None:
                await self._listener.aclose()
        finally:
            self.tasks.cancel_scope.cancel()
            try:
                await self.tasks.__aexit__(None, None, None)
            finally:
                self.subscriptions.clear()
                await self._client.__aexit__(None, None, None)
        if self._tally.unsettled:
            log.warning("deliveries not made when the broker closed: %d", self._tally.unsettled)

    async def publish(self, topic: str, message: Message, *, deadline: float, key: bytes | None = None) -> None:  # noqa: D102
        check_topic(topic)
        check_size(topic, message.body, self.options.message_limit)
        wire.check_head(message.head)
        await anyio.lowlevel.checkpoint()
        self._check_open()
        await self._first_snapshot(topic, deadline)
        letter = self._letter(topic, message)
        if self._accept(letter) is None:
            return
        waker = Waker()
        self._waiting.add(waker)
        try:
            while (until := self._accept(letter)) is not None:
                now = self.clock()
                if now >= deadline:
                    raise BrokerUnavailable(f"no room for an event on {topic!r}: a subscriber is behind")
                await waker.wait(max(0.001, min(until, deadline) - now))
        finally:
            self._waiting.discard(waker)

    async def subscribe(self, topic: str, handler: EventHandler, options: SubscribeOptions) -> Subscription:  # noqa: D102
        check_topic(topic)
        check_options("http", self.capabilities, options)
        if options.queue == wire.BROADCAST:
            raise ValueError(f"a queue cannot be called {wire.BROADCAST!r}")
        self._check_open()
        bound = await self._listen()
        advertised = reachable_address(bound, self.options.advertise)
        records = [
            ServiceRecord(release.service(topic), options.queue or wire.BROADCAST, (self._node(topic, advertised),))
            for release in self._releases
        ]
        node = records[0].nodes[0]
        subscription = HTTPSubscription(self, records, topic, handler, options)
        self.subscriptions.update(dict.fromkeys(subscription.ids, subscription))
        self._serve(
            self._routes.add_local(
                options.queue, topic, Node(node.id, reachable_address(bound), node.metadata), self.clock()
            )
        )
        try:
            for record in records:
                await self.registration.add(record)
        except BaseException:
            self.forget(subscription, _nothing)
            self.end(subscription)
            raise
        return subscription

    async def flush(self, deadline: float) -> None:
        """As `Broker.flush`; not sooner than 0.1 s after the last publish, for subscribers that become known late."""
        self._check_open()
        waker = Waker()
        self._waiting.add(waker)
        try:
            while (now := self.clock()) < deadline:
                quiet = self._published + _SETTLING - now
                if not self._tally.unsettled and quiet <= 0:
                    return
                left = deadline - now
                await waker.wait(min(quiet, left) if quiet > 0 else left)
        finally:
            self._waiting.discard(waker)

    def bury(self, dead: Iterable[DeadLetter]) -> None:
        """Logs dead letters and publishes them on their dead-letter topics, where there is room."""
        for one in dead:
            log.error("%s", one)
            if found := dead_letter(one):
                letter = self._letter(*found)
                if isinstance(self._accept(letter), float):
                    log.error("no room for a dead letter on %r", letter.topic)

    def forget(self, subscription: HTTPSubscription, left: Callable[[], None]) -> None:
        """A subscription closes: it says goodbye in the background, also when its closing is cancelled."""
        if not self._open:
            left()
            return
        self._routes.remove_local(subscription.ids[0], self.clock())
        self.tasks.start_soon(self._goodbye, subscription.records, left)

    def end(self, subscription: HTTPSubscription) -> None:
        """The subscription has closed."""
        for node_id in subscription.ids:
            self.subscriptions.pop(node_id, None)

    async def _goodbye(self, records: Iterable[ServiceRecord], left: Callable[[], None]) -> None:
        try:
            for record in records:
                await self.registration.remove(record)
        finally:
            left()

    def _letter(self, topic: str, message: Message) -> Letter:
        head = {**message.head, wire.TOPIC: topic}
        head.setdefault("micro-id", str(uuid4()))
        return Letter(topic, Message(head, bytes(message.body)), self._tally, time.time())

    def _accept(self, letter: Letter) -> float | None:
        now = self.clock()
        lanes = [destination.lane for destination in self._routes.of(letter.topic)]
        fresh = [lane for lane in lanes if not lane.stalled]
        answer = offer(letter, lanes, now)
        if isinstance(answer, Blocked):
            return answer.until
        for lane in fresh:
            if lane.stalled:
                log.warning("%s of %r is stalled: its events become dead letters", lane.subscriber, lane.topic)
        self._published = now
        self._routes.published(letter, now)
        for destination in self._routes.of(letter.topic):
            destination.changed()
        self.bury(answer)
        return None

    async def _first_snapshot(self, topic: str, deadline: float) -> None:
        lists = [*self._known, *self._of_topic(topic)] if self._per_topic else self._known
        if all(known.is_set() for known in lists):
            return
        with anyio.move_on_after(max(0.0, deadline - self.clock())):
            for known in lists:
                await known.wait()
        if not all(known.is_set() for known in lists):
            raise BrokerUnavailable(f"the registry did not say who subscribes to {topic!r} by the deadline")

    def _of_topic(self, topic: str) -> list[anyio.Event]:
        """The lists that are the topic's own; those of topics on which nothing happens any more are given up."""
        now = self.clock()
        if topic not in self._topics:
            for old in [old for old, used in self._topics.items() if used + _FOLLOWED < now and not self._busy(old)]:
                del self._topics[old]
                for release in self._per_topic:
                    self._lists.forget(release.service(old))
        self._topics[topic] = now
        return [self._lists.follow(release.service(topic)) for release in self._per_topic]

    def _busy(self, topic: str) -> bool:
        return any(len(destination.lane) for destination in self._routes.of(topic))

    def _update(self, snapshot: Snapshot) -> None:
        for destination in self._routes.update(snapshot, self.clock()):
            self._serve(destination)

    def _serve(self, destination: Destination | None) -> None:
        if destination is not None:
            name = f"delivering {destination.key.topic!r}"
            self.tasks.start_soon(supervise, name, lambda: self._courier.serve(destination), log)

    async def _listen(self) -> str:
        async with self._listening:
            if self._listener is None:
                intake = Intake(self.subscriptions, self.options.message_limit)
                address = self.options.address or "127.0.0.1:0"
                if self._tls is not None:
                    self._tls.server()  # its errors are about options of their own
                try:
                    self._listener = await listen(address, intake.accept, limits=self._limits, tls=self._tls)
                except ConfigurationError as error:
                    raise ConfigurationError(
                        f"broker 'http': {error} (option address, MICRO_BROKER_HTTP_ADDRESS)"
                    ) from error
            return self._listener.address

    def _node(self, topic: str, address: str) -> Node:
        name = topic.encode()[:_NAME_BYTES].decode(errors="ignore")
        metadata = {
            "broker": "http",
            "secure": "false" if self._tls is None else "true",
            "topic": topic,
            wire.OWN: wire.OWN_VERSION,
            wire.SINCE: str(int(time.time() * 1_000_000)),
            HOST_KEY: host_id(),
        }
        if self._tls is not None and self.options.tls_name:
            metadata[wire.TLS_NAME] = self.options.tls_name
        return Node(f"{name}-{uuid4()}", address, metadata)

    def _new_lane(self, topic: str, subscriber: str) -> Lane:
        options = self.options
        limits = LaneLimits(options.lane_messages, options.lane_bytes, options.stalled_after)
        return Lane(topic, subscriber, limits, self.policy)

    def _wake(self) -> None:
        for waker in self._waiting:
            waker.wake()

    def _check_open(self) -> None:
        if not self._open:
            raise BrokerUnavailable("broker 'http' is not open: use it inside `async with`")


def _tls(options: HTTPBroker.Options) -> TLS | None:
    if not (options.tls_cert or options.tls_key or options.tls_ca or options.tls_client_auth):
        return None
    return TLS(
        certificate=options.tls_cert,
        key=options.tls_key,
        ca=options.tls_ca,
        identity=options.tls_identity,
        client_auth=options.tls_client_auth,
        variables="MICRO_BROKER",
    )


def _nothing() -> None:
    return
