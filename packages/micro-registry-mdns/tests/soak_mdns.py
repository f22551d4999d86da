"""Many nodes in many processes on this host: are all listed soon, and is any lost afterwards?

    python soak_mdns.py --seconds 600 --processes 10 --nodes 300

Every process registers its share and watches everything. Exit status 1 when one does not list all within `--within`
seconds, or any node is missing from any watch later.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time

import anyio
import anyio.to_thread
from micro_core import Endpoint, Node, ServiceRecord, Value
from micro_registry_mdns import MdnsRegistry

VALUE = Value("HelloRequest", "HelloRequest", (Value("name", "string"), Value("count", "int")))
ENDPOINTS = tuple(Endpoint(f"Say.Method{at}", VALUE, VALUE, {"stream": "false"}) for at in range(5))


def record(process: int, at: int) -> ServiceRecord:
    """A node with a record of usual size."""
    name = f"service-{at % 10}"
    node = Node(f"{name}-{process}-{at}-{os.urandom(12).hex()}", f"127.0.0.1:{20000 + at}", {"protocol": "mucp"})
    return ServiceRecord(name, "latest", (node,), ENDPOINTS, {"server": "soak"})


async def member(args: argparse.Namespace) -> None:
    """One process: registers, beats like a service does, watches and counts; prints what it saw."""
    options = MdnsRegistry.Options(interfaces=("127.0.0.1",), port=args.port)
    share = args.nodes // args.processes
    records = [record(args.member, at) for at in range(share)]
    seen: dict[str, float | None] = {"listed": None, "lost": 0}
    async with MdnsRegistry(options) as registry, anyio.create_task_group() as tasks:
        tasks.start_soon(count, registry, share * args.processes, seen)
        with anyio.move_on_after(args.seconds):
            while True:
                for one in records:
                    await registry.register(one, ttl=90)
                await anyio.sleep(30)
        seen["cpu"] = time.process_time()
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.readline)
        tasks.cancel_scope.cancel()


async def count(registry: MdnsRegistry, total: int, seen: dict[str, float | None]) -> None:
    """Notes when all were listed, and the most that were missing at once afterwards."""
    started = time.monotonic()
    async with registry.watch(None) as snapshots:
        async for snapshot in snapshots:
            listed = sum(len(service.nodes) for service in snapshot.services)
            if seen["listed"] is None and listed == total:
                seen["listed"] = time.monotonic() - started
            elif seen["listed"] is not None:
                seen["lost"] = max(seen["lost"] or 0, total - listed)


def lead(args: argparse.Namespace) -> int:
    """Starts the processes and judges what they saw."""
    command = [sys.executable, __file__, "--seconds", str(args.seconds), "--processes", str(args.processes)]
    command += ["--nodes", str(args.nodes), "--port", str(args.port or free_port())]
    members = [
        subprocess.Popen([*command, "--member", str(at)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for at in range(args.processes)
    ]
    try:
        seen = [json.loads(process.stdout.readline() or "{}") for process in members if process.stdout]
    finally:
        for process in members:
            process.communicate("\n")
    return judge(args, seen)


def judge(args: argparse.Namespace, seen: list[dict[str, float | None]]) -> int:
    """Prints the result; 0 when nothing was late or lost."""
    times = [one.get("listed") for one in seen]
    slowest = max((at if at is not None else float("inf")) for at in times)
    lost = max(one.get("lost") or 0 for one in seen)
    cpu = sum(one.get("cpu") or 0.0 for one in seen)
    print(  # noqa: T201
        f"{args.nodes} nodes in {args.processes} processes, {args.seconds:.0f} s: all listed everywhere after "
        f"{slowest:.2f} s, lost at most {lost:.0f}, {cpu / args.seconds:.2f} cores in all"
    )
    return int(slowest > args.within or lost > 0)


def free_port() -> int:
    """A UDP port that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--within", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--member", type=int, default=-1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.member < 0:
        return lead(args)
    anyio.run(member, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
