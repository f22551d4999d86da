"""Calls that are cancelled at random points, and what they leave behind: file descriptors, tasks, connections, replies.

    python benchmarks/cancelled.py [--calls 20000] [--backend asyncio] [--http2 auto]

A call is cancelled before it begins, while it dials, writes or waits, when its reply arrives, or not at all. Every
reply must be its own call's. Before and after, once all idle connections are let go, there must be as many open files,
tasks and connections, at both ends. Ends with 1 where there are not, or where a reply was another call's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from micro_core import Head, Message, Peer, Reset, TransportError, UnaryCall
from micro_http import HTTP2
from micro_transport_http import HTTPTransport

BACKENDS = ("asyncio", "uvloop", "trio")
CALLERS = 32
LARGE = 2_000_000
PATIENCE = 10.0


class Work(UnaryCall):
    """Echoes after a moment, or never."""

    def __init__(self, running: set[Work], head: Head) -> None:
        self._running = running
        self._head = head
        self._scope = anyio.CancelScope()

    async def run(self, body: bytes) -> Message | None:
        """See `UnaryCall.run`."""
        self._running.add(self)
        try:
            with self._scope:
                seconds = float(self._head["x-seconds"])
                if seconds >= 0:
                    await anyio.sleep(seconds)
                else:
                    await anyio.sleep_forever()
                return Message({"x-nonce": self._head["x-nonce"]}, body)
        finally:
            self._running.discard(self)
        return None

    def cancel(self, reason: Reset) -> None:
        """See `UnaryCall.cancel`."""
        self._scope.cancel()


class Storm:
    """The calls of one run."""

    def __init__(self, http2: HTTP2, chance: random.Random) -> None:
        self.http2 = http2
        self.chance = chance
        self.running: set[Work] = set()
        self.ended: Counter[str] = Counter()
        self.wrong = 0
        self.address = ""
        self.client: HTTPTransport
        self.listener: Any

    async def run(self, calls: int) -> list[str]:
        """What is wrong afterwards."""
        options = HTTPTransport.Options(http2=self.http2)
        async with HTTPTransport(options) as server, HTTPTransport(options) as self.client:
            self.listener = await server.listen("127.0.0.1:0", self._accept)
            self.address = self.listener.address
            await self._calls(200)
            before = await self._left()
            await self._calls(calls)
            after = await self._left(before)
        faults = [
            f"{name}: {before[name]} before, {after[name]} after" for name in before if before[name] != after[name]
        ]
        return [*faults, f"{self.wrong} replies to the wrong caller"] if self.wrong else faults

    def _accept(self, head: Head, peer: Peer) -> UnaryCall:
        return Work(self.running, head)

    async def _calls(self, count: int) -> None:
        left = iter(range(count))
        async with anyio.create_task_group() as group:
            for _ in range(CALLERS):
                group.start_soon(self._caller, left)

    async def _caller(self, left: Any) -> None:
        for at in left:
            if self.chance.random() < 0.1:
                self.client.forget(self.address)  # the next call has to dial
            async with anyio.create_task_group() as group:
                group.start_soon(self._one, at)
                await self._wait()
                group.cancel_scope.cancel()

    async def _wait(self) -> None:
        """Until the moment of the cancellation: some turns of the loop, some time, or long enough for most replies."""
        way = self.chance.random()
        if way < 0.3:
            for _ in range(self.chance.randrange(25)):
                await anyio.lowlevel.checkpoint()
        else:
            await anyio.sleep(0.06 if way < 0.4 else self.chance.choice((0.005, 0.02, 0.06)) * self.chance.random())

    async def _one(self, at: int) -> None:
        chance = self.chance
        nonce = f"{at}-{chance.getrandbits(64)}"
        seconds = chance.choice((0.0, 0.0, chance.random() * 0.003, -1.0))
        body = nonce.encode() + bytes(LARGE if chance.random() < 0.01 else 100)
        request = Message({"micro-endpoint": "Test.Echo", "x-nonce": nonce, "x-seconds": str(seconds)}, body)
        within = chance.choice((5.0, 5.0, 0.01))
        try:
            reply = await self.client.call(self.address, request, deadline=anyio.current_time() + within)
        except TransportError as error:
            self.ended[error.reason.value] += 1
        except BaseException:
            self.ended["cancelled here"] += 1
            raise
        else:
            self.ended["answered"] += 1
            if (reply.head.get("x-nonce"), reply.body) != (nonce, body):
                self.wrong += 1

    async def _left(self, wanted: dict[str, int] | None = None) -> dict[str, int]:
        """What there is once nothing happens any more; waits for what is wanted, but not for ever."""
        self.client.forget(self.address)
        found = self._count()
        with anyio.move_on_after(PATIENCE):
            while found["connections"] or found["handlers"] or (wanted is not None and found != wanted):
                await anyio.sleep(0.05)
                found = self._count()
        await anyio.sleep(0.2)
        return self._count()

    def _count(self) -> dict[str, int]:
        client = self.client._client
        return {
            "open files": sum(1 for _ in Path("/proc/self/fd").iterdir()),
            "tasks": _tasks(),
            "connections": len(client.connections) + len(client.multiplexed) + len(self.listener.connections),
            "handlers": len(self.running),
            "pools": len(client._pools),
        }


def _tasks() -> int:
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


def main() -> None:
    """Runs each back end and version that was asked for; prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="of which about half are cancelled")
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--http2", nargs="+", choices=[one.value for one in HTTP2], default=["never", "always", "auto"])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    faults = []
    for backend in arguments.backend:
        for http2 in arguments.http2:
            storm = Storm(HTTP2(http2), random.Random(arguments.seed))
            name = "trio" if backend == "trio" else "asyncio"
            options = {"use_uvloop": backend == "uvloop"} if name == "asyncio" else {}
            found = anyio.run(storm.run, arguments.calls, backend=name, backend_options=options)
            ended = ", ".join(f"{count} {how}" for how, count in storm.ended.most_common())
            print(f"{backend:<8} http2={http2:<7} {'; '.join(found) or 'as before'}   ({ended})", flush=True)
            faults += found
    if faults:
        print(f"seed {arguments.seed}")
        sys.exit(1)


if __name__ == "__main__":
    main()
