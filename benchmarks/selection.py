"""Selection among many nodes, lookup from cache, and register until visible over mDNS on the loopback interface.

python benchmarks/selection.py [--nodes 1000] [--rounds 300]

A selection is `select`, the first node taken, and `done`. Keys are new every time, and the selector that looks at them
has seen the set before.
"""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Callable
from itertools import count
from statistics import median

import anyio
from micro_core import Node, NodeSet, Outcome, Selector, ServiceRecord, Snapshot
from micro_core.component import NoOptions
from micro_core.loader import load
from micro_discovery import RegistryDiscovery
from micro_registry_mdns import MdnsRegistry
from micro_registry_memory import MemoryRegistry

SELECTORS = ("random", "roundrobin", "least-requests", "rendezvous")
BATCH = 2_000
BATCHES = 25


def nodes_of(many: int) -> tuple[Node, ...]:
    """Nodes named as services name them."""
    return tuple(Node(f"greeter-{at:032x}", f"10.0.{at >> 8}.{at & 255}:8080") for at in range(many))


def selecting(selector: Selector, nodes: NodeSet) -> Callable[[], None]:
    """One selection with a key that was not there before."""
    keys = (b"user-%d" % at for at in count())

    def select() -> None:
        node = next(selector.select(nodes, key=next(keys)))
        selector.done(node, Outcome.OK, 0.001)

    return select


def told(what: str, seconds: list[float], unit: str = "µs") -> None:
    """Prints the middle and the end of what was measured."""
    factor = {"µs": 1e6, "ms": 1e3}[unit]
    ordered = [each * factor for each in sorted(seconds)]
    worst = ordered[int(len(ordered) * 0.99)]
    print(f"{what:<44}median {median(ordered):>8.2f} {unit}   p99 {worst:>8.2f} {unit}   {len(ordered)} samples")


def timed(what: str, once: Callable[[], object]) -> None:
    """The mean of each of many batches, since one call is shorter than what a clock shows."""
    for _ in range(BATCH):
        once()
    means = []
    for _ in range(BATCHES):
        began = time.perf_counter()
        for _ in range(BATCH):
            once()
        means.append((time.perf_counter() - began) / BATCH)
    told(what, means)


def selections(many: int) -> None:
    """Each selector among the same nodes."""
    nodes = NodeSet("greeter", nodes_of(many))
    for name in SELECTORS:
        selector: Selector = load("selector", name).cls(NoOptions())
        timed(f"selection among {many:,}: {name}", selecting(selector, nodes))


async def lookups(many: int) -> None:
    """What a call asks of discovery once its service is known."""
    registry = MemoryRegistry(MemoryRegistry.Options(address="benchmark"))
    async with registry, RegistryDiscovery(registry, registry_name="memory") as discovery:
        await registry.register(ServiceRecord("greeter", "latest", nodes_of(many)), ttl=600)
        await discovery.find("greeter", deadline=anyio.current_time() + 5)
        timed(f"lookup from cache, {many:,} nodes", lambda: discovery.known("greeter"))


def free_port() -> int:
    """A UDP port that nothing else of this host speaks mDNS on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def visible(rounds: int) -> None:
    """From `register` of one registry until the watch of another shows the node; both in this process."""
    options = MdnsRegistry.Options(interfaces=("127.0.0.1",), port=free_port())
    samples = []
    async with MdnsRegistry(options) as one, MdnsRegistry(options) as other:
        for at in range(rounds):
            name = f"measured-{at}"
            record = ServiceRecord(name, "latest", (Node(f"{name}-a", "127.0.0.1:8080"),))
            async with other.watch(name) as snapshots:
                await anext(snapshots)
                began = time.perf_counter()
                await one.register(record, ttl=90)
                async for snapshot in snapshots:
                    if shows(snapshot, record):
                        break
                samples.append(time.perf_counter() - began)
            await one.deregister(record)
    told("mDNS: register until a watch shows it", samples, "ms")


def shows(snapshot: Snapshot, record: ServiceRecord) -> bool:
    """Whether the record's service has nodes there."""
    return any(service.name == record.name and service.nodes for service in snapshot.services)


def main() -> None:
    """Prints a line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=300)
    args = parser.parse_args()
    selections(args.nodes)
    anyio.run(lookups, args.nodes)
    anyio.run(visible, args.rounds)


if __name__ == "__main__":
    main()
