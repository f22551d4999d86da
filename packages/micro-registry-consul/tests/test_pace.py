"""How often Consul is asked, and what is believed of servers that are no agents, played by a scripted one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from micro_conformance.polling import eventually
from micro_core import Node, RegistryUnavailable, ServiceRecord, Snapshot
from micro_registry_consul import ConsulRegistry
from scripted import Asked, Script, Scripted, answer

pytestmark = pytest.mark.anyio
TWO = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
StartScripted = Callable[[Script], Scripted]


def registry_at(*addresses: str, **options: Any) -> ConsulRegistry:
    return ConsulRegistry(ConsulRegistry.Options(address=addresses, **options))


def record(*ids: str, name: str = "greeter") -> ServiceRecord:
    return ServiceRecord(name, "1", tuple(Node(id, f"127.0.0.1:{9000 + at}") for at, id in enumerate(ids)))


def ids(snapshot: Snapshot) -> set[str]:
    return {node.id for service in snapshot.services for node in service.nodes}


async def until(
    snapshots: AsyncIterator[Snapshot], wanted: Callable[[Snapshot], bool], within: float = 5.0
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


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_answers_of_500_cost_one_request_a_second_however_many_watch(
    scripted: StartScripted, caplog: pytest.LogCaptureFixture
) -> None:
    server = scripted(lambda asked: answer(entries("a")) if not asked.index else (500, {}, b"No cluster leader"))
    async with registry_at(server.address) as registry, anyio.create_task_group() as group:
        for name in ("greeter", "one", "two", "three"):
            group.start_soon(follow, registry, name)
        await eventually(lambda: len(server.asked) >= 8, within=3)
        await anyio.sleep(3)
        assert server.count(2.5) <= 3
        group.cancel_scope.cancel()
    assert sum("No cluster leader" in entry.message for entry in caplog.records) == 1


async def follow(registry: ConsulRegistry, name: str) -> None:
    async with registry.watch(name) as snapshots:
        async for _ in snapshots:
            pass


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_agent_that_is_not_there_is_asked_once_a_second(scripted: StartScripted) -> None:
    def hang_up(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        raise ConnectionResetError

    server = scripted(hang_up)
    async with registry_at(server.address) as registry, anyio.create_task_group() as group:
        for name in ("greeter", "one", "two"):
            group.start_soon(follow, registry, name)
        group.start_soon(register_for_ever, registry)
        await anyio.sleep(1)
        before = len(server.asked)
        await anyio.sleep(2.6)
        assert 1 <= len(server.asked) - before <= 3
        group.cancel_scope.cancel()


async def register_for_ever(registry: ConsulRegistry) -> None:
    while True:
        with pytest.raises(RegistryUnavailable):
            await registry.register(record("a"), ttl=90)
        await anyio.sleep(0.05)


@pytest.mark.parametrize(("grows", "anyio_backend"), [(False, "asyncio"), (True, "trio")], ids=["index stays", "grows"])
async def test_a_server_that_spins_is_asked_once_a_second(scripted: StartScripted, grows: bool) -> None:
    server = scripted(lambda asked: answer(entries("a"), asked.index + 1 if grows else 7))
    async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
        await until(snapshots, lambda seen: ids(seen) == {"a"})
        await anyio.sleep(0.5)
        before = len(server.asked)
        await anyio.sleep(2.6)
        assert len(server.asked) - before <= 3
    assert len(server.asked) <= (15 if grows else 5)


@TWO
async def test_an_index_that_goes_backwards_starts_anew_and_none_is_below_1(scripted: StartScripted) -> None:
    indices = iter([50, 60, 20, 20])

    def script(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        index = next(indices, 0)
        if not index:
            time.sleep(5)
        return answer(entries(f"a{index}"), index)

    server = scripted(script)
    async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
        await until(snapshots, lambda seen: ids(seen) == {"a20"})
        await eventually(lambda: len(server.asked) == 5, within=3)
    assert [asked.index for asked in server.asked] == [0, 50, 60, 0, 20]
    zero = scripted(lambda asked: answer(entries("a"), 0))
    async with registry_at(zero.address) as registry, registry.watch("greeter"):
        await eventually(lambda: len(zero.asked) == 2, within=3)
    assert zero.asked[1].index == 1


@TWO
async def test_an_empty_list_is_no_goodbye(scripted: StartScripted) -> None:
    server = scripted(lambda asked: answer([] if len(server.asked) > 1 else entries("a"), len(server.asked)))
    async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
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
async def test_nonsense_is_unavailable(scripted: StartScripted, nonsense: tuple[int, dict[str, str], bytes]) -> None:
    def script(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        return (nonsense[0], {"Connection": "close", **nonsense[1]}, nonsense[2])

    server = scripted(script)
    async with registry_at(server.address) as registry:
        with pytest.raises(RegistryUnavailable, match=server.address):
            await registry.get_service("greeter")
    async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
        assert (await until(snapshots, lambda seen: True)).stale_since is not None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_that_cannot_make_up_its_mind_is_asked_seldom(scripted: StartScripted) -> None:
    server = scripted(lambda asked: answer([] if asked.index else entries("a"), len(server.asked)))
    async with registry_at(server.address) as registry, registry.watch("greeter") as snapshots:
        assert ids(await until(snapshots, lambda seen: True)) == {"a"}
        await anyio.sleep(2)
    assert len(server.asked) < 30
