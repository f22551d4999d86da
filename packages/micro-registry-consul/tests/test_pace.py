"""How often Consul is asked, and what is believed of servers that are no agents, played by a scripted one."""

from __future__ import annotations

import json
from collections import Counter
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
        await anyio.sleep(30)
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
        await anyio.sleep(30)
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
        await anyio.sleep(30)
        assert once_a_second(server.gaps(12 if grows else 1))


@simulated
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


@simulated
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


@pytest.mark.parametrize("missing", [(404, {}, b"Unknown check"), (500, {}, b"Internal error")])
@simulated
async def test_an_agent_that_forgets_each_registration_at_once_is_asked_once_a_second(missing: Reply) -> None:
    forgets = False

    def script(asked: Asked) -> Reply:
        if forgets and "check/pass" in asked.path:
            return missing
        return answer({} if asked.path == "/v1/agent/services" else None)

    async with scripted(script) as server, registry_at(server.address) as registry:
        for id in ("a", "b", "c"):
            await registry.register(record(id), ttl=90)
        forgets = True
        await anyio.sleep(10)
        before = len(server.asked)
        await anyio.sleep(60)
        assert 30 <= len(server.asked) - before <= 60


@pytest.mark.parametrize("unknown", [(404, {}, b"Unknown check ID"), (500, {}, b"Unknown check")])
@simulated
async def test_nodes_are_registered_again_within_5_s_of_an_agents_return_with_nothing(unknown: Reply) -> None:
    down, known = False, set[str]()

    async def script(asked: Asked) -> Reply:
        if down:
            raise HangUp
        id = asked.path.rpartition(":" if "check/pass" in asked.path else "/")[2].partition("?")[0]
        if asked.path.endswith("/service/register"):
            known.add(json.loads(asked.body)["id"])
        if "check/pass" in asked.path and id not in known:
            return unknown
        if asked.index:
            await anyio.sleep(30)
        return answer({} if asked.path == "/v1/agent/services" else [] if "health" in asked.path else None)

    async with (
        scripted(script) as server,
        registry_at(server.address) as registry,
        anyio.create_task_group() as group,
    ):
        for id in ("a", "b", "c"):
            await registry.register(record(id), ttl=900)
        group.start_soon(follow, registry, "greeter", "one", "two", "three")
        for outage in (1.0, 10.0, 61.3):
            await anyio.sleep(40)
            down = True
            known.clear()
            await anyio.sleep(outage)
            down = False
            await anyio.sleep(5)
            assert known == {"a", "b", "c"}
        group.cancel_scope.cancel()


def flapping(*lists: list[Any]) -> Callable[[Asked, int], Reply]:
    """Lists in turn, with an index that grows."""
    return lambda asked, at: answer(lists[at % len(lists)], at + 1)


def resetting(*indices: int) -> Callable[[Asked, int], Reply]:
    """One list, with indices in turn."""
    return lambda asked, at: answer(entries("a"), indices[at % len(indices)])


def renewing(asked: Asked, at: int) -> Reply:
    """Another list at each answer, with an index that goes backwards each time."""
    return answer(entries(f"a{at}"), 1_000_000 - at)


def cutting_off(asked: Asked, at: int) -> Reply:
    """An answer to who does not wait, none to who does."""
    if asked.index:
        raise HangUp
    return answer(entries("a"))


A, NONE = entries("a"), entries()
FAULTS = {
    "empty, then not": flapping(A, NONE),
    "empty twice": flapping(A, NONE, NONE),
    "seldom there": flapping(A, NONE, NONE, NONE, NONE),
    "seldom empty": flapping(A, entries("a", "b"), A, NONE),
    "one reset after the other": resetting(100, 5),
    "resets after growth": resetting(100, 200, 300, 5),
    "resets to nothing": resetting(100, 0),
    "no index": lambda asked, at: (200, {}, json.dumps(A).encode()),
    "every answer another, backwards": renewing,
    "cut off": cutting_off,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("names", [("greeter",), ("greeter", "one", "two", "three")])
@simulated
async def test_a_server_that_contradicts_itself_is_asked_once_a_second_in_all(
    fault: str, names: tuple[str, ...]
) -> None:
    counts: Counter[str] = Counter()

    def script(asked: Asked) -> Reply:
        name = asked.path.partition("?")[0].rpartition("/")[2]
        counts[name] += 1
        status, headers, content = FAULTS[fault](asked, counts[name] - 1)
        return status, headers, content.replace(b"greeter", name.encode())

    async with (
        scripted(script) as server,
        registry_at(server.address) as registry,
        anyio.create_task_group() as group,
    ):
        group.start_soon(follow, registry, *names)
        await anyio.sleep(30)
        assert once_a_second(server.gaps(len(names) * 4))
        group.cancel_scope.cancel()


@simulated
async def test_an_agent_that_empties_and_resets_after_long_queries_is_asked_again_at_once_and_then_in_turn() -> None:
    lists = iter([(A, 9), (NONE, 12), (NONE, 3), (A, 2), (A, 5)])

    async def script(asked: Asked) -> Reply:
        value, index = next(lists, (A, 0))
        await anyio.sleep(0 if not asked.index else 5 if index else 1e9)
        return answer(value, index)

    async with (
        scripted(script) as server,
        registry_at(server.address) as registry,
        registry.watch("greeter") as snapshots,
    ):
        assert ids(await until(snapshots, lambda seen: True)) == {"a"}
        began = anyio.current_time()
        await until(snapshots, lambda seen: not ids(seen))
        assert anyio.current_time() - began == pytest.approx(5, abs=0.1)
        assert ids(await until(snapshots, lambda seen: bool(ids(seen)))) == {"a"}
        await anyio.sleep(20)
    assert [asked.index for asked in server.asked] == [0, 9, 0, 3, 0, 5]
    assert server.gaps()[0] < 0.1
    assert min(server.gaps()[1:]) >= 1


@simulated
async def test_news_that_do_not_end_are_followed_at_once_fifty_times_and_then_five_times_a_second() -> None:
    def script(asked: Asked) -> Reply:
        return answer(entries(f"a{asked.index}"), asked.index + 1)

    async with (
        scripted(script) as server,
        registry_at(server.address) as registry,
        registry.watch("greeter"),
    ):
        await anyio.sleep(15)
    assert server.asked[50].at - server.asked[0].at < 1
    assert min(server.gaps(60)) == pytest.approx(0.2)


@simulated
async def test_a_deployment_of_fifty_nodes_is_followed_within_a_fifth_of_a_second_each() -> None:
    nodes, index, changed = 0, 1, anyio.Event()

    async def script(asked: Asked) -> Reply:
        if asked.index >= index:
            await changed.wait()
        return answer([*entries(*(f"a{at}" for at in range(nodes))), {"Service": None, "at": index}], index)

    async with (
        scripted(script) as server,
        registry_at(server.address) as registry,
        registry.watch("greeter") as snapshots,
    ):
        await anext(snapshots)
        for nodes in range(1, 51):
            for _ in range(3):  # a registration, its check, another's goodbye
                index += 1
                changed.set()
                changed = anyio.Event()
                await anyio.sleep(0.05)
            seen_at = anyio.current_time()
            await until(snapshots, lambda seen: len(ids(seen)) == nodes)  # noqa: B023
            assert anyio.current_time() - seen_at <= 0.25
