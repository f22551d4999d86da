"""A subscriber in a process of its own: prints its node, then appends every event it has handled to a file."""

from __future__ import annotations

import json
import os
import sys

import anyio
from micro_broker_http import HTTPBroker
from micro_core import Event, SubscribeOptions
from micro_core.loader import load


async def main(queue: str, path: str) -> None:
    registry = load("registry", "memory").cls
    file = os.open(path, os.O_WRONLY | os.O_APPEND)

    async def handle(event: Event) -> None:
        await anyio.sleep(0.001)
        os.write(file, event.message.body + b"\n")

    async with HTTPBroker(registry(registry.Options()), HTTPBroker.Options()) as broker:
        await broker.subscribe("t", handle, SubscribeOptions(queue=queue or None, concurrency=4))
        (subscription,) = broker.subscriptions.values()
        node = subscription.records[0].nodes[0]
        sys.stdout.write(json.dumps([node.id, node.address, dict(node.metadata)]) + "\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


anyio.run(main, sys.argv[1], sys.argv[2])
