"""Does the agent itself remove a node whose process was killed? Consul's minimum for that is a minute.

    python soak_consul.py

Runs an agent, registers a node in a process of its own, kills that, and waits until the agent holds it no more. Prints
the seconds; exit status 1 when that takes longer than `--within`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import anyio
from micro_core import Node, ServiceRecord
from micro_registry_consul import ConsulRegistry


async def register(name: str, address: str) -> None:
    """Keeps a node registered until it is killed."""
    record = ServiceRecord(name, "1", (Node(f"{name}-a", "127.0.0.1:9000"),))
    async with ConsulRegistry(ConsulRegistry.Options(address=(address,), liveness=0.9)) as registry:
        await registry.register(record, ttl=20)
        await anyio.sleep_forever()


def seconds_to_removal(name: str, within: float) -> float:
    """From the kill on, infinity when it takes longer than so many seconds."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "tools" / "consul"))
    from consul_agent import Agent, binary_for_tests, running

    with running(Agent(binary_for_tests())) as agent:

        def held() -> bool:
            return f"{name}-a" in agent.ask("GET", "/v1/agent/services")

        command = [sys.executable, __file__, "--register", name, "--address", agent.address]
        with subprocess.Popen(command) as process:
            while not held() and process.poll() is None:
                time.sleep(0.05)
            process.kill()
        killed = time.monotonic()
        while held():
            if time.monotonic() - killed > within:
                return float("inf")
            time.sleep(0.5)
        return time.monotonic() - killed


def main() -> int:
    """Runs the node, or all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--within", type=float, default=120.0, help="seconds after the kill")
    parser.add_argument("--register", metavar="NAME", help="only keep a node of this service registered")
    parser.add_argument("--address", help="of the agent, with --register")
    args = parser.parse_args()
    if args.register:
        anyio.run(register, args.register, args.address)
    took = seconds_to_removal("killed", args.within)
    sys.stdout.write(f"removed {took:.0f} s after the kill (within {args.within:g} s)\n")
    return int(took > args.within)


if __name__ == "__main__":
    sys.exit(main())
