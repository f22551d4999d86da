"""Registries in networks of their own.

    unshare -Urn python mdns_networks.py <scenario> asyncio|trio

Runs in a network namespace that is empty but for a loopback interface that is down. Exit status 0: all held.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from micro_conformance.polling import eventually
from micro_registry_mdns import MdnsRegistry
from micro_registry_mdns.driver import Driver

PORT = 5353
SOON = 8.0
"""Seconds in which anything is learned: a machine may be busy."""
QUICK = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"
"""Addresses are used at once, without asking the network whether somebody has them."""


def setup(*commands: str) -> None:
    for command in commands:
        subprocess.run(["sh", "-c", command], check=True)


def open_registry(**options: Any) -> MdnsRegistry:
    return MdnsRegistry(MdnsRegistry.Options(port=PORT, **options))


def driver_of(registry: MdnsRegistry) -> Driver:
    assert registry._driver is not None
    return registry._driver


def overhear(registry: MdnsRegistry, note: Callable[[str, str, bytes], None]) -> None:
    """Tells of every packet, by link and source, before it is taken."""
    engine = driver_of(registry).engine
    receive = engine.receive

    def noted(link: str, source: tuple[str, int], data: bytes, now: float) -> None:
        note(link, source[0], data)
        receive(link, source, data, now)

    engine.receive = noted  # type: ignore[method-assign]


@contextmanager
def host(command: list[str], at: Iterable[str]) -> Iterator[subprocess.Popen[str]]:
    """Runs a command, where there are others to set it up in a namespace of its own, at the other end of `near`."""
    inside = "; ".join(["read go", QUICK, *at, 'exec "$@"'])
    apart = ["unshare", "-n", "sh", "-c", inside, "sh"] if at else []
    process = subprocess.Popen([*apart, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if at:
            send_interface(process)
        yield process
    finally:
        process.kill()
        process.wait()


def send_interface(process: subprocess.Popen[str]) -> None:
    """Gives the interface `far` to a process, once that is in a namespace of its own."""
    ours, its = Path("/proc/self/ns/net"), Path(f"/proc/{process.pid}/ns/net")
    until = time.monotonic() + SOON
    while ours.readlink() == its.readlink() and time.monotonic() < until:
        time.sleep(0.01)
    setup(f"ip link set far netns {process.pid}")
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def connect(*addresses: str) -> None:
    """A cable from `near`, with these addresses, to `far`, which another host is to get."""
    setup(QUICK, "ip link set lo up", "ip link add near type veth peer name far")
    setup(*(f"ip addr add {address} dev near" for address in addresses), "ip link set near up")


def far(*addresses: str) -> list[str]:
    return ["ip link set lo up", *(f"ip addr add {each} dev far" for each in addresses), "ip link set far up"]


# scenarios


SEND = """
import socket
for port in range(40000, 40020):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.0.2.2"))
        sock.bind(("192.0.2.2", port))
        sock.sendto(bytes(12), ("224.0.0.251", 5353))
"""


async def what_another_host_sends_arrives_at_its_interface() -> None:
    connect("192.0.2.1/24")
    async with open_registry(interfaces=("127.0.0.1", "192.0.2.1")) as registry:
        arrived: list[str] = []
        overhear(registry, lambda link, source, data: arrived.extend([link] if source == "192.0.2.2" else []))

        async def all_arrived() -> bool:
            return len(arrived) >= 20

        with host([sys.executable, "-c", SEND], far("192.0.2.2/24")):
            await eventually(all_arrived, within=SOON)
        assert arrived == ["192.0.2.1"] * 20


SCENARIOS: dict[str, Callable[[], Awaitable[None]]] = {
    scenario.__name__: scenario for scenario in (what_another_host_sends_arrives_at_its_interface,)
}


def main() -> None:
    name, backend = sys.argv[1:]
    anyio.run(SCENARIOS[name], backend=backend)


if __name__ == "__main__":
    main()
