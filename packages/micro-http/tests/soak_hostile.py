"""Hostile peers by the thousand: `python soak_hostile.py [--peers 4000]`, `nox -s hostile`; two minutes.

A server in a process of its own, with the limits that everybody has. Each flood of HTTP/2 runs by itself, then slow
peers of each kind hold connections, while a healthy client calls on. Attackers and server share the machine, so all of
that is done to a second server first, beside the same healthy calls to the first: what these lose then is the
machine's, and what they lose more when it is their own server's turn, is the server's. Prints when peers were cut,
after how many frames GOAWAY came, what the server's memory grew by, and the healthy calls. Ends with 1 where a healthy
call failed, a head was not cut in 5 s or a body in 15 s, GOAWAY took 1,000 frames, or memory grew by over 32 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

sys.path.insert(0, str(Path(__file__).parent))

from http2_rig import NUISANCES, OPENING, PREFACE, REFUSED_HEADS, REQUEST, frames, head, settings, window
from micro_core import Head, Message, Peer, TransportError, UnaryCall
from micro_http import HTTP2, HTTPClient, listen
from test_slow_peers import SLOW, accept

HEALTHY = 3
"""Connections of the healthy client, and of the question how many there are."""

TICK = 0.7
"""Seconds by which a cut may come late: the listener's timer, a linger, and this script's own looks."""

LIMIT = {"slow body": 15.0, "slow chunks": 15.0}
_GOAWAY = b"\x07\x00\x00\x00\x00\x00"
LARGE = [*REQUEST[:2], (":path", "/large")]


def zero_window(at: int) -> bytes:
    """Large replies that no window lets through, each byte of which is asked for by itself."""
    first = PREFACE + settings(window=0) + b"".join(head(number, fields=LARGE, end=True) for number in range(1, 401, 2))
    if at == 0:
        return first
    return window(1 + 2 * (at % 200), 1) if at > 1000 else b""  # first, the replies are made


FLOODS: dict[str, Callable[[int], bytes]] = {**NUISANCES, **REFUSED_HEADS, "zero and tiny windows": zero_window}


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def serve() -> None:
    """The server's process: prints its address and serves until it is killed."""

    def counting(head: Head, peer: Peer) -> UnaryCall | Message:
        if head[":path"] == "/connections":
            return Message({}, str(len(listener.connections)).encode())
        return accept(head, peer)

    async with await listen("127.0.0.1:0", counting) as listener:
        say(listener.address)
        await asyncio.Event().wait()


def memory(pid: int, which: str = "VmRSS") -> float:
    """Resident MiB of a process; the most that it ever had: VmHWM."""
    line = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith(which))
    return int(line.split()[1]) / 1024


async def call_on(address: str) -> None:
    """A process of healthy calls: for each line that it is told, what became of them since the last one."""
    seconds: list[float] = []
    failed = 0
    asked = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    async with HTTPClient(http2=HTTP2.ALWAYS) as second, HTTPClient(http2=HTTP2.NEVER) as first:
        while True:
            for client in (first, second):
                began = time.monotonic()
                try:
                    message = Message({"micro-endpoint": "a"}, b"hello")
                    await client.call(address, message, deadline=asyncio.get_running_loop().time() + 10)
                except TransportError:
                    failed += 1
                seconds.append(time.monotonic() - began)
            if asked.done():
                seconds.sort()
                p50, p99 = statistics.median(seconds), seconds[int(len(seconds) * 0.99)]
                say(f"{failed} of {len(seconds)} failed, p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms")
                if not asked.result():
                    return
                asked = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
                seconds.clear()
            await asyncio.sleep(0.002)


class Slow:
    """Slow peers, and the seconds until each was cut, by its kind."""

    def __init__(self) -> None:
        self.cut: dict[str, list[float]] = {name: [] for name in SLOW}
        self._poll = select.poll()
        self._peers: dict[int, tuple[socket.socket, str, float]] = {}

    async def run(self, address: str, count: int) -> None:
        """Opens so many, and watches them until all are cut, or long enough."""
        host, _, port = address.rpartition(":")
        for at in range(count):
            peer = socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.setblocking(False)
            await asyncio.get_running_loop().sock_connect(peer, (host, int(port)))
            name = list(SLOW)[at % len(SLOW)]
            peer.send(SLOW[name])
            self._peers[peer.fileno()] = (peer, name, time.monotonic())
            self._poll.register(peer, select.POLLRDHUP)
            if at % 20 == 0:
                self._look()
                await asyncio.sleep(0.04)
        deadline = time.monotonic() + 25
        while self._peers and time.monotonic() < deadline:
            self._look()
            await asyncio.sleep(0.02)
        for peer, _, _ in self._peers.values():
            peer.close()

    def _look(self) -> None:
        for number, _ in self._poll.poll(0):
            self._poll.unregister(number)
            peer, name, began = self._peers.pop(number)
            self.cut[name].append(time.monotonic() - began)
            peer.close()


