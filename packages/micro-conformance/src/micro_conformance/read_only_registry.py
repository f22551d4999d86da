"""The sentences of `micro_core.Registry` for registries whose records come from outside: a file, DNS, an inventory.

A plugin gives two factories: `make_registry`, and `plant`, which puts records where the registries read.

    class TestStaticRegistry(ReadOnlyRegistryConformance):
        plugin = ("registry", "static")

        @pytest.fixture
        def make_registry(self, path):
            return lambda: StaticRegistry(StaticRegistry.Options(path))

        @pytest.fixture
        def plant(self, path):
            async def plant(*records): path.write_text(as_toml(records))
            return plant
"""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, ClassVar, Protocol, TypeAlias

import anyio
import pytest
from micro_core import Node, NotRegistered, Registry, RegistryUnavailable, ServiceRecord, Snapshot

from micro_conformance.polling import eventually, steadily
from micro_conformance.records import FOR_EVER, snapshot_until
from micro_conformance.suite import ComponentSuite, Make, bounded, under_plain_asyncio, unique

MakeRegistry: TypeAlias = Callable[[], AbstractAsyncContextManager[Registry]]
Switch: TypeAlias = Callable[[], Awaitable[None]]
Seen: TypeAlias = set[tuple[str, str]]


class PlantRecords(Protocol):
    """Replaces everything at the place where the registries of the test read."""

    async def __call__(self, *records: ServiceRecord) -> None:
        """Puts these records there, and no others."""
        ...


def planted(name: str, *ports: int, version: str = "1") -> ServiceRecord:
    """A record with a node per port. Its ids need not be kept: places such as DNS know none."""
    return ServiceRecord(name, version, tuple(Node(f"127.0.0.1:{port}", f"127.0.0.1:{port}") for port in ports))


def places(records: Iterable[ServiceRecord]) -> Seen:
    """Name and address of every node."""
    return {(record.name, node.address) for record in records for node in record.nodes}


def node_ids(records: Iterable[ServiceRecord]) -> dict[tuple[str, str], str]:
    """Ids by name and address."""
    return {(record.name, node.address): node.id for record in records for node in record.nodes}


