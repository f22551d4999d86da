"""`micro subscribe`: an event becomes a line."""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
from micro_core import Broker, Event, SubscribeOptions

from micro_cli.output import as_json, emit, note, say


async def print_events(broker: Broker, topic: str, queue: str | None, count: int | None, *, programs: bool) -> None:
    """Returns after `count` events; without one, never. An event is acknowledged when its line is written."""
    send, receive = anyio.create_memory_object_stream[tuple[Event, anyio.Event]](0)

    async def handle(event: Event) -> None:
        written = anyio.Event()
        await send.send((event, written))
        await written.wait()

    async with send, receive:
        subscription = await broker.subscribe(topic, handle, SubscribeOptions(queue))
        note(f"subscribed to {topic}")
        try:
            printed = 0
            async for event, written in receive:
                _print(event, programs=programs)
                written.set()
                printed += 1
                if printed == count:
                    break
        finally:
            with anyio.move_on_after(1, shield=True):
                await subscription.aclose()


def _print(event: Event, *, programs: bool) -> None:
    body = _body(event)
    if programs:
        head = {name: value for name, value in event.message.head.items() if not name.startswith("micro-")}
        emit({"topic": event.topic, "attempt": event.attempt, "head": head, **body})
    else:
        say(as_json(body["body"]) if "body" in body else body["base64"])


def _body(event: Event) -> dict[str, Any]:
    """`body` for JSON and texts, `base64` for anything else."""
    data = bytes(event.message.body)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    try:
        return {"body": json.loads(text)}
    except ValueError:
        return {"body": text}
