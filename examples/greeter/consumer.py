"""The consumer: does what its standard input asks for, one JSON value a line, and answers likewise.

{"do": "call", "times": 200}   →  {"answered": {"4711": 98, "4712": 102}, "failed": []}
{"do": "chat", "messages": […]} →  {"replies": […]}
{"do": "publish", "name": "Ada", "nonce": "…"} → {}
{"do": "list"}                 →  {"greeter": 2, "mailer": 1}
{"do": "load"}                 →  {} and calls until the next line, {"do": "stop"} → as "call"
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import anyio
import anyio.to_thread
import micro
from greeter import HelloReply, HelloRequest, Say
from mailer import UserCreated


class Tally:
    """Who answered how often, and what failed."""

    def __init__(self) -> None:
        self.answered: Counter[int] = Counter()
        self.failed: list[str] = []

    async def call(self, client: micro.Client) -> None:
        try:
            reply = await client.call("greeter", "Say.Hello", HelloRequest("Ada"), HelloReply, timeout=2)
            self.answered[reply.process] += 1
        except micro.errors.RPCError as error:
            self.failed.append(str(error))

    def told(self) -> dict[str, Any]:
        return {"answered": dict(self.answered), "failed": self.failed}


async def commands() -> Any:
    """The next command; None at the end of input."""
    line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    return json.loads(line) if line else None


def answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


async def calls(client: micro.Client, times: int) -> dict[str, Any]:
    tally = Tally()
    for _ in range(times):
        await tally.call(client)
    return tally.told()


async def load(client: micro.Client, callers: int = 8) -> dict[str, Any]:
    """Calls without a pause until the next command arrives."""
    tally, over = Tally(), anyio.Event()

    async def keep_calling() -> None:
        while not over.is_set():
            await tally.call(client)

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(keep_calling)
        answer({})
        await commands()
        over.set()
    return tally.told()


async def chat(client: micro.Client, messages: list[str]) -> dict[str, Any]:
    """Ping-pong over one stream: the next message is sent when the reply to the last has come."""
    say, replies = client.proxy(Say, "greeter"), []
    ready = anyio.Semaphore(1)

    async def paced() -> Any:
        for message in messages:
            await ready.acquire()
            yield message

    async for reply in say.chat(paced()):
        replies.append(reply)
        ready.release()
    return {"replies": replies}


async def publish(client: micro.Client, name: str, nonce: str) -> dict[str, Any]:
    await client.publish("users.created", UserCreated(name, nonce))
    return {}


async def services(client: micro.Client) -> dict[str, Any]:
    return {record.name: len(record.nodes) for record in await client.list_services()}


ACTIONS: dict[str, Any] = {"call": calls, "chat": chat, "publish": publish, "list": services, "load": load}


async def main() -> None:
    async with micro.Client() as client:
        answer({"ready": True})
        while command := await commands():
            action = ACTIONS[command.pop("do")]
            answer(await action(client, **command))


if __name__ == "__main__":
    anyio.run(main)