class ReadOnlyRegistryConformance(ComponentSuite):
    """Every sentence of `Registry` that holds where `read_only` is true, one test each.

    Attributes:
        settles_within: seconds until a registry that has looked before sees what was planted.
        knows_versions: whether records keep their version; else all are one version.
        exact_case: whether names that differ in case are different names.
        lists: whether it knows every name, for `list_services` and `watch(None)`.
        says_goodbye: whether a node that was taken out has departed; else it is merely absent.
    """

    settles_within: ClassVar[float] = 2.0
    knows_versions: ClassVar[bool] = True
    exact_case: ClassVar[bool] = True
    lists: ClassVar[bool] = True
    says_goodbye: ClassVar[bool] = False

    @pytest.fixture
    def make_registry(self) -> MakeRegistry:
        """The factory that every plugin gives; registries made one after another read at the same place."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture make_registry")

    @pytest.fixture
    def plant(self) -> PlantRecords:
        """The factory of records, which every plugin gives; called without any it leaves none."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture plant")

    @pytest.fixture
    def silence(self) -> Switch | None:
        """After it the place does not answer, until records are planted again; None where it always does."""
        return None

    @pytest.fixture
    def make_component(self, make_registry: MakeRegistry) -> Make:
        return make_registry

    async def knows(self, registry: Registry, name: str, *ports: int) -> None:
        """Waits until the name has nodes at exactly those ports."""

        async def check() -> bool:
            assert await _found(registry, name) == places([planted(name, *ports)])
            return True

        await eventually(check, within=self.settles_within)

    # it is read-only

    @bounded
    async def test_it_says_that_it_is_read_only(self, make_registry: MakeRegistry) -> None:
        async with make_registry() as registry:
            assert registry.read_only

    @bounded
    async def test_register_does_nothing(self, make_registry: MakeRegistry, plant: PlantRecords) -> None:
        name, other = unique("greeter"), unique("other")
        await plant(planted(name, 7001))
        async with make_registry() as registry:
            await self.knows(registry, name, 7001)
            await registry.register(planted(name, 7002), ttl=FOR_EVER)
            await registry.register(planted(other, 7003), ttl=0)
            await self.knows(registry, name, 7001)
            assert not await _found(registry, other)

    @bounded
    async def test_deregister_does_nothing(self, make_registry: MakeRegistry, plant: PlantRecords) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001))
        async with make_registry() as registry:
            await self.knows(registry, name, 7001)
            for record in await registry.get_service(name):
                await registry.deregister(record)
            await steadily(lambda: _found(registry, name), during=0.2)

    # get_service and list_services

    @bounded
    async def test_get_service_gives_the_nodes_that_were_planted(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        name, other = unique("greeter"), unique("other")
        await plant(planted(name, 7001, 7002), planted(other, 7003))
        async with make_registry() as registry:
            for record in await registry.get_service(name):
                assert record.name == name
                assert record.version, "a record has a version, `latest` where none is known"
                assert all(node.id for node in record.nodes)
            await self.knows(registry, name, 7001, 7002)
            await self.knows(registry, other, 7003)

    @bounded
    async def test_get_service_gives_one_record_per_version(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        if not self.knows_versions:
            pytest.skip("declared: knows no versions")
        name = unique("greeter")
        await plant(planted(name, 7001), planted(name, 7002, 7003, version="2"))
        async with make_registry() as registry:
            found = {record.version: places([record]) for record in await registry.get_service(name)}
        assert found == {"1": places([planted(name, 7001)]), "2": places([planted(name, 7002, 7003)])}

    @bounded
    async def test_ids_are_the_same_in_every_registry_and_after_every_change(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001, 7002))
        async with make_registry() as one, make_registry() as other:
            before = node_ids(await one.get_service(name))
            assert len(set(before.values())) == 2, "each node has an id of its own"
            assert node_ids(await other.get_service(name)) == before
            await plant(planted(name, 7002, 7003))
            await self.knows(one, name, 7002, 7003)
            after = node_ids(await one.get_service(name))
            assert after[name, "127.0.0.1:7002"] == before[name, "127.0.0.1:7002"]

    @bounded
    async def test_names_are_compared_exactly(self, make_registry: MakeRegistry, plant: PlantRecords) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001))
        async with make_registry() as registry:
            await self.knows(registry, name, 7001)
            others = [name[:-1], f"{name}x", "", *([name.upper(), name.title()] if self.exact_case else [])]
            for other in others:
                with pytest.raises(NotRegistered):
                    await registry.get_service(other)

    @bounded
    async def test_an_unknown_name_is_not_registered_within_about_a_second(self, make_registry: MakeRegistry) -> None:
        async with make_registry() as registry:
            with anyio.move_on_after(1.5) as scope:
                with pytest.raises(NotRegistered):
                    await registry.get_service(unique("nobody"))
            assert not scope.cancelled_caught, "it waits longer than a second"

    @bounded
    async def test_a_name_without_nodes_is_not_registered(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        name = unique("greeter")
        await plant(planted(name))
        async with make_registry() as registry:
            with pytest.raises(NotRegistered):
                await registry.get_service(name)

    @bounded
    async def test_list_services_gives_every_name(self, make_registry: MakeRegistry, plant: PlantRecords) -> None:
        if not self.lists:
            pytest.skip("declared: cannot list")
        name, other = unique("greeter"), unique("other")
        await plant(planted(name, 7001), planted(other, 7002))
        async with make_registry() as registry:
            assert {name, other} <= {record.name for record in await registry.list_services()}

    # watch

    @bounded
    async def test_the_first_snapshot_comes_at_once_and_is_complete(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001, 7002))
        async with make_registry() as registry:
            for watched in (name, None) if self.lists else (name,):
                async with registry.watch(watched) as snapshots:
                    with anyio.fail_after(1.5):
                        first = await anext(snapshots)
                    assert places(first.services) >= places([planted(name, 7001, 7002)])
                    assert first.stale_since is None

    @bounded
    async def test_a_snapshot_comes_after_each_change(self, make_registry: MakeRegistry, plant: PlantRecords) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001))
        async with make_registry() as registry, registry.watch(name) as snapshots:
            for ports in ((7001,), (7001, 7002), (7002,), (), (7001,)):
                await plant(planted(name, *ports))
                await snapshot_until(snapshots, _shows(name, *ports), self.settles_within)

    @bounded
    async def test_the_last_state_is_always_delivered(self, make_registry: MakeRegistry, plant: PlantRecords) -> None:
        name = unique("greeter")
        await plant(planted(name, 7000))
        async with make_registry() as registry, registry.watch(name) as snapshots:
            await snapshot_until(snapshots, _shows(name, 7000), self.settles_within)
            for port in range(7001, 7021):
                await plant(planted(name, port))
                await anyio.sleep(0.001)
            await snapshot_until(snapshots, _shows(name, 7020), self.settles_within)

    @bounded
    async def test_a_node_that_is_taken_out_has_departed_where_that_is_a_goodbye(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001, 7002))
        async with make_registry() as registry, registry.watch(name) as snapshots:
            first = await snapshot_until(snapshots, _shows(name, 7001, 7002), self.settles_within)
            gone = node_ids(first.services)[name, "127.0.0.1:7001"]
            await plant(planted(name, 7002))
            last = await snapshot_until(snapshots, _shows(name, 7002), self.settles_within)
            assert last.departed == ({gone} if self.says_goodbye else frozenset())
            await plant(planted(name, 7001, 7002))
            last = await snapshot_until(snapshots, _shows(name, 7001, 7002), self.settles_within)
            assert not last.departed, "it came back"

    @bounded
    async def test_an_unknown_name_is_an_empty_snapshot(self, make_registry: MakeRegistry) -> None:
        async with make_registry() as registry, registry.watch(unique("nobody")) as snapshots:
            with anyio.fail_after(1.5):
                first = await anext(snapshots)
            assert not places(first.services)
            assert first.stale_since is None

    @bounded
    async def test_a_watch_of_one_name_shows_that_name_alone(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001), planted(unique("other"), 7002))
        async with make_registry() as registry, registry.watch(name) as snapshots:
            await snapshot_until(snapshots, _shows(name, 7001), self.settles_within)

    @bounded
    async def test_leaving_the_block_stops_the_watch_also_when_cancelled(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001))
        async with make_registry() as registry:
            for _ in range(3):
                with anyio.move_on_after(0.1) as scope:
                    async with registry.watch(name) as snapshots:
                        async for _snapshot in snapshots:
                            pass
                assert scope.cancelled_caught, "the watch ended by itself"
            await self.knows(registry, name, 7001)

    # the place does not answer

    @bounded
    async def test_while_it_does_not_answer_one_snapshot_says_so_and_holds_what_was_known_last(
        self, make_registry: MakeRegistry, plant: PlantRecords, silence: Switch | None
    ) -> None:
        if silence is None:
            pytest.skip("declared: the place always answers (silence)")
        name = unique("greeter")
        seen: list[Snapshot] = []
        await plant(planted(name, 7001))
        async with make_registry() as registry, registry.watch(name) as snapshots, anyio.create_task_group() as group:

            async def collect() -> None:
                async for snapshot in snapshots:
                    seen.append(snapshot)  # noqa: PERF401 - it is looked at while it grows

            group.start_soon(collect)
            await eventually(lambda: seen and _shows(name, 7001)(seen[-1]), within=self.settles_within)
            await silence()
            await eventually(lambda: seen[-1].stale_since is not None, within=self.settles_within)
            stale, count = seen[-1], len(seen)
            await steadily(lambda: len(seen) == count, during=0.3)
            await plant(planted(name, 7001))
            await eventually(lambda: seen[-1].stale_since is None, within=self.settles_within)
            group.cancel_scope.cancel()
        assert places(stale.services) == places(seen[-1].services) == places([planted(name, 7001)])
        assert not stale.departed
        assert not seen[-1].departed

    # all methods

    @bounded
    async def test_every_method_may_be_called_by_many_tasks_at_once(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001))

        async def work() -> None:
            async with registry.watch(name) as snapshots:
                await registry.list_services()
                await self.knows(registry, name, 7001)
                await snapshot_until(snapshots, _shows(name, 7001, 7002), self.settles_within)

        async with make_registry() as registry, anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(work)
            await anyio.sleep(0.05)
            await plant(planted(name, 7001, 7002))
            await self.knows(registry, name, 7001, 7002)

    @bounded
    async def test_a_cancelled_call_leaves_the_registry_as_usable_as_before(
        self, make_registry: MakeRegistry, plant: PlantRecords
    ) -> None:
        name = unique("greeter")
        await plant(planted(name, 7001))
        async with make_registry() as registry:
            calls: tuple[Callable[[], Awaitable[Any]], ...] = (
                lambda: registry.get_service(name),
                registry.list_services,
                lambda: registry.register(planted(name, 7002), ttl=FOR_EVER),
                lambda: registry.deregister(planted(name, 7002)),
            )
            for call in calls:
                for patience in (0.0, 0.001):
                    with anyio.move_on_after(patience), suppress(NotRegistered, RegistryUnavailable):
                        await call()
            await self.knows(registry, name, 7001)

    def test_it_works_under_plain_asyncio(self, make_registry: MakeRegistry, plant: PlantRecords) -> None:
        async def scenario() -> None:
            name = unique("greeter")
            await plant(planted(name, 7001))
            async with make_registry() as registry, registry.watch(name) as snapshots:
                await snapshot_until(snapshots, _shows(name, 7001), self.settles_within)
                await plant(planted(name, 7002))
                await snapshot_until(snapshots, _shows(name, 7002), self.settles_within)

        if "asyncio" in self.backends:
            under_plain_asyncio(scenario, self.patience)


async def _found(registry: Registry, name: str) -> Seen:
    try:
        return places(await registry.get_service(name))
    except NotRegistered:
        return set()


def _shows(name: str, *ports: int) -> Callable[[Snapshot], bool]:
    expected = places([planted(name, *ports)])
    return lambda seen: places(seen.services) == expected and seen.stale_since is None
