"""Registries in networks of their own, by IPv6 and by both versions of IP.

    unshare -Urn python mdns_networks.py <scenario> asyncio|trio

Runs in a network namespace that is empty but for a loopback interface that is down. Exit status 0: all held.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import mdns_hostile
import pytest
from micro_conformance.polling import eventually
from micro_core import Node, RegistryUnavailable, ServiceRecord
from micro_registry_mdns import MdnsRegistry
from micro_registry_mdns.doctor import findings
from micro_registry_mdns.driver import Driver
from micro_registry_mdns.sites import sites

PORT = 5353
SOON = 30.0
"""Seconds in which anything is learned: a machine may be busy."""
AT_ONCE = 4.0
"""Seconds in which a goodbye is believed: less than a beat lives."""
MULTICAST_ON_LOOPBACK = "ip -6 route add local ff00::/8 dev lo"
IPV6_ALONE = ("ip link set lo up", "ip addr del 127.0.0.1/8 dev lo", MULTICAST_ON_LOOPBACK)


def setup(*commands: str) -> None:
    for command in commands:
        subprocess.run(["sh", "-c", command], check=True)


def open_registry(**options: Any) -> MdnsRegistry:
    return MdnsRegistry(MdnsRegistry.Options(port=PORT, **options))


def record(id: str, address: str) -> ServiceRecord:
    return ServiceRecord("greeter", "1", (Node(id, address, {"zone": "a"}),))


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


class Member:
    """A process that registers a node and tells which ones it sees."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[str] = []

    async def sees(self, *ids: str, within: float = SOON) -> None:
        assert self.process.stdout is not None
        with anyio.fail_after(within):
            while self.seen != sorted(ids):
                line = await anyio.to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True)
                assert line, "the member ended"
                self.seen = json.loads(line)

    async def leave(self) -> None:
        """Says goodbye."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert await anyio.to_thread.run_sync(self.process.wait) == 0


@contextmanager
def member(id: str, address: str, setup: Iterable[str] = (), **options: Any) -> Iterator[Member]:
    """A process of this host, or, if it is set up by commands, of another one."""
    command = [sys.executable, __file__, "member", id, address, json.dumps(options)]
    with host(command, setup) as process:
        yield Member(process)


@contextmanager
def host(command: list[str], setup: Iterable[str]) -> Iterator[subprocess.Popen[str]]:
    """Runs a command, where there are others to set it up in a namespace of its own, at the other end of `near`."""
    inside = "; ".join(["read go", *setup, 'exec "$@"'])
    apart = ["unshare", "-n", "sh", "-c", inside, "sh"] if setup else []
    process = subprocess.Popen([*apart, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if setup:
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


def beside(process: subprocess.Popen[str], *command: str) -> subprocess.Popen[str]:
    """Runs a command on the host of another process."""
    inside = ["nsenter", "-t", str(process.pid), "-n", sys.executable]
    return subprocess.Popen([*inside, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def be_member(id: str, address: str, options: str) -> None:
    async with open_registry(**json.loads(options)) as registry, anyio.create_task_group() as tasks:
        tasks.start_soon(tell, registry)
        await registry.register(record(id, address), ttl=90)
        await anyio.to_thread.run_sync(sys.stdin.read)
        tasks.cancel_scope.cancel()


async def tell(registry: MdnsRegistry) -> None:
    async with registry.watch(None) as snapshots:
        async for snapshot in snapshots:
            sys.stdout.write(json.dumps(sorted(node.id for each in snapshot.services for node in each.nodes)) + "\n")
            sys.stdout.flush()


class Seen:
    """What a registry lists, kept up by a watch."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.departed: frozenset[str] = frozenset()
        self.changes = 0

    async def become(self, *ids: str, within: float = SOON) -> None:
        async def so() -> bool:
            return self.ids == sorted(ids)

        await eventually(so, within=within)


@asynccontextmanager
async def seen_by(registry: MdnsRegistry, name: str | None = None) -> AsyncIterator[Seen]:
    seen = Seen()

    async def watch() -> None:
        async with registry.watch(name) as snapshots:
            async for snapshot in snapshots:
                seen.changes += 1
                seen.ids = sorted(node.id for service in snapshot.services for node in service.nodes)
                seen.departed = snapshot.departed

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield seen
        tasks.cancel_scope.cancel()


