"""What a unary call costs outside of its sockets, part by part: CPU µs in one process, nothing on a wire.

    python benchmarks/in_process.py [--calls 20000] [--rounds 7] [--callers 64] [--against CHECKOUT]

`whole` is a call from `micro.Client` to a handler: façade, discovery from cache, selector, codec, retries, accept,
task, scope, handler, and back. Its transport hands messages over as they are; `transport` is that transport alone.
The heads are those of real calls. `--against` takes the path of another checkout, whose figures are measured in turn
with these. What is told is the least of all batches, since whatever else the machine does only ever adds. Extensions
that are installed take part, unless MICRO_EXTENSIONS_DISABLED names them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import micro
import uvloop
from micro_core import (
    Accept,
    Exchange,
    Listener,
    Message,
    Peer,
    Reset,
    StreamCall,
    Transport,
    TransportError,
    UnaryCall,
)
from micro_http.limits import Limits
from micro_http.loops import current_loop
from micro_http.names import WireLines
from micro_http.parse import Parser
from micro_http.tables import Tables
from micro_http.write import OK, counted, header_block, request_start

Figures = dict[str, float]
BATCHES = 16
PEER = Peer("127.0.0.1:1", protocol="http/1.1")


class Loopback(Transport):
    """Hands messages to whoever listens, in a task of its own for each call."""

    def __init__(self, places: dict[str, Accept]) -> None:
        self._places = places
        self.seen: list[Message] = []
        self.answer: Message | None = None

    async def __aenter__(self) -> Self:
        self._loop = current_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._places.clear()

    async def call(self, address: str, request: Message, *, verify_name: str | None = None, deadline: float) -> Message:  # noqa: D102
        if self.answer is not None:
            return self.answer
        if not self.seen:
            self.seen.append(request)
        call = self._places[address]({":method": "POST", ":path": "/", **request.head}, PEER)
        assert isinstance(call, UnaryCall)
        reply: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._loop.spawn(self._run(call, request.body, reply))
        answer = await reply
        assert answer is not None
        return Message({":status": "200", **answer.head}, answer.body)

    async def _run(self, call: UnaryCall, body: bytes, reply: asyncio.Future[Message | None]) -> None:
        reply.set_result(await call.run(body))

    async def open(self, *_: Any, **__: Any) -> Exchange:  # noqa: D102
        raise TransportError("unary calls alone", Reset.REFUSED, processed=False)

    async def listen(self, address: str, accept: Accept) -> Listener:  # noqa: D102
        self._places["127.0.0.1:1"] = accept
        return _Place()


class _Place(Listener):
    address = "127.0.0.1:1"

    async def drain(self, deadline: float) -> None: ...

    async def aclose(self) -> None: ...


class _Trivial(UnaryCall):
    async def run(self, body: bytes) -> Message | None:
        return Message({"content-type": "application/json"}, body)

    def cancel(self, reason: object) -> None: ...


def _trivial(head: dict[str, str], peer: Peer) -> UnaryCall | StreamCall | Message:
    return _Trivial()


@dataclass
class _Payload:
    text: str


class _Echo:
    async def echo(self, request: _Payload) -> _Payload:
        return request

    async def waits(self, request: _Payload) -> _Payload:
        await asyncio.sleep(0)
        return request


async def of_calls(one: Callable[[], Awaitable[object]], calls: int, callers: int) -> float:
    """CPU seconds a call, so many at once."""
    each = max(1, calls // callers // BATCHES)

    async def caller() -> None:
        for _ in range(each):
            await one()

    means = []
    for _ in range(BATCHES):
        before = time.process_time()
        await asyncio.gather(*(caller() for _ in range(callers)))
        means.append((time.process_time() - before) / (each * callers))
    return min(means)


def of_function(one: Callable[[int], object], calls: int) -> float:
    """CPU seconds of a function that is given a number."""
    means = []
    for _ in range(BATCHES):
        before = time.process_time()
        for number in range(calls // BATCHES):
            one(number)
        means.append((time.process_time() - before) / (calls // BATCHES))
    return min(means)


async def measured(calls: int, callers: int) -> Figures:
    """One round of everything."""
    places: dict[str, Accept] = {}
    ours = Loopback(places)
    service = micro.Service("bench", registry="memory", transport=Loopback(places))
    service.handler(_Echo(), name="Echo")
    payload = _Payload("x" * 88)
    figures: Figures = {}
    async with service, micro.Client(registry="memory", transport=ours) as client:

        async def one() -> object:
            return await client.call("bench", "Echo.Echo", payload, _Payload)

        async def waiting() -> object:
            return await client.call("bench", "Echo.Waits", payload, _Payload)

        figures["whole"] = await of_calls(one, calls, callers)
        figures["whole, handler waits"] = await of_calls(waiting, calls, callers)
        request = ours.seen[0]
        ours.answer = Message({":status": "200", "content-type": "application/json"}, request.body)
        figures["client"] = await of_calls(one, calls, callers)
        ours.answer = None
        accept = places["127.0.0.1:1"]
        places["127.0.0.1:1"] = _trivial
        message = Message(request.head, request.body)
        figures["transport"] = await of_calls(lambda: ours.call("127.0.0.1:1", message, deadline=0.0), calls, callers)
        figures.update(framing(request, calls))
        places["127.0.0.1:1"] = accept
    return figures


def framing(request: Message, calls: int) -> Figures:
    """HTTP/1.1's reading and writing of a call's two messages; ids and timeouts differ from call to call."""
    names, tables = WireLines(), Tables()
    start = request_start("POST", "/", "127.0.0.1:1")

    def write_request(number: int) -> bytes:
        head = request.head.copy()
        head["micro-id"] = str(number)
        return b"".join((start, header_block(names, head), counted(len(request.body)), request.body))

    requests = [write_request(number) for number in range(1000)]
    for number in range(1000):
        requests[number] = requests[number].replace(b"Timeout: 49999", b"Timeout: 49%03d" % number)
    reply = Message({"content-type": "application/json"}, request.body)

    def write_reply(_: int) -> bytes:
        return b"".join((OK, header_block(names, reply.head), counted(len(reply.body)), reply.body))

    replies = Parser(Limits(), tables, replies=True)
    raw = write_reply(0)

    def read_reply(_: int) -> Message | None:
        replies.feed(raw)
        return replies.poll()

    parser = Parser(Limits(), Tables())

    def read_request(number: int) -> Message | None:
        parser.feed(requests[number % 1000])
        return parser.poll()

    parts: dict[str, Callable[[int], object]] = {
        "write request": write_request,
        "read request": read_request,
        "write reply": write_reply,
        "read reply": read_reply,
    }
    return {name: of_function(part, calls) for name, part in parts.items()}


def round_of(checkout: Path, arguments: argparse.Namespace) -> Figures:
    """One round, in a process of its own, of a checkout's packages."""
    packages = os.pathsep.join(str(path) for path in sorted((checkout / "packages").glob("*/src")))
    command = [sys.executable, __file__, "--once", f"--calls={arguments.calls}", f"--callers={arguments.callers}"]
    environment = {**os.environ, "PYTHONPATH": packages}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def main() -> None:
    """Prints a line per part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(measured(arguments.calls, arguments.callers))))
        return
    checkouts = {"here": Path(__file__).parent.parent}
    if arguments.against is not None:
        checkouts = {"there": arguments.against, **checkouts}
    rounds: dict[str, list[Figures]] = {name: [] for name in checkouts}
    for _ in range(arguments.rounds):
        for name, checkout in checkouts.items():
            rounds[name].append(round_of(checkout, arguments))
    table({name: {part: min(each[part] for each in them) for part in them[0]} for name, them in rounds.items()})


def table(best: dict[str, Figures]) -> None:
    """Prints what each checkout needs."""
    print(f"{'CPU µs a call':<24}" + "".join(f"{name:>10}" for name in best))
    for part in next(iter(best.values())):
        print(f"{part:<24}" + "".join(f"{figures[part] * 1e6:>10.2f}" for figures in best.values()))
    rest = {name: figures["whole"] - figures["transport"] for name, figures in best.items()}
    print(f"{'whole - transport':<24}" + "".join(f"{each * 1e6:>10.2f}" for each in rest.values()))


if __name__ == "__main__":
    main()
