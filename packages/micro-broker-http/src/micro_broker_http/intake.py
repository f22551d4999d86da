"""What the listener is given: requests in, to the subscription that they name."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import anyio
from micro_core import Head, Message, Peer, Reset, StreamCall, UnaryCall

from micro_broker_http.subscription import HTTPSubscription
from micro_broker_http.wire import OWN, TOPIC, BadEvent, accepted, decode_event, posted_id, refusal

log = logging.getLogger("micro.broker.http")


class Intake:
    """Answers every request; nothing that a peer sends ends it."""

    def __init__(self, subscriptions: Mapping[str, HTTPSubscription], limit: int) -> None:
        self._subscriptions = subscriptions
        self._limit = limit

    def accept(self, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        """As `micro_core.Accept`."""
        if head.get(":method") != "POST":
            return refusal(405, "Method not allowed", code=400)
        return Post(self, head)

    async def deliver(self, head: Head, body: bytes) -> Message:
        """Hands one POST to its subscription and returns what to answer."""
        try:
            message = decode_event(body, self._limit)
        except BadEvent as error:
            return error.reply
        subscription = self._subscriptions.get(posted_id(head.get(":path", "")))
        own = OWN in head
        if subscription is None or subscription.topic != message.head[TOPIC]:
            return refusal(404, "No such subscription") if own else accepted()
        return await subscription.own(head, message) if own else subscription.foreign(message)


class Post(UnaryCall):
    """One POST. That its sender goes away ends the waiting for a handler, never the handler."""

    __slots__ = ("_gone", "_head", "_intake", "_scope")

    def __init__(self, intake: Intake, head: Head) -> None:
        self._intake = intake
        self._head = head
        self._scope: anyio.CancelScope | None = None
        self._gone = False

    async def run(self, body: bytes) -> Message | None:  # noqa: D102
        if self._gone:
            return None
        with anyio.CancelScope() as self._scope:
            try:
                return await self._intake.deliver(self._head, body)
            except Exception:
                log.exception("an event that was posted could not be taken")
                return refusal(500, "The subscriber failed")
        return None

    def cancel(self, reason: Reset) -> None:  # noqa: D102
        self._gone = True
        if self._scope is not None:
            self._scope.cancel()
