"""How often Consul is asked, and what is believed of servers that are no agents, played by a scripted one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import anyio
import pytest
from micro_conformance.polling import eventually
from micro_core import Node, RegistryUnavailable, ServiceRecord, Snapshot
from micro_registry_consul import ConsulRegistry
from scripted import Asked, HangUp, Reply, answer, scripted, simulated

pytestmark = pytest.mark.anyio
TWO = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def registry_at(*addresses: str, **options: Any) -> ConsulRegistry:
    return ConsulRegistry(ConsulRegistry.Options(address=addresses, **options))


def record(*ids: str, name: str = "greeter") -> ServiceRecord:
    return ServiceRecord(name, "1", tuple(Node(id, f"127.0.0.1:{9000 + at}") for at, id in enumerate(ids)))


def ids(snapshot: Snapshot) -> set[str]:
    return {node.id for service in snapshot.services for node in service.nodes}


async def until(
    snapshots: AsyncIterator[Snapshot], wanted: Callable[[Snapshot], bool], within: float = 20.0
) -> Snapshot:
    with anyio.fail_after(within):
        async for snapshot in snapshots:
            if wanted(snapshot):
                return snapshot
    raise AssertionError("the watch ended")


def entries(*ids: str) -> list[Any]:
    return [
        {
            "Node": {"Address": "127.0.0.1"},
            "Service": {"ID": id, "Service": "greeter", "Tags": ["v=1"], "Address": "127.0.0.1", "Port": 9000 + at},
            "Checks": [],
        }
        for at, id in enumerate(ids)
    ]


async def follow(registry: ConsulRegistry, *names: str) -> None:
    async def one(name: str) -> None:
        async with registry.watch(name) as snapshots:
            async for _ in snapshots:
                pass

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(one, name)


async def register_for_ever(registry: ConsulRegistry) -> None:
    while True:
        with suppress(RegistryUnavailable):
            await registry.register(record("a"), ttl=90)
        await anyio.sleep(0.05)


def once_a_second(gaps: list[float]) -> bool:
    """Whether no two requests were closer than a second, and none was waited for in vain."""
    return min(gaps) >= 1 and max(gaps) <= 1.25


@simulated
async def test_answers_of_500_cost_one_request_a_second_however_many_watch() -> None:
    async with (
        scripted(lambda asked: answer(entries("a")) if not asked.index else (500, {}, b"No cluster leader")) as server,
        registry_at(server.address) as registry,
        anyio.create_task_group() as group,
    ):
        group.start_soon(follow, registry, "greeter", "one", "two", "three")
        await anyio.sleep(60)
        assert once_a_second(server.gaps(8))
        group.cancel_scope.cancel()


@simulated
async def test_an_agent_that_is_not_there_is_asked_once_a_second() -> None:
    def hang_up(asked: Asked) -> Reply:
        raise HangUp

    async with (
        scripted(hang_up) as server,
        registry_at(server.address) as registry,
        anyio.create_task_group() as group,
    ):
        group.start_soon(follow, registry, "greeter", "one", "two")
        group.start_soon(register_for_ever, registry)
        await anyio.sleep(60)
        assert once_a_second(server.gaps(4))
        group.cancel_scope.cancel()


@pytest.mark.parametrize("grows", [False, True], ids=["index stays", "grows"])
@simulated
async def test_a_server_that_spins_is_asked_once_a_second(grows: bool) -> None:
    async with (
        scripted(lambda asked: answer(entries("a"), asked.index + 1 if grows else 7)) as server,
        registry_at(server.address) as registry,
        registry.watch("greeter") as snapshots,
    ):
        await until(snapshots, lambda seen: ids(seen) == {"a"})
        await anyio.sleep(60)
        assert once_a_second(server.gaps(14 if grows else 3))


@TWO
async def test_an_index_that_goes_backwards_starts_anew_and_none_is_below_1() -> None:
    indices = iter([50, 60, 20, 20])

    async def script(asked: Asked) -> Reply:
        index = next(indices, 0)
        if not index:
            await anyio.sleep_forever()
        return answer(entries(f"a{index}"), index)

    async with (
        scripted(script) as server,
        registry_at(server.address) as registry,
        registry.watch("greeter") as snapshots,
    ):
        await until(snapshots, lambda seen: ids(seen) == {"a20"})
        await eventually(lambda: len(server.asked) == 5, within=20)
        assert [asked.index for asked in server.asked] == [0, 50, 60, 0, 20]
    async with (
        scripted(lambda asked: answer(entries("a"), 0)) as zero,
        registry_at(zero.address) as registry,
        registry.watch("greeter"),
    ):
        await eventually(lambda: len(zero.asked) >= 2, within=20)
        assert zero.asked[1].index == 1


@TWO
async def test_an_empty_list_is_no_goodbye() -> None:
    def script(asked: Asked) -> Reply:
        return answer([] if len(server.asked) > 1 else entries("a"), len(server.asked))

    async with (
        scripted(script) as server,
        registry_at(server.address) as registry,
        registry.watch("greeter") as snapshots,
    ):
        empty = await until(snapshots, lambda seen: not ids(seen))
        assert empty == Snapshot(())


@pytest.mark.parametrize(
    "nonsense",
    [
        (200, {}, b"<html>"),
        (200, {}, b"[" * 100_000),
        (200, {}, b'{"not": "a list"}'),
        (404, {}, b""),
        (301, {"Location": "http://127.0.0.1:1/"}, b""),
        (200, {"Content-Length": "1000"}, b"cut short"),
        (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"),
        (429, {}, b"Your IP is issuing too many concurrent connections"),
    ],
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nonsense_is_unavailable(nonsense: Reply) -> None:
    async with scripted(lambda asked: (nonsense[0], {"Connection": "close", **nonsense[1]}, nonsense[2])) as server:
        async with registry_at(server.address) as registry:
            with pytest.raises(RegistryUnavailable, match=server.address):
                await registry.get_service("greeter")
        async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
            assert (await until(snapshots, lambda seen: True)).stale_since is not None


async def hang(asked: Asked) -> Reply:
    await anyio.sleep_forever()
    raise AssertionError


@simulated
async def test_an_agent_that_hangs_costs_a_lookup_a_second_and_a_registration_its_timeout() -> None:
    async with scripted(hang) as server, registry_at(server.address) as registry:
        began = anyio.current_time()
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            await registry.get_service("greeter")
        assert anyio.current_time() - began == pytest.approx(1)
        began = anyio.current_time()
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            await registry.register(record("a"), ttl=90)
        assert anyio.current_time() - began == pytest.approx(2)


@simulated
async def test_a_node_is_beaten_for_three_times_in_its_liveness() -> None:
    def script(asked: Asked) -> Reply:
        return answer({"a": {"Service": "greeter"}} if asked.path == "/v1/agent/services" else None)

    async with scripted(script) as server, registry_at(server.address, liveness=0.9) as registry:
        await registry.register(record("a"), ttl=90)
        await anyio.sleep(30)
        beats = [asked.at for asked in server.asked if "check/pass" in asked.path]
        assert len(beats) > 90
        assert max(later - earlier for earlier, later in pairwise(beats)) <= 0.3


@simulated
async def test_a_server_that_cannot_make_up_its_mind_is_asked_seldom() -> None:
    def script(asked: Asked) -> Reply:
        return answer([] if asked.index else entries("a"), len(server.asked))

    async with (
        scripted(script) as server,
        registry_at(server.address) as registry,
        registry.watch("greeter") as snapshots,
    ):
        assert ids(await until(snapshots, lambda seen: True)) == {"a"}
        await anyio.sleep(60)
        assert len(server.asked) < 150
