"""The registry over real sockets and processes, on the loopback interface alone."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from micro_conformance.polling import eventually
from micro_core import Node, NotRegistered, RegistryUnavailable, ServiceRecord, Snapshot
from micro_registry_mdns import MdnsRegistry
from micro_registry_mdns.links import GROUP
from micro_registry_mdns.sites import sites

pytestmark = pytest.mark.anyio
Make = Callable[[], MdnsRegistry]


@pytest.fixture
def make(port: int) -> Make:
    return lambda: MdnsRegistry(MdnsRegistry.Options(interfaces=("127.0.0.1",), port=port))


def record(name: str, *ids: str) -> ServiceRecord:
    return ServiceRecord(name, "1", tuple(Node(id, f"127.0.0.1:{9000 + at}") for at, id in enumerate(ids)))


def ids(snapshot: Snapshot) -> set[str]:
    return {node.id for service in snapshot.services for node in service.nodes}


async def until(snapshots: AsyncIterator[Snapshot], *expected: str, within: float = 2.0) -> Snapshot:
    with anyio.fail_after(within):
        async for snapshot in snapshots:
            if ids(snapshot) == set(expected):
                return snapshot
    raise AssertionError("the watch ended")


async def test_every_node_that_is_registered_becomes_visible_to_another_registry(make: Make) -> None:
    async with make() as one, make() as other, other.watch("quick") as snapshots:
        await until(snapshots)
        for at in range(50):
            await one.register(record("quick", *(f"quick-{n}" for n in range(at + 1))), ttl=90)
            await until(snapshots, *(f"quick-{n}" for n in range(at + 1)))


async def test_a_lookup_is_exact_at_once_when_the_cache_is_warm(make: Make) -> None:
    async with make() as one, make() as other:
        await other.list_services()
        for at in range(20):
            await one.register(record(f"warm-{at}", f"w-{at}"), ttl=90)
            assert await other.get_service(f"warm-{at}") == (record(f"warm-{at}", f"w-{at}"),)
        with pytest.raises(NotRegistered, match="'nobody' answers"):
            await other.get_service("nobody")


async def test_leaving_a_registry_says_goodbye_for_its_nodes(make: Make) -> None:
    async with make() as other, other.watch("left") as snapshots:
        async with make() as one:
            await one.register(record("left", "left-a"), ttl=90)
            await until(snapshots, "left-a")
        assert (await until(snapshots)).departed == {"left-a"}


async def test_without_an_interface_it_says_so_and_goes_on(port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with MdnsRegistry(MdnsRegistry.Options(interfaces=("192.0.2.77",), port=port)) as registry:
        with pytest.raises(RegistryUnavailable, match=r"192\.0\.2\.77.*MICRO_REGISTRY_MDNS_INTERFACES"):
            await registry.register(record("greeter", "a"), ttl=90)
        with pytest.raises(RegistryUnavailable, match=r"192\.0\.2\.77"):
            await registry.get_service("greeter")
        async with registry.watch(None) as snapshots:
            with anyio.fail_after(1):
                first = await anext(snapshots)
            assert first.services == ()
            assert first.stale_since is not None
    assert any("192.0.2.77" in entry.message for entry in caplog.records)


async def test_loopback_is_of_use_by_ipv4_alone_where_it_has_both() -> None:
    names = {site.name for site in sites()}
    assert "127.0.0.1" in names
    assert "::1" not in names


@asynccontextmanager
async def hogged(port: int) -> AsyncIterator[None]:
    """Somebody holds the port and shares it with nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((GROUP, port))
        yield


async def test_it_opens_by_itself_when_the_port_becomes_free() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    async with hogged(port):
        registry = MdnsRegistry(MdnsRegistry.Options(interfaces=("127.0.0.1",), port=port))
        await registry.__aenter__()
        with pytest.raises(RegistryUnavailable, match=r"in use.*MICRO_REGISTRY_MDNS_PORT"):
            await registry.register(record("greeter", "a"), ttl=90)
    try:
        async with registry.watch("greeter") as snapshots:
            with anyio.fail_after(5):
                async for snapshot in snapshots:
                    if snapshot.stale_since is None:
                        break
            await registry.register(record("greeter", "a"), ttl=90)
            await until(snapshots, "a")
    finally:
        await registry.__aexit__(None, None, None)


async def test_what_was_registered_is_announced_again_after_the_interface_was_lost(make: Make) -> None:
    async with make() as one, make() as other, other.watch("lost") as snapshots:
        await one.register(record("lost", "lost-a"), ttl=90)
        await until(snapshots, "lost-a")
        driver = one._driver
        assert driver is not None
        driver._links["127.0.0.1"].socket.setsockopt(
            socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        )
        driver._drop("127.0.0.1", "pulled")
        with pytest.raises(RegistryUnavailable, match="pulled"):
            await one.list_services()

        async def works() -> bool:
            return driver.stale_since is None

        await eventually(works, within=5)
        assert await one.get_service("lost") == (record("lost", "lost-a"),)
        async with make() as newcomer:
            assert await newcomer.get_service("lost") == (record("lost", "lost-a"),)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_an_interface_that_went_deaf_is_opened_anew(make: Make) -> None:
    async with make() as one, one.watch(None):
        driver = one._driver
        assert driver is not None
        link = driver._links["127.0.0.1"]
        link.socket.setsockopt(
            socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        )

        async def anew() -> bool:
            return driver._links.get("127.0.0.1") not in (link, None)

        await eventually(anew, within=12)


MEMBER = """
import sys, anyio
from micro_core import Node, ServiceRecord
from micro_registry_mdns import MdnsRegistry

async def main(port, id):
    async with MdnsRegistry(MdnsRegistry.Options(interfaces=("127.0.0.1",), port=port)) as registry:
        await registry.register(ServiceRecord("members", "1", (Node(id, "127.0.0.1:9000"),)), ttl=90)
        await anyio.sleep(60)

anyio.run(main, int(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_killed_process_disappears_within_seconds_and_the_others_stay(
    make: Make, port: int, tmp_path: Path
) -> None:
    script = tmp_path / "member.py"
    script.write_text(MEMBER)
    members = [await anyio.open_process([sys.executable, str(script), str(port), f"m{at}"]) for at in range(3)]
    try:
        async with make() as registry, registry.watch("members") as snapshots:
            await until(snapshots, "m0", "m1", "m2", within=10)
            os.kill(members[0].pid, signal.SIGKILL)
            last = await until(snapshots, "m1", "m2", within=7)
            assert last.departed == frozenset()
            assert {node.id for node in (await registry.get_service("members"))[0].nodes} == {"m1", "m2"}
    finally:
        for member in members:
            if member.returncode is None:
                member.kill()
            await member.aclose()
