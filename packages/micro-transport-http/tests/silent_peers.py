"""Two machines between which every packet is dropped, as two network namespaces: who notices what, and when.

    unshare -Urn python silent_peers.py asyncio|uvloop|trio

The near one calls, the far one serves. Once every state is reached, each gives the other's address a hardware address
that nobody has: no FIN, no RST, no ICMP. Prints JSON: seconds until each state ended and with what, and how many
messages arrived of a stream whose reader, on a link that works, had stalled for longer than silence may last.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

import anyio
from anyio import to_thread
from micro_conformance import eventually
from micro_core import EndOfStream, Exchange, Head, Message, Peer, Reset, StreamCall, TransportError, UnaryCall
from micro_http import HTTP2
from micro_transport_http import HTTPTransport

NEAR, FAR, NOBODY = "10.99.7.1", "10.99.7.2", "02:00:00:00:00:99"
STATES = {
    "a call at work": (HTTP2.NEVER, "call"),
    "a call at work over HTTP/2": (HTTP2.ALWAYS, "call"),
    "a quiet stream": (HTTP2.NEVER, "quiet"),
    "a quiet stream over HTTP/2": (HTTP2.ALWAYS, "quiet"),
    "a stream that sends": (HTTP2.NEVER, "sends"),
    "a stream that sends over HTTP/2": (HTTP2.ALWAYS, "sends"),
    "a stream that nobody reads over HTTP/2": (HTTP2.ALWAYS, "fills"),
    "a stream that nobody reads": (HTTP2.NEVER, "fills"),
}
PATIENCE = 30.0
STALL = 9.0
SENT = 400
Seen = dict[str, list[Any]]


def transport(http2: HTTP2) -> HTTPTransport:
    return HTTPTransport(HTTPTransport.Options(http2=http2))


class Clock:
    """Seconds since the link broke, of whatever ended."""

    def __init__(self) -> None:
        self.began = 0.0
        self.full = 0
        self.seen: Seen = {}

    def note(self, state: str, why: str) -> None:
        self.seen.setdefault(state, [round(anyio.current_time() - self.began, 2), why])


class Work(StreamCall, UnaryCall):  # type: ignore[misc]
    """A call or stream that lasts until it is cancelled."""

    def __init__(self, clock: Clock, state: str) -> None:
        self._clock, self._state = clock, state
        self._scope = anyio.CancelScope()

    async def run(self, what: Any) -> None:  # type: ignore[override]
        with self._scope:
            await anyio.sleep_forever()

    def cancel(self, reason: Reset) -> None:
        self._clock.note(self._state, reason.value)
        self._scope.cancel()


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def cut(device: str, other: str) -> None:
    run("ip", "neigh", "replace", other, "lladdr", NOBODY, "dev", device, "nud", "permanent")


def say(line: str, to: TextIO = sys.stdout) -> None:
    to.write(f"{line}\n")
    to.flush()


async def heard() -> str:
    return await to_thread.run_sync(sys.stdin.readline)


async def until(clock: Clock, count: int) -> None:
    with suppress(AssertionError):
        await eventually(lambda: len(clock.seen) >= count, within=PATIENCE)


async def far() -> None:
    """Serves; told `link`, then `cut`."""
    await heard()
    for command in ("addr add " + FAR + "/24 dev far", "link set far up", "link set lo up"):
        run("ip", *command.split())
    clock, running = Clock(), set[str]()

    def accept(head: Head, peer: Peer) -> Any:
        running.add(head["micro-endpoint"])
        return Work(clock, head["micro-endpoint"])

    async with transport(HTTP2.AUTO) as server:
        listener = await server.listen(f"{FAR}:0", accept)
        say(listener.address)
        await eventually(lambda: len(running) == len(STATES), within=PATIENCE)
        say("running")
        await heard()
        cut("far", NEAR)
        clock.began = anyio.current_time()
        await until(clock, len(STATES))
        say(json.dumps(clock.seen))


async def one(transport: HTTPTransport, address: str, state: str, kind: str, clock: Clock) -> None:
    head, deadline = {"micro-endpoint": state}, anyio.current_time() + 300
    try:
        if kind == "call":
            await transport.call(address, Message(head), deadline=deadline)
        exchange = await transport.open(address, head, deadline=deadline)
        while kind == "fills":
            with anyio.move_on_after(0.3) as waiting:
                await exchange.send(bytes(50_000))
            if waiting.cancelled_caught:
                clock.full += 1
                break
        while kind == "sends":
            await exchange.send(b"x" * 100)
            await anyio.sleep(0.05)
        await exchange.recv()
    except (TransportError, EndOfStream) as error:
        clock.note(state, error.reason.value if isinstance(error, TransportError) else "end")


async def stalled(done: Callable[[int], None], http2: HTTP2) -> None:
    """A stream on the loopback interface whose reader rests for `STALL` seconds."""
    arrived = 0

    class Slow(StreamCall):
        async def run(self, exchange: Exchange) -> None:
            nonlocal arrived
            await anyio.sleep(STALL)
            with suppress(EndOfStream):
                while True:
                    await exchange.recv()
                    arrived += 1
            await exchange.end()

        def cancel(self, reason: Reset) -> None:
            return None

    async with transport(http2) as both:
        listener = await both.listen("127.0.0.1:0", lambda head, peer: Slow())
        exchange = await both.open(listener.address, {}, deadline=anyio.current_time() + 5)
        with suppress(TransportError, EndOfStream):
            for _ in range(SENT):
                await exchange.send(b"x" * 50_000)
            await exchange.end()
            await exchange.recv()
        done(arrived)


async def near(child: subprocess.Popen[str]) -> None:
    """Calls, then cuts the link."""
    tell, hear = cast("TextIO", child.stdin), cast("TextIO", child.stdout)
    arrived: dict[str, int] = {}
    clock = Clock()
    say("link", tell)
    address = (await to_thread.run_sync(hear.readline)).strip()
    async with transport(HTTP2.NEVER) as old, transport(HTTP2.ALWAYS) as new, anyio.create_task_group() as group:
        for http2 in (HTTP2.NEVER, HTTP2.ALWAYS):
            group.start_soon(stalled, lambda count, http2=http2: arrived.update({http2.value: count}), http2)
        for state, (http2, kind) in STATES.items():
            group.start_soon(one, old if http2 is HTTP2.NEVER else new, address, state, kind, clock)
        await to_thread.run_sync(hear.readline)
        await eventually(lambda: clock.full == 2, within=PATIENCE)
        cut("near", FAR)
        say("cut", tell)
        clock.began = anyio.current_time()
        await until(clock, len(STATES))
        told = json.loads(await to_thread.run_sync(hear.readline))
        await eventually(lambda: len(arrived) == 2, within=PATIENCE)
        say(json.dumps({"near": clock.seen, "far": told, "stalled": arrived}))
        group.cancel_scope.cancel()


def start(main: Callable[..., Awaitable[None]], backend: str, *args: Any) -> None:
    name, options = (backend, {}) if backend == "trio" else ("asyncio", {"use_uvloop": backend == "uvloop"})
    anyio.run(main, *args, backend=name, backend_options=options)


def main() -> None:
    backend = sys.argv[1]
    if len(sys.argv) > 2:
        start(far, backend)
        return
    command = ["unshare", "-n", sys.executable, __file__, backend, "far"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            run("ip", "link", "set", "lo", "up")
            run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
            unshared(child.pid)
            run("ip", "link", "set", "far", "netns", str(child.pid))
            run("ip", "addr", "add", f"{NEAR}/24", "dev", "near")
            run("ip", "link", "set", "near", "up")
            start(near, backend, child)
        finally:
            child.kill()


def unshared(pid: int) -> None:
    """Waits until the child is in a namespace of its own."""
    until = time.monotonic() + 10
    ours, its = Path("/proc/self/ns/net"), Path(f"/proc/{pid}/ns/net")
    while its.readlink() == ours.readlink() and time.monotonic() < until:
        time.sleep(0.01)


if __name__ == "__main__":
    main()
