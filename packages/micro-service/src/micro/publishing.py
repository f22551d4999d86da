"""From an event to the message that a broker takes (WIRE §7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

import anyio
from micro_core import Broker, BrokerUnavailable, Codecs, Encode, Head, Message
from micro_core.codec import bare, content_type_of

from micro.outgoing import Outgoing

MAX_ENCODERS = 256


class Publisher:
    """Encodes events and hands them to the broker, which is opened by the first one.

    Args:
        outgoing: whose deadline and metadata rules apply.
        opener: opens broker and codecs.
        content_type: for events whose publisher chose none; empty for the one of their type.
    """

    def __init__(
        self, outgoing: Outgoing, opener: Callable[[], Awaitable[tuple[Broker, Codecs]]], content_type: str
    ) -> None:
        self._outgoing = outgoing
        self._opener = opener
        self._content_type = content_type
        self._opened: tuple[Broker, Codecs] | None = None
        self._encoders: dict[tuple[str, type[Any]], Encode] = {}

    async def publish(
        self,
        topic: str,
        event: Any,
        timeout: float | None,
        content_type: str | None,
        metadata: Mapping[str, str] | None,
        key: bytes | None,
    ) -> None:
        """As `Caller.publish`."""
        deadline = self._outgoing.deadline(timeout)
        broker, codecs = self._opened or await self._open(deadline)
        content_type = bare(content_type or self._content_type) or content_type_of(type(event))
        body = self._encoder(codecs, content_type, type(event))(event)
        message = Message(self._head(topic, content_type, metadata), body)
        await broker.publish(topic, message, deadline=deadline, key=key)

    async def _open(self, deadline: float) -> tuple[Broker, Codecs]:
        with anyio.CancelScope(deadline=deadline):
            self._opened = await self._opener()
        if self._opened is None:
            raise BrokerUnavailable("the broker was not open by the deadline")
        return self._opened

    def _head(self, topic: str, content_type: str, metadata: Mapping[str, str] | None) -> Head:
        head = self._outgoing.metadata_of_event(metadata)
        head["content-type"] = content_type
        head["micro-topic"] = topic
        head["micro-id"] = str(uuid4())
        if self._outgoing.caller:
            head["micro-from-service"] = self._outgoing.caller
        return head

    def _encoder(self, codecs: Codecs, content_type: str, type_: type[Any]) -> Encode:
        encode = self._encoders.get((content_type, type_))
        if encode is None:
            encode = codecs(content_type).encoder(type_)
            if len(self._encoders) < MAX_ENCODERS:
                self._encoders[content_type, type_] = encode
        return encode