def connect(*addresses: str) -> None:
    """A cable from `near`, with these addresses, to `far`, which another host is to get."""
    setup("ip link add near type veth peer name far", *at("near", *addresses))


def far(*addresses: str) -> list[str]:
    return at("far", *addresses)


def at(interface: str, *addresses: str) -> list[str]:
    """Commands; addresses are used at once, without asking the network whether somebody has them."""
    quick = f"echo 0 > /proc/sys/net/ipv6/conf/{interface}/accept_dad"
    given = [f"ip addr add {address} dev {interface}" for address in addresses]
    return ["ip link set lo up", quick, *given, f"ip link set {interface} up"]


class Log(logging.Handler):
    """What the registries logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


LOG = Log()


# scenarios


async def processes_of_one_host_meet_on_the_loopback_interface(**options: Any) -> None:
    """By IPv6, for there is no IPv4."""
    setup(*IPV6_ALONE)
    assert [site.name for site in sites()] == ["::1"]
    assert [finding.level for finding in findings((), PORT)] == ["ok", "warning"]
    async with open_registry(**options) as registry, seen_by(registry) as seen:
        with ExitStack() as stack:
            members = [stack.enter_context(member(f"m{at}", f"[::1]:{9001 + at}", **options)) for at in range(3)]
            await registry.register(record("own", "[::1]:9000"), ttl=90)
            await seen.become("own", "m0", "m1", "m2")
            for each in members:
                await each.sees("own", "m0", "m1", "m2")
            (found,) = await registry.get_service("greeter")
            assert {node.address for node in found.nodes} == {f"[::1]:{9000 + at}" for at in range(4)}
            await members[0].leave()
            await seen.become("own", "m1", "m2", within=AT_ONCE)
            assert "m0" in seen.departed
            os.kill(members[1].process.pid, signal.SIGKILL)
            await seen.become("own", "m2", within=SOON if options.get("dns_sd", True) else 30)
            assert "m1" not in seen.departed
    assert LOG.lines == []


async def processes_of_one_host_meet_by_go_micros_names() -> None:
    await processes_of_one_host_meet_on_the_loopback_interface(dns_sd=False)


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


async def hosts_without_ipv4_find_each_other(**options: Any) -> None:
    connect("fd00::1/64")
    async with open_registry(**options) as registry, seen_by(registry) as seen:
        with member("far", "[fd00::2]:9000", far("fd00::2/64"), **options) as other:
            await seen.become("far")
            await registry.register(record("near", "[fd00::1]:9000"), ttl=90)
            await other.sees("far", "near")
            await registry.deregister(record("near", "[fd00::1]:9000"))
            await other.sees("far", within=AT_ONCE)
            await other.leave()
            await seen.become(within=AT_ONCE)
            assert "far" in seen.departed


async def hosts_without_ipv4_find_each_other_by_go_micros_names() -> None:
    await hosts_without_ipv4_find_each_other(dns_sd=False)


async def eventually_at(interface: str) -> None:
    """Waits until IPv6 is up there."""

    async def up() -> bool:
        return any(site.interface == interface and site.name.startswith("fe80::") for site in sites())

    await eventually(up, within=SOON)


async def a_host_with_both_finds_one_without_ipv4_and_is_found() -> None:
    connect("192.0.2.1/24", "fd00::1/64")
    async with open_registry() as registry, seen_by(registry) as seen:
        with member("far", "[fd00::2]:9000", far("fd00::2/64")) as other:
            await registry.register(record("near", "[fd00::1]:9000"), ttl=90)
            await seen.become("far", "near")
            await other.sees("far", "near")
            await registry.deregister(record("near", "[fd00::1]:9000"))
            await other.sees("far", within=AT_ONCE)
            os.kill(other.process.pid, signal.SIGKILL)
            await seen.become()


async def hosts_with_both_hear_each_other_by_ipv4_alone() -> None:
    connect("192.0.2.1/24", "fd00::1/64")
    async with open_registry() as registry, seen_by(registry) as seen:
        driver = driver_of(registry)
        with member("far", "192.0.2.2:9000", far("192.0.2.2/24", "fd00::2/64")) as other:
            await registry.register(record("near", "192.0.2.1:9000"), ttl=90)
            await seen.become("far", "near")
            await other.sees("far", "near")
            # The interface has its link-local address, and so the link its last name, once the other end was seen.
            await eventually(lambda: any(link.startswith("fe80:") for link in driver._links), within=SOON)
            beats = dict.fromkeys(driver._links, 0)

            def count(link: str, source: str, data: bytes) -> None:
                beats[link] += data[2:4] == b"\x84\0" and b"\5_beat\6_micro" in data

            overhear(registry, count)

            async def beaten() -> bool:
                return beats["192.0.2.1"] >= 12

            await eventually(beaten, within=2 * SOON)
            assert driver.engine.second == {link for link in driver._links if ":" in link}
            assert {path.address for path in driver.engine.listener.paths.values()} == {"192.0.2.2"}
            (found,) = await registry.get_service("greeter")
            assert sorted(node.id for node in found.nodes) == ["far", "near"]
            (by_ipv6,) = driver.engine.second
            assert beats[by_ipv6] <= 4  # with what was said of the new nodes
            await other.leave()
            await seen.become("near", within=AT_ONCE)


async def interfaces_are_chosen_by_name_and_address() -> None:
    connect("192.0.2.1/24", "fd00::1/64")
    setup("ip link set far up")
    await eventually_at("near")
    (local,) = [site.name for site in sites() if site.ipv6]
    assert local.endswith("%near")
    assert [site.name for site in sites(["near"])] == ["192.0.2.1", local]
    assert [site.name for site in sites(["fd00:0::1"])] == [local]
    assert [site.name for site in sites([local, local.partition("%")[0], "fd00::1"])] == [local]
    assert [site.name for site in sites(["lo", "::1"])] == ["127.0.0.1", "::1"]
    for name, text in (("nowhere", "no interface of that name"), ("fd00::99", "no such address")):
        assert [site.index for site in sites([name])] == [0]
        async with open_registry(interfaces=(name,)) as registry:
            with pytest.raises(RegistryUnavailable, match=f"interface {name}: this host has {text}"):
                await registry.list_services()


async def without_a_route_it_says_so_once_and_goes_on_when_there_is_one() -> None:
    setup("ip link set lo up")
    async with open_registry(interfaces=("::1",)) as registry, seen_by(registry) as seen:
        tries = 0
        driver = driver_of(registry)
        reconcile = driver._reconcile

        def counted() -> None:
            nonlocal tries
            tries += 1
            reconcile()

        driver._reconcile = counted  # type: ignore[method-assign]

        async def tried() -> bool:
            return tries >= 3

        await eventually(tried, within=SOON)
        assert len(LOG.lines) == 1, LOG.lines
        assert "::1: Network is unreachable" in LOG.lines[0]
        assert [finding.level for finding in findings(("::1",), PORT)] == ["error"]
        setup(MULTICAST_ON_LOOPBACK)

        async def works() -> bool:
            return driver.stale_since is None

        await eventually(works, within=SOON)
        await registry.register(record("own", "[::1]:9000"), ttl=90)
        await seen.become("own")


async def hosts_whose_ipv6_does_not_work_have_ipv4_and_a_quiet_log() -> None:
    connect("192.0.2.1/24", "fd00::1/64")
    setup("ip link set far up")
    await eventually_at("near")
    setup("ip -6 route del multicast ff00::/8 dev near table local")
    for off in ("true", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"):
        setup(off)
        async with open_registry() as registry, seen_by(registry) as seen:
            await registry.register(record("own", "192.0.2.1:9000"), ttl=90)
            await seen.become("own")
            assert sorted(driver_of(registry)._links) == ["127.0.0.1", "192.0.2.1"]
    assert LOG.lines == []


PACED = (1.0, 2000.0)
"""For how many seconds each kind of hostile packets is sent, and how many a second."""
FLOOD = (30.0, float("inf"))
"""More than can be read, on two cores about a million in all."""
GROWTH = 16 * 1024 * 1024
"""Bytes that a process may grow by under any of it."""


async def hostile_packets_change_nothing_and_cost_little() -> None:
    await attacked(*PACED)


async def a_flood_of_hostile_packets() -> None:
    sys.stdout.write(f"{await attacked(*FLOOD)}\n")


async def attacked(seconds: float, rate: float) -> str:
    """What came of it, in a line."""
    connect("192.0.2.1/24", "fd00::1/64")
    addresses = ("192.0.2.2/24", "192.0.2.66/24", "fd00::2/64", "fd00::66/64")
    async with open_registry() as own, open_registry() as registry, seen_by(registry, "greeter") as seen:
        await own.register(record("own", "192.0.2.1:9000"), ttl=900)
        with member("far", "192.0.2.2:9000", far(*addresses)) as other, ExitStack() as stack:
            go = beside(other.process, __file__, "member", "far-go", "192.0.2.2:9001", json.dumps({"dns_sd": False}))
            stack.callback(go.kill)
            await seen.become("own", "far", "far-go")
            calm = await cold_lookup()
            engines = [driver_of(each).engine for each in (own, registry)]
            origins = [engines[0].responder.origin, *(path.origin for path in engines[1].listener.paths.values())]
            attacker = beside(other.process, mdns_hostile.__file__, "192.0.2.66", "fd00::66", json.dumps(origins))
            stack.callback(attacker.kill)
            taken, sent, before, size = 0, 0, seen.changes, memory()

            def count(link: str, source: str, data: bytes) -> None:
                nonlocal taken
                taken += source in ("192.0.2.66", "fd00::66")

            overhear(registry, count)
            lookups: list[float] = []
            for kind in mdns_hostile.KINDS:
                already = taken
                async for took in lookups_under_attack(attacker, f"{kind} {seconds} {rate}", registry, seconds):
                    assert took < 20 * calm + 2, f"a lookup took {took} s under {kind}, {calm} s without"
                    lookups.append(took)
                assert attacker.stdout is not None
                sent += int(await anyio.to_thread.run_sync(attacker.stdout.readline))
                assert taken > already + 100, f"{kind} did not arrive"
            assert seen.changes == before, f"{seen.ids} listed, {seen.departed} said to have left"
            grown = memory() - size
            assert grown < GROWTH
    assert len(LOG.lines) <= 20 * (len(lookups) + 1)  # of each registry, ten lines for each protocol
    return (
        f"{sent:,} packets sent, {taken:,} taken, no change of what is listed, {grown / 2**20:.1f} MiB more; "
        f"lookups took {calm:.2f} s before, {max(lookups):.2f} s at most"
    )


async def lookups_under_attack(
    attacker: subprocess.Popen[str], attack: str, registry: MdnsRegistry, seconds: float
) -> AsyncIterator[float]:
    """The seconds that each lookup takes while the attacker does what it is told."""
    assert attacker.stdin is not None
    attacker.stdin.write(f"{attack}\n")
    attacker.stdin.flush()
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        started = anyio.current_time()
        await registry.get_service("greeter")
        yield anyio.current_time() - started + await cold_lookup()


async def cold_lookup() -> float:
    """The seconds in which one who knew nothing finds the service."""
    started = anyio.current_time()
    async with open_registry() as newcomer:
        await newcomer.get_service("greeter")
    return anyio.current_time() - started


def memory() -> int:
    """Bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


SCENARIOS: dict[str, Callable[[], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        hostile_packets_change_nothing_and_cost_little,
        what_another_host_sends_arrives_at_its_interface,
        processes_of_one_host_meet_on_the_loopback_interface,
        processes_of_one_host_meet_by_go_micros_names,
        hosts_without_ipv4_find_each_other,
        hosts_without_ipv4_find_each_other_by_go_micros_names,
        a_host_with_both_finds_one_without_ipv4_and_is_found,
        hosts_with_both_hear_each_other_by_ipv4_alone,
        interfaces_are_chosen_by_name_and_address,
        without_a_route_it_says_so_once_and_goes_on_when_there_is_one,
        hosts_whose_ipv6_does_not_work_have_ipv4_and_a_quiet_log,
    )
}


def main() -> None:
    name, *args = sys.argv[1:]
    if name == "member":
        id, address, options = args
        anyio.run(be_member, id, address, options)
        return
    logging.getLogger("micro").setLevel(logging.INFO)
    logging.getLogger("micro").addHandler(LOG)
    anyio.run({**SCENARIOS, "flood": a_flood_of_hostile_packets}[name], backend=args[0])


if __name__ == "__main__":
    main()
