"""How long until a registration is visible, and what lookups cost: `python tools/consul/measure.py [rounds]`."""

from __future__ import annotations

import statistics
import sys
import time

import anyio
from consul_agent import Agent, find_binary, running
from micro_conformance.records import make_record, snapshot_ids, snapshot_until
from micro_registry_consul import ConsulRegistry


def told(what: str, seconds: list[float]) -> None:
    """Prints the middle and the end of what was measured."""
    ordered = sorted(seconds)
    p99 = ordered[int(len(ordered) * 0.99)]
    print(
        f"{what:<34} median {statistics.median(ordered) * 1e3:6.2f} ms, p99 {p99 * 1e3:6.2f} ms, {len(ordered)} times"
    )


async def main(agent: Agent, rounds: int) -> None:
    """Two registries at one agent."""
    options = ConsulRegistry.Options(address=(agent.address,))
    visible, beats, lookups, goodbyes = [], [], [], []
    async with ConsulRegistry(options) as one, ConsulRegistry(options) as other:
        for at in range(rounds):
            record = make_record(f"measured-{at}", f"measured-{at}-a")
            async with other.watch(record.name) as snapshots:
                await anext(snapshots)
                began = time.perf_counter()
                await one.register(record, ttl=90)
                await snapshot_until(snapshots, snapshot_ids, 5)
                visible.append(time.perf_counter() - began)
                began = time.perf_counter()
                await one.register(record, ttl=90)
                beats.append(time.perf_counter() - began)
                began = time.perf_counter()
                await other.get_service(record.name)
                lookups.append(time.perf_counter() - began)
                began = time.perf_counter()
                await one.deregister(record)
                goodbyes.append(time.perf_counter() - began)
    told("register until a watch shows it", visible)
    told("heartbeat", beats)
    told("get_service", lookups)
    told("deregister, goodbye included", goodbyes)


if __name__ == "__main__":
    binary = find_binary()
    if binary is None:
        sys.exit("no Consul: run nox -s consul first")
    with running(Agent(binary)) as started:
        started.warm()
        anyio.run(main, started, int(sys.argv[1]) if len(sys.argv) > 1 else 200)