async def connections(address: str) -> int:
    """How many the server has."""
    async with HTTPClient(http2=HTTP2.NEVER) as client:
        deadline = asyncio.get_running_loop().time() + 10
        return int((await client.call(address, Message({":path": "/connections"}), deadline=deadline)).body)


async def flood(address: str, make: Callable[[int], bytes]) -> int | None:
    """How many frames the server took, as GOAWAY says, or had been sent when it came; None where none came."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    read, sent = b"", 0
    writer.write(b"" if make is zero_window else OPENING)
    for at in range(3000):
        raw = make(at)
        writer.write(raw)
        sent += len(list(frames(raw.removeprefix(PREFACE))))
        if at % 20 == 19:
            await asyncio.sleep(0.002)
            while (more := await _some(reader)) is not None:
                read += more
            if _GOAWAY in read or writer.is_closing():
                break
    until = time.monotonic() + 5
    while _GOAWAY not in read and time.monotonic() < until:
        read += await _some(reader) or b""
    writer.transport.abort()
    at = read.find(_GOAWAY)
    if at < 0:
        return None
    last = int.from_bytes(read[at + 6 : at + 10])
    each = len(list(frames(make(1))))
    return min(sent, (last + 1) // 2 * each) if last > 1 and each else sent


async def _some(reader: asyncio.StreamReader) -> bytes | None:
    try:
        async with asyncio.timeout(0.001):
            return await reader.read(65_536) or None
    except (TimeoutError, OSError):
        return None


async def floods(address: str, grown: Callable[[], float]) -> bool:
    """Every flood, one after another; whether each was sent away in time."""
    good = True
    for name, make in FLOODS.items():
        sent = await flood(address, make)
        good &= sent is not None and sent <= 1000 and grown() <= 32
        say(f"  {name:34} GOAWAY after {sent} frames; at most {grown():+.1f} MiB so far")
    return good


async def slow_peers(address: str, count: int) -> bool:
    """Slow peers of every kind; whether each was cut in time and none is left."""
    slow = Slow()
    await slow.run(address, count)
    good = True
    for at, (name, cut) in enumerate(slow.cut.items()):
        limit, opened = LIMIT.get(name, 5.0), len(range(at, count, len(SLOW)))
        if "read" in name:  # what they do not read hides the end from them
            say(f"  {name:26} {opened:5} opened")
            continue
        good &= len(cut) == opened and max(cut) <= limit + TICK
        say(f"  {name:26} {opened:5} opened, {len(cut)} cut, after {min(cut):.2f} to {max(cut):.2f} s")
    left = await connections(address) - HEALTHY
    say(f"  {left} of them are left at the server")
    return good and left <= 0


async def measure(address: str, second: str, pid: int, count: int, told: Callable[[], str]) -> bool:
    """Whether everything was as it must be."""
    await asyncio.sleep(1)
    told()
    await asyncio.sleep(5)
    words = [told()]
    base = memory(pid)
    say(f"healthy calls before: {words[-1]}; {base:.1f} MiB")

    def heard(beside: str) -> None:
        words.append(told())
        say(f"healthy calls beside {beside}: {words[-1]}; {memory(pid):.1f} MiB")

    for make in FLOODS.values():
        await flood(second, make)
    heard("floods of another server")
    good = await floods(address, lambda: memory(pid, "VmHWM") - base)
    heard("floods")
    await Slow().run(second, count)
    heard(f"{count} slow peers of another server")
    good &= await slow_peers(address, count)
    heard(f"{count} slow peers")
    return good and all(word.startswith("0 of ") for word in words)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=int, default=4000)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--call", default="")
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve())
    if asked.call:
        asyncio.run(call_on(asked.call))
    return 0 if asked.serve or asked.call or run(asked.peers) else 1


def run(count: int) -> bool:
    """Starts the servers and the healthy client, each a process of its own."""
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = stack.enter_context(subprocess.Popen([sys.executable, __file__, *arguments], text=True, **pipes))
            stack.callback(process.terminate)
            return process

        def line(process: subprocess.Popen[str]) -> str:
            return cast("IO[str]", process.stdout).readline().strip()

        server, other = start("--serve"), start("--serve")
        address, second = line(server), line(other)
        caller = start("--call", address)

        def told() -> str:
            asked = cast("IO[str]", caller.stdin)
            asked.write("\n")
            asked.flush()
            return line(caller)

        return asyncio.run(measure(address, second, server.pid, count, told))


if __name__ == "__main__":
    sys.exit(main())
