"""The store of registry `memory`: sharing, time, watchers on other loops."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from typing import Any

import anyio
import pytest
from anyio import from_thread, to_thread
from micro_core import Endpoint, Node, NotRegistered, Reach, Registry, ServiceRecord, Snapshot
from micro_core.loader import load
from micro_registry_memory import MemoryRegistry

pytestmark = pytest.mark.anyio
_fresh = count()


def make(address: str) -> MemoryRegistry:
    return MemoryRegistry(MemoryRegistry.Options(address))


@pytest.fixture
def address() -> str:
    return f"test-{next(_fresh)}"


def greeter(*ids: str, version: str = "1", name: str = "greeter", **metadata: str) -> ServiceRecord:
    return ServiceRecord(name, version, tuple(Node(key, "127.0.0.1:1", metadata) for key in ids))


def ids(snapshot: Snapshot) -> set[str]:
    return {node.id for record in snapshot.services for node in record.nodes}


async def until(snapshots: AsyncIterator[Snapshot], wanted: set[str], within: float = 2.0) -> Snapshot:
    with anyio.fail_after(within):
        async for snapshot in snapshots:
            if ids(snapshot) == wanted:
                return snapshot
    raise AssertionError("the watch ended")


def test_it_is_found_by_name() -> None:
    loaded = load("registry", "memory")
    assert loaded.cls is MemoryRegistry
    assert loaded.cls.reach is Reach.PROCESS


async def test_registries_of_one_address_share_and_others_do_not(address: str) -> None:
    async with make(address) as one, make(address) as two, make(address + "x") as other:
        await one.register(greeter("a"), ttl=60)
        assert await two.get_service("greeter") == (greeter("a"),)
        with pytest.raises(NotRegistered, match="greeter"):
            await other.get_service("greeter")


async def test_records_outlive_the_registry_that_registered_them(address: str) -> None:
    async with make(address) as one:
        await one.register(greeter("a"), ttl=0)
    assert await make(address).get_service("greeter") == (greeter("a"),)


async def test_versions_and_nodes_stay_beside_each_other(address: str) -> None:
    registry = make(address)
    for record in (greeter("b", version="2"), greeter("a"), greeter("c")):
        await registry.register(record, ttl=60)
    assert await registry.get_service("greeter") == (greeter("a", "c"), greeter("b", version="2"))
    assert [record.name for record in await registry.list_services()] == ["greeter", "greeter"]


async def test_of_records_that_differ_within_a_version_the_last_changed_counts(address: str) -> None:
    registry = make(address)
    old, new = (replace(greeter(key), endpoints=(Endpoint(f"Say.{key}"),)) for key in ("a", "b"))
    for record in (old, new, old, replace(new, endpoints=()), old):
        await registry.register(record, ttl=60)
    assert (await registry.get_service("greeter"))[0].endpoints == ()
    changed = replace(old, endpoints=(Endpoint("Say.New"),))
    await registry.register(changed, ttl=60)
    assert (await registry.get_service("greeter"))[0].endpoints == changed.endpoints


async def test_a_node_that_changes_its_version_leaves_the_old_one(address: str) -> None:
    registry = make(address)
    await registry.register(greeter("a"), ttl=60)
    await registry.register(greeter("a", version="2"), ttl=60)
    assert await registry.get_service("greeter") == (greeter("a", version="2"),)


@pytest.mark.parametrize(
    "record",
    [
        ServiceRecord("", "1", (Node("a", "h:1"),)),
        ServiceRecord("greeter", "", (Node("a", "h:1"),)),
        ServiceRecord("greeter", "1", (Node("", "h:1"),)),
        ServiceRecord("greeter", "1", (Node("a", ""),)),
    ],
)
async def test_half_a_record_is_refused(address: str, record: ServiceRecord) -> None:
    with pytest.raises(ValueError, match="needs"):
        await make(address).register(record, ttl=1)


@pytest.mark.parametrize("ttl", [-1.0, float("inf"), float("nan")])
async def test_a_ttl_is_a_number_of_seconds(address: str, ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        await make(address).register(greeter("a"), ttl=ttl)


async def test_a_watcher_sees_the_end_of_a_record_though_nobody_calls(address: str) -> None:
    registry = make(address)
    async with registry.watch("greeter") as snapshots, registry.watch(None) as all_of_them:
        await registry.register(greeter("a"), ttl=0.2)
        await registry.register(greeter("b"), ttl=60)
        await until(snapshots, {"a", "b"})
        last = await until(snapshots, {"b"})
        assert last.departed == frozenset()
        assert last.stale_since is None
        await until(all_of_them, {"b"})


async def test_a_heartbeat_prolongs_and_wakes_nobody(address: str) -> None:
    registry = make(address)
    await registry.register(greeter("a"), ttl=0.8)
    async with registry.watch("greeter") as snapshots:
        await until(snapshots, {"a"})
        for _ in range(5):
            await registry.register(greeter("a"), ttl=0.8)
            with anyio.move_on_after(0.2) as waiting:
                await anext(snapshots)
            assert waiting.cancelled_caught
        await until(snapshots, set())


async def test_the_first_snapshot_comes_at_once_even_for_an_unknown_name(address: str) -> None:
    async with make(address).watch("nobody") as snapshots:
        with anyio.fail_after(1):
            assert await anext(snapshots) == Snapshot(())


async def test_a_goodbye_is_departed_until_the_node_returns(address: str) -> None:
    registry = make(address)
    await registry.register(greeter("a", "b"), ttl=60)
    async with registry.watch("greeter") as snapshots:
        await until(snapshots, {"a", "b"})
        await registry.deregister(greeter("a", "stranger"))
        assert (await until(snapshots, {"b"})).departed == {"a"}
        await registry.register(greeter("a"), ttl=60)
        assert (await until(snapshots, {"a", "b"})).departed == frozenset()


async def test_quick_changes_are_joined_and_other_names_stay_out(address: str) -> None:
    registry = make(address)
    async with registry.watch("greeter") as snapshots:
        await anext(snapshots)
        for number in range(100):
            await registry.register(greeter(f"n{number}"), ttl=60)
            await registry.register(greeter("x", name="other"), ttl=60)
        assert len(ids(await anext(snapshots))) == 100
        with anyio.move_on_after(0.05) as waiting:
            await anext(snapshots)
        assert waiting.cancelled_caught


async def test_a_cancelled_wait_loses_nothing(address: str) -> None:
    registry = make(address)
    async with registry.watch("greeter") as snapshots:
        await anext(snapshots)
        with anyio.move_on_after(0.01):
            await anext(snapshots)
        await registry.register(greeter("a"), ttl=60)
        await until(snapshots, {"a"})


async def test_leaving_the_block_ends_the_watch(address: str) -> None:
    registry = make(address)
    async with registry.watch(None) as snapshots:
        await anext(snapshots)
    await registry.register(greeter("a"), ttl=60)
    with pytest.raises(StopAsyncIteration):
        await anext(snapshots)
    assert registry._store._observers == []


async def test_the_users_exception_comes_out_as_it_is(address: str) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with make(address) as registry, registry.watch(None):
            raise KeyError("mine")


@pytest.mark.parametrize("other", ["asyncio", "trio"])
async def test_another_event_loop_sees_changes_and_is_seen(address: str, other: Any) -> None:
    registry = make(address)
    started = time.monotonic()
    ready = threading.Event()

    async def elsewhere() -> None:
        theirs = make(address)
        async with theirs.watch("greeter") as snapshots:
            await until(snapshots, set())
            ready.set()
            await until(snapshots, {"a"}, 5)
            await theirs.register(greeter("b"), ttl=60)
            await until(snapshots, {"b"}, 5)

    async with anyio.create_task_group() as group, registry.watch("greeter") as snapshots:
        group.start_soon(to_thread.run_sync, lambda: anyio.run(elsewhere, backend=other))
        assert await to_thread.run_sync(ready.wait, 5)
        await registry.register(greeter("a"), ttl=60)
        await until(snapshots, {"a", "b"}, 5)
        await registry.deregister(greeter("a"))
    assert time.monotonic() - started < 3, "it was a timer that woke them, not the change"


async def test_a_watch_left_behind_by_a_finished_loop_disturbs_nobody(address: str) -> None:
    left: list[Any] = []

    async def leave() -> None:
        watch = make(address).watch(None)
        snapshots = await watch.__aenter__()
        await anext(snapshots)
        left.append(watch)

    await to_thread.run_sync(lambda: anyio.run(leave))
    registry: Registry = make(address)
    await registry.register(greeter("a"), ttl=60)
    assert await registry.get_service("greeter") == (greeter("a"),)


async def test_threads_register_at_once(address: str) -> None:
    registry = make(address)

    def work(thread: int) -> None:
        for number in range(50):
            from_thread.run(registry_put, f"{thread}-{number}")

    async def registry_put(key: str) -> None:
        await registry.register(greeter(key), ttl=60)

    async with anyio.create_task_group() as group:
        for thread in range(4):
            group.start_soon(to_thread.run_sync, work, thread)
    assert len((await registry.get_service("greeter"))[0].nodes) == 200
