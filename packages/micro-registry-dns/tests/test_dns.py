"""What registry `dns` asks, what nodes the answers are, how long they hold, and what happens without answers."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import dns.asyncbackend
import dns.rcode
import pytest
from anyio import to_thread
from micro_conformance import eventually
from micro_core import Node, NotRegistered, OptionError, Reach, RegistryUnavailable, Snapshot
from micro_core.loader import load
from micro_core.options import make_options
from micro_registry_dns import DnsRegistry
from micro_registry_dns.cache import MAX_ENTRIES
from micro_registry_dns.registry import name_server

pytestmark = pytest.mark.anyio

SRV = "_greeter._tcp"


def make(server: Any, **options: Any) -> DnsRegistry:
    chosen = DnsRegistry.Options("example.test", resolver=(server.address,), minimum_ttl=0.1, timeout=0.5)
    return DnsRegistry(replace(chosen, **options))


async def nodes_of(registry: DnsRegistry, name: str = "greeter") -> list[Node]:
    return [node for record in await registry.get_service(name) for node in record.nodes]


async def found(server: Any, **options: Any) -> dict[str, str]:
    async with make(server, **options) as registry:
        return {node.id: node.address for node in await nodes_of(registry)}


def addresses(snapshot: Snapshot) -> set[str]:
    return {node.address for record in snapshot.services for node in record.nodes}


async def until(snapshots: AsyncIterator[Snapshot], wanted: set[str], within: float = 3.0) -> Snapshot:
    with anyio.fail_after(within):
        async for snapshot in snapshots:
            if addresses(snapshot) == wanted:
                return snapshot
    raise AssertionError("the watch ended")


def test_it_is_found_by_name() -> None:
    cls = load("registry", "dns").cls
    assert cls is DnsRegistry
    assert (cls.reach, cls.read_only) == (Reach.NETWORK, True)


# what is asked, and what nodes that makes


async def test_srv_records_are_nodes_called_after_their_targets(server: Any) -> None:
    server.put(SRV, "SRV", "10 5 8080 one.example.test.", "10 7 8081 Two.example.test.", "20 0 9 spare.example.test.")
    server.put("one", "A", "10.0.0.1")
    server.put("two", "A", "10.0.0.2")
    async with make(server) as registry:
        (record,) = await registry.get_service("greeter")
    assert (record.name, record.version) == ("greeter", "latest")
    assert record.nodes == (
        Node("one.example.test:8080", "10.0.0.1:8080", {"protocol": "mucp", "priority": "10", "weight": "5"}),
        Node("two.example.test:8081", "10.0.0.2:8081", {"protocol": "mucp", "priority": "10", "weight": "7"}),
    )


async def test_an_id_survives_a_change_of_address(server: Any) -> None:
    server.put(SRV, "SRV", "0 0 80 one.example.test.")
    server.put("one", "A", "10.0.0.1")
    before = await found(server)
    server.put("one", "A", "10.0.0.9")
    assert (before, await found(server)) == (
        {"one.example.test:80": "10.0.0.1:80"},
        {"one.example.test:80": "10.0.0.9:80"},
    )


async def test_each_address_of_a_target_is_a_node(server: Any) -> None:
    server.put(SRV, "SRV", "0 0 80 one.example.test.")
    server.put("one", "A", "10.0.0.10", "10.0.0.9")
    assert await found(server) == {
        "one.example.test:80/10.0.0.9": "10.0.0.9:80",
        "one.example.test:80/10.0.0.10": "10.0.0.10:80",
    }


async def test_ipv6_is_taken_where_there_is_no_ipv4(server: Any) -> None:
    server.put(SRV, "SRV", "0 0 80 six.example.test.", "0 0 80 both.example.test.")
    server.put("six", "AAAA", "2001:db8::6")
    server.put("both", "AAAA", "2001:db8::7")
    server.put("both", "A", "10.0.0.7")
    expected = {"six.example.test:80": "[2001:db8::6]:80", "both.example.test:80": "10.0.0.7:80"}
    assert await found(server) == expected
    server.additional = True
    server.asked.clear()
    assert await found(server) == expected
    assert list(server.asked) == [(SRV, "SRV")], "addresses that came along are not asked for again"


async def test_without_srv_addresses_are_nodes_of_the_default_port(server: Any) -> None:
    server.put("greeter", "A", "10.0.0.1", "10.0.0.2")
    server.put("greeter", "AAAA", "2001:db8::1")
    assert await found(server, port=9090) == {f"10.0.0.{at}:9090": f"10.0.0.{at}:9090" for at in (1, 2)}
    server.put("greeter", "A")
    assert await found(server, port=9090) == {"[2001:db8::1]:9090": "[2001:db8::1]:9090"}


async def test_without_a_default_port_addresses_are_not_asked_for_and_the_error_says_so(server: Any) -> None:
    server.put("greeter", "A", "10.0.0.1")
    with pytest.raises(NotRegistered, match=r"_greeter\._tcp\.example\.test\..*MICRO_REGISTRY_DNS_PORT"):
        await found(server)
    assert list(server.asked) == [(SRV, "SRV")]


async def test_srv_wins_over_addresses(server: Any) -> None:
    server.put(SRV, "SRV", "0 0 80 one.example.test.")
    server.put("one", "A", "10.0.0.1")
    server.put("greeter", "A", "10.0.0.2")
    assert await found(server, port=9090) == {"one.example.test:80": "10.0.0.1:80"}


async def test_a_full_name_needs_no_domain(server: Any) -> None:
    server.put(SRV, "SRV", "0 0 80 one.example.test.")
    server.put("one", "A", "10.0.0.1")
    async with make(server, domain="") as registry:
        assert [node.address for node in await nodes_of(registry, "greeter.example.test")] == ["10.0.0.1:80"]


async def test_a_namespace_is_part_of_the_name(server: Any) -> None:
    server.put("_ada.greeter._tcp", "SRV", "0 0 80 one.example.test.")
    server.put("one", "A", "10.0.0.1")
    async with make(server) as registry:
        assert [node.address for node in await nodes_of(registry, "ada.greeter")] == ["10.0.0.1:80"]


async def test_an_alias_is_followed(server: Any) -> None:
    server.put("greeter", "CNAME", "one.example.test.")
    server.put("one", "A", "10.0.0.1")
    assert await found(server, port=80) == {"10.0.0.1:80": "10.0.0.1:80"}


@pytest.mark.parametrize(
    "text",
    ["0 0 0 one.example.test.", "0 0 80 .", "0 0 80 gone.example.test."],
    ids=["port 0", "decidedly not here", "a target without address"],
)
async def test_srv_records_that_lead_nowhere_are_left_out(server: Any, text: str) -> None:
    server.put("one", "A", "10.0.0.1")
    server.put(SRV, "SRV", text)
    with pytest.raises(NotRegistered):
        await found(server)
    server.put(SRV, "SRV", text, "0 0 81 one.example.test.")
    assert await found(server) == {"one.example.test:81": "10.0.0.1:81"}


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64, "ä", "\ud800", "a." * 130])
async def test_what_cannot_be_a_name_is_not_registered(server: Any, name: str) -> None:
    async with make(server) as registry:
        with pytest.raises(NotRegistered, match="cannot be a name"):
            await registry.get_service(name)
    assert not server.asked


async def test_a_reply_too_long_for_a_packet_is_asked_for_by_tcp(server: Any) -> None:
    server.put(SRV, "SRV", *(f"0 0 {port} one.example.test." for port in range(8000, 8200)))
    server.put("one", "A", "10.0.0.1")
    server.truncated = True
    assert len(await found(server)) == 200
    assert server.by_tcp == 2


async def test_fifty_targets_are_asked_for_side_by_side(server: Any) -> None:
    server.put(SRV, "SRV", *(f"0 0 80 n{at}.example.test." for at in range(50)))
    for at in range(50):
        server.put(f"n{at}", "A", f"10.0.0.{at}")
    assert len(await found(server, timeout=5.0)) == 50


async def test_list_and_a_watch_of_all_show_the_services_of_the_option(server: Any) -> None:
    server.put(SRV, "SRV", "0 0 80 one.example.test.")
    server.put("one", "A", "10.0.0.1")
    async with make(server, services=("greeter", "mail")) as registry, registry.watch(None) as snapshots:
        assert [record.name for record in await registry.list_services()] == ["greeter"]
        await until(snapshots, {"10.0.0.1:80"})
        server.put("_mail._tcp", "SRV", "0 0 25 one.example.test.")
        assert {record.name for record in (await until(snapshots, {"10.0.0.1:80", "10.0.0.1:25"})).services} == {
            "greeter",
            "mail",
        }


# how long answers hold


async def test_an_answer_is_kept_as_long_as_its_ttl(server: Any) -> None:
    server.put("greeter", "A", "10.0.0.1")
    server.ttl = 1
    server.absent_ttl = 60
    async with make(server, port=80) as registry:
        started = anyio.current_time()
        await nodes_of(registry)
        server.put("greeter", "A", "10.0.0.2")

        async def changed() -> bool:
            return (await nodes_of(registry))[0].address == "10.0.0.2:80"

        await eventually(changed, within=4)
        assert anyio.current_time() - started >= 1.0
        assert server.asked["greeter", "A"] == 2


async def test_absence_is_kept_as_the_soa_says(server: Any) -> None:
    server.absent_ttl = 1
    async with make(server) as registry:
        started = anyio.current_time()
        for _ in range(3):
            with pytest.raises(NotRegistered):
                await registry.get_service("greeter")
        assert server.asked[SRV, "SRV"] == 1
        server.put(SRV, "SRV", "0 0 80 one.example.test.")
        server.put("one", "A", "10.0.0.1")
        async with registry.watch("greeter") as snapshots:
            await until(snapshots, {"10.0.0.1:80"})
        assert anyio.current_time() - started >= 1.0


async def test_a_watch_asks_no_more_often_than_the_ttl(server: Any) -> None:
    server.put("greeter", "A", "10.0.0.1")
    async with make(server, port=80) as registry, registry.watch("greeter") as snapshots:
        await until(snapshots, {"10.0.0.1:80"})
        with anyio.move_on_after(1.0):
            await anext(snapshots)
    assert 4 <= server.asked["greeter", "A"] <= 11, "every 0.1 s and a little"


async def test_many_callers_share_one_lookup(server: Any) -> None:
    server.put("greeter", "A", "10.0.0.1")
    server.ttl = 60
    async with make(server, port=80) as registry, anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(nodes_of, registry)
    assert server.asked["greeter", "A"] == 1


async def test_the_cache_is_bounded(server: Any) -> None:
    server.absent_ttl = 60
    async with make(server) as registry:
        for at in range(MAX_ENTRIES + 20):
            with pytest.raises(NotRegistered):
                await registry.get_service("x" * 64 + str(at))
        assert registry._cache is not None
        assert len(registry._cache._entries) == MAX_ENTRIES


# no answers


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_server_that_cannot_answer_is_unavailable(server: Any, rcode: dns.rcode.Rcode) -> None:
    server.rcode = rcode
    async with make(server) as registry:
        with pytest.raises(RegistryUnavailable, match=r"_greeter\._tcp\.example\.test\. SRV: "):
            await registry.get_service("greeter")


async def test_a_server_that_is_silent_is_unavailable_in_time_and_not_asked_again_at_once(server: Any) -> None:
    server.silent = True
    async with make(server, minimum_ttl=1.0) as registry:
        with anyio.fail_after(0.9), pytest.raises(RegistryUnavailable, match="no answer in time"):
            await registry.get_service("greeter")
        asked = server.asked.total()
        for _ in range(20):
            with pytest.raises(RegistryUnavailable):
                await registry.get_service("greeter")
        assert server.asked.total() == asked


async def test_a_port_where_nobody_listens_is_unavailable() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = DnsRegistry.Options("example.test", resolver=(address,), timeout=0.5)
    async with DnsRegistry(options) as registry:
        with pytest.raises(RegistryUnavailable):
            await registry.get_service("greeter")


async def test_the_second_name_server_answers_for_a_silent_first(server: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        first = f"127.0.0.1:{deaf.getsockname()[1]}"
        server.put("greeter", "A", "10.0.0.1")
        both = await found(server, port=80, timeout=3.0, resolver=(first, server.address))
    assert both == {"10.0.0.1:80": "10.0.0.1:80"}


async def test_silence_and_return_are_logged_once(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    server.put("greeter", "A", "10.0.0.1")
    with caplog.at_level(logging.INFO, "micro.registry.dns"):
        async with make(server, port=80) as registry, registry.watch("greeter") as snapshots:
            await until(snapshots, {"10.0.0.1:80"})
            server.silent = True
            with anyio.fail_after(3):
                stale = await anext(snapshots)
            assert stale.stale_since is not None
            assert addresses(stale) == {"10.0.0.1:80"}
            server.silent = False
            with anyio.fail_after(5):
                assert (await anext(snapshots)).stale_since is None
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "DNS does not answer",
        "DNS answers again",
    ]


async def test_nxdomain_is_empty_and_not_stale_and_nobody_departs(server: Any) -> None:
    server.put("greeter", "A", "10.0.0.1")
    async with make(server, port=80) as registry, registry.watch("greeter") as snapshots:
        await until(snapshots, {"10.0.0.1:80"})
        server.records.clear()
        assert await until(snapshots, set()) == Snapshot(())


# life


async def test_a_registry_that_was_not_entered_says_so(server: Any) -> None:
    with pytest.raises(RegistryUnavailable, match="async with"):
        await make(server).get_service("greeter")


async def test_two_event_loops_of_one_process_have_dns_at_once(server: Any) -> None:
    """dnspython on its own keeps the first event loop that it sees for the whole process."""
    server.put("greeter", "A", "10.0.0.1")

    async def elsewhere() -> dict[str, str]:
        return await found(server, port=80)

    for backend in ("asyncio", "trio"):
        there = await to_thread.run_sync(partial(anyio.run, elsewhere, backend=backend))
        assert there == {"10.0.0.1:80": "10.0.0.1:80"}
    assert dns.asyncbackend._default_backend is None


def test_it_asks_by_plain_asyncio(server: Any) -> None:
    server.put("greeter", "A", "10.0.0.1")
    assert asyncio.run(found(server, port=80)) == {"10.0.0.1:80": "10.0.0.1:80"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.2", ("10.0.0.2", 53)),
        ("10.0.0.2:5353", ("10.0.0.2", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_name_servers(text: str, expected: tuple[str, int]) -> None:
    assert name_server(text) == expected


@pytest.mark.parametrize("text", ["dns.example.com", "10.0.0.2:", "10.0.0.2:0", "10.0.0.2:65536", ":53", "", "[::1"])
def test_what_is_no_name_server_is_an_option_error(text: str) -> None:
    with pytest.raises(OptionError, match="'resolver': expected an IP address"):
        make_options(DnsRegistry.Options, {"resolver": [text]})
