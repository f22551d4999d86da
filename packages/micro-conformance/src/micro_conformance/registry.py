"""The sentences of `micro_core.Registry`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, ClassVar, TypeAlias

import anyio
import pytest
from micro_core import Node, NotRegistered, Registry, ServiceRecord, Snapshot

from micro_conformance.polling import eventually, steadily
from micro_conformance.records import (
    FOR_EVER,
    ignoring_unknown,
    is_forgotten,
    is_registered_as,
    known_nodes,
    make_record,
    snapshot_ids,
    snapshot_until,
)
from micro_conformance.suite import ComponentSuite, Make, bounded, under_plain_asyncio, unique

MakeRegistry: TypeAlias = Callable[[], AbstractAsyncContextManager[Registry]]
Plant: TypeAlias = Callable[[Registry, str], Awaitable[None]]


class RegistryConformance(ComponentSuite):
    """Every sentence of `Registry`, one test each.

    Attributes:
        settles_within: seconds until what one registry did is seen by another, or by its own lookups.
        shares_records: whether two registries that are made see each other's records.
        expires: whether nodes whose time is over disappear.
        shortest_ttl: the shortest time to live, in seconds, that the registry keeps exactly enough.
        expires_within: seconds after the time to live until a node is gone.
    """

    settles_within: ClassVar[float] = 1.0
    shares_records: ClassVar[bool] = True
    expires: ClassVar[bool] = True
    shortest_ttl: ClassVar[float] = 0.2
    expires_within: ClassVar[float] = 2.0

    @pytest.fixture
    def make_registry(self) -> MakeRegistry:
        """The factory that every plugin gives; registries made one after another share their records."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture make_registry")

    @pytest.fixture
    def plant_unreadable(self) -> Plant | None:
        """A function that puts a broken record of a name where the registry reads; None where nobody could."""
        return None

    @pytest.fixture
    def make_component(self, make_registry: MakeRegistry) -> Make:
        return make_registry

    async def knows(self, registry: Registry, name: str, *ids: str) -> None:
        """Waits until exactly those nodes are known."""

        async def check() -> bool:
            found = set(await known_nodes(registry, name))
            assert found == set(ids)
            return True

        await eventually(check, within=self.settles_within)

    # register

    @bounded
    async def test_register_makes_the_nodes_of_the_record_known(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        async with make_registry() as registry:
            await registry.register(make_record(name, f"{name}-a", f"{name}-b"), ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a", f"{name}-b")

    @bounded
    async def test_nodes_are_known_for_ttl_seconds(self, make_registry: MakeRegistry) -> None:
        if not self.expires:
            pytest.skip("declared: nodes do not expire")
        name = unique("greeter")
        async with make_registry() as registry:
            await registry.register(make_record(name, f"{name}-a"), ttl=self.shortest_ttl)
            await self.knows(registry, name, f"{name}-a")
            gone = self.shortest_ttl + self.expires_within
            await eventually(lambda: is_forgotten(registry, name), within=gone)

    @bounded
    async def test_calling_it_again_is_the_heartbeat(self, make_registry: MakeRegistry) -> None:
        name, ttl = unique("greeter"), self.shortest_ttl
        async with make_registry() as registry:

            async def beat() -> bool:
                await registry.register(make_record(name, f"{name}-a"), ttl=ttl)
                await anyio.sleep(ttl / 4)
                return bool(await known_nodes(registry, name))

            await beat()
            await self.knows(registry, name, f"{name}-a")
            await steadily(beat, during=ttl * 3)

    @bounded
    async def test_registering_what_is_known_changes_nothing_but_the_time_it_lives(
        self, make_registry: MakeRegistry
    ) -> None:
        name = unique("greeter")
        record = make_record(name, f"{name}-a")
        async with make_registry() as registry:
            for _ in range(3):
                await registry.register(record, ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")
            assert await registry.get_service(name) == (record,)

    @bounded
    async def test_a_record_of_a_known_node_replaces_that_nodes_record(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        old = make_record(name, f"{name}-a", version="1", port=7001, zone="old")
        new = make_record(name, f"{name}-a", version="2", port=7002, zone="new")
        async with make_registry() as registry:
            await registry.register(old, ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")
            await registry.register(new, ttl=FOR_EVER)
            await eventually(lambda: is_registered_as(registry, name, new), within=self.settles_within)

    @bounded
    async def test_other_nodes_and_versions_of_the_name_stay(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        async with make_registry() as registry:
            await registry.register(make_record(name, f"{name}-a"), ttl=FOR_EVER)
            await registry.register(make_record(name, f"{name}-b", port=7002), ttl=FOR_EVER)
            await registry.register(make_record(name, f"{name}-c", version="2", port=7003), ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a", f"{name}-b", f"{name}-c")

    @bounded
    async def test_a_ttl_of_0_means_for_ever(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        async with make_registry() as registry:
            await registry.register(make_record(name, f"{name}-a"), ttl=0)
            await self.knows(registry, name, f"{name}-a")
            await steadily(lambda: known_nodes(registry, name), during=min(self.shortest_ttl, 1.0))

    @bounded
    async def test_a_record_without_name_version_id_or_address_is_a_value_error(
        self, make_registry: MakeRegistry
    ) -> None:
        whole = make_record(unique("greeter"), "a")
        broken = [
            replace(whole, name=""),
            replace(whole, version=""),
            replace(whole, nodes=(Node("", "127.0.0.1:1"),)),
            replace(whole, nodes=(Node("a", ""),)),
        ]
        async with make_registry() as registry:
            for record in broken:
                with pytest.raises(ValueError, match=r"\S"):
                    await registry.register(record, ttl=FOR_EVER)

    # deregister

    @bounded
    async def test_deregister_forgets_the_nodes_of_the_record_at_once(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        record = make_record(name, f"{name}-a")
        async with make_registry() as registry:
            await registry.register(record, ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")
            await registry.deregister(record)
            await self.knows(registry, name)

    @bounded
    async def test_deregister_forgets_no_other_node(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        async with make_registry() as registry:
            await registry.register(make_record(name, f"{name}-a"), ttl=FOR_EVER)
            await registry.register(make_record(name, f"{name}-b", port=7002), ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a", f"{name}-b")
            await registry.deregister(make_record(name, f"{name}-a"))
            await self.knows(registry, name, f"{name}-b")

    @bounded
    async def test_deregister_is_a_goodbye_for_every_watcher(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        record = make_record(name, f"{name}-a")
        async with make_registry() as registry, registry.watch(name) as one, registry.watch(None) as all_:
            await registry.register(record, ttl=FOR_EVER)
            for watch in (one, all_):
                await snapshot_until(watch, lambda seen: f"{name}-a" in snapshot_ids(seen), self.settles_within)
            await registry.deregister(record)
            for watch in (one, all_):
                last = await snapshot_until(
                    watch, lambda seen: f"{name}-a" not in snapshot_ids(seen), self.settles_within
                )
                assert f"{name}-a" in last.departed

    @bounded
    async def test_deregistering_unknown_nodes_is_no_error(self, make_registry: MakeRegistry) -> None:
        async with make_registry() as registry:
            await registry.deregister(make_record(unique("nobody"), "a"))

    # get_service and list_services

    @bounded
    async def test_get_service_gives_one_record_per_version_as_registered(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        first = make_record(name, f"{name}-a", version="1", zone="x")
        second = make_record(name, f"{name}-b", version="2", port=7002, zone="y")
        async with make_registry() as registry:
            await registry.register(first, ttl=FOR_EVER)
            await registry.register(second, ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a", f"{name}-b")
            found = await registry.get_service(name)
            assert sorted(found, key=lambda record: record.version) == [first, second]

    @bounded
    async def test_names_are_compared_exactly_case_included(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        async with make_registry() as registry:
            await registry.register(make_record(name, f"{name}-a"), ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")
            for other in (name.upper(), name[:-1], f"{name}x", name.title()):
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
    async def test_list_services_gives_every_name_and_version(self, make_registry: MakeRegistry) -> None:
        name, other = unique("greeter"), unique("other")
        expected = {(name, "1"), (name, "2"), (other, "1")}
        async with make_registry() as registry:
            for at, (service, version) in enumerate(sorted(expected)):
                record = make_record(service, f"{service}-{version}", version=version, port=7001 + at)
                await registry.register(record, ttl=FOR_EVER)

            async def listed() -> bool:
                return expected <= {(record.name, record.version) for record in await registry.list_services()}

            await eventually(listed, within=self.settles_within)

    # watch

    @bounded
    async def test_the_first_snapshot_comes_at_once_and_is_complete(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        record = make_record(name, f"{name}-a", f"{name}-b")
        async with make_registry() as registry:
            await registry.register(record, ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a", f"{name}-b")
            for watched in (name, None):
                async with registry.watch(watched) as snapshots:
                    with anyio.fail_after(self.settles_within):
                        first = await anext(snapshots)
                    assert record in first.services

    @bounded
    async def test_a_snapshot_comes_after_each_change(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        async with make_registry() as registry, registry.watch(name) as snapshots:
            for version, port in (("1", 7001), ("1", 7002), ("2", 7002)):
                record = make_record(name, f"{name}-a", version=version, port=port)
                await registry.register(record, ttl=FOR_EVER)
                await snapshot_until(snapshots, _holds(record), self.settles_within)

    @bounded
    async def test_the_last_state_is_always_delivered(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        async with make_registry() as registry, registry.watch(name) as snapshots:
            for port in range(7001, 7021):
                record = make_record(name, f"{name}-a", port=port)
                await registry.register(record, ttl=FOR_EVER)
            last = make_record(name, f"{name}-a", port=7020)
            await snapshot_until(snapshots, lambda seen: last in seen.services, self.settles_within)

    @bounded
    async def test_a_watch_of_one_name_shows_that_name_alone(self, make_registry: MakeRegistry) -> None:
        name, other = unique("greeter"), unique("other")
        async with make_registry() as registry:
            await registry.register(make_record(other, f"{other}-a", port=7002), ttl=FOR_EVER)
            await registry.register(make_record(name, f"{name}-a"), ttl=FOR_EVER)
            await self.knows(registry, other, f"{other}-a")
            async with registry.watch(name) as snapshots:
                seen = await snapshot_until(snapshots, snapshot_ids, self.settles_within)
                assert snapshot_ids(seen) == {f"{name}-a"}

    @bounded
    async def test_a_watch_of_none_shows_every_service(self, make_registry: MakeRegistry) -> None:
        name, other = unique("greeter"), unique("other")
        expected = {f"{name}-a", f"{other}-a"}
        async with make_registry() as registry, registry.watch(None) as snapshots:
            await registry.register(make_record(name, f"{name}-a"), ttl=FOR_EVER)
            await registry.register(make_record(other, f"{other}-a", port=7002), ttl=FOR_EVER)
            await snapshot_until(snapshots, lambda seen: expected <= snapshot_ids(seen), self.settles_within)

    @bounded
    async def test_an_unknown_name_is_an_empty_snapshot(self, make_registry: MakeRegistry) -> None:
        async with make_registry() as registry, registry.watch(unique("nobody")) as snapshots:
            with anyio.fail_after(self.settles_within + 1):
                first = await anext(snapshots)
            assert first.services == ()

    @bounded
    async def test_absence_without_a_goodbye_is_no_departure(self, make_registry: MakeRegistry) -> None:
        if not self.expires:
            pytest.skip("declared: nodes do not expire")
        name = unique("greeter")
        async with make_registry() as registry, registry.watch(name) as snapshots:
            await registry.register(make_record(name, f"{name}-a"), ttl=self.shortest_ttl)
            await snapshot_until(snapshots, snapshot_ids, self.settles_within)
            gone = self.shortest_ttl + self.expires_within
            last = await snapshot_until(snapshots, lambda seen: not snapshot_ids(seen), gone)
            assert last.departed == frozenset()

    @bounded
    async def test_leaving_the_block_stops_the_watch_also_when_cancelled(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        async with make_registry() as registry:
            for _ in range(3):
                with anyio.move_on_after(0.05) as scope:
                    async with registry.watch(name) as snapshots:
                        async for _snapshot in snapshots:
                            pass
                assert scope.cancelled_caught, "the watch ended by itself"
            await registry.register(make_record(name, f"{name}-a"), ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")

    # all methods

    @bounded
    async def test_every_method_may_be_called_by_many_tasks_at_once(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        ids = [f"{name}-{at}" for at in range(20)]

        async def work(at: int) -> None:
            record = make_record(name, ids[at], port=7001 + at)
            async with registry.watch(name) as snapshots:
                await registry.register(record, ttl=FOR_EVER)
                await registry.list_services()
                await snapshot_until(snapshots, lambda seen: ids[at] in snapshot_ids(seen), self.settles_within + 1)
            if at % 2:
                await registry.deregister(record)

        async with make_registry() as registry:
            async with anyio.create_task_group() as group:
                for at in range(len(ids)):
                    group.start_soon(work, at)
            await self.knows(registry, name, *ids[::2])

    @bounded
    async def test_a_cancelled_call_leaves_the_registry_as_usable_as_before(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        record = make_record(name, f"{name}-a")
        async with make_registry() as registry:
            calls: tuple[Callable[[], Awaitable[Any]], ...] = (
                lambda: registry.register(record, ttl=FOR_EVER),
                lambda: registry.get_service(name),
                registry.list_services,
                lambda: registry.deregister(record),
            )
            for call in calls:
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await ignoring_unknown(call)
            await registry.register(record, ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")

    @bounded
    async def test_a_record_that_cannot_be_read_is_left_out_and_fails_no_lookup(
        self, make_registry: MakeRegistry, plant_unreadable: Plant | None
    ) -> None:
        if plant_unreadable is None:
            pytest.skip("declared: nobody can put a broken record where this registry reads (plant_unreadable)")
        name = unique("greeter")
        async with make_registry() as registry:
            await registry.register(make_record(name, f"{name}-a"), ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")
            await plant_unreadable(registry, name)
            await steadily(lambda: known_nodes(registry, name), during=0.2)
            await registry.list_services()
            await self.knows(registry, name, f"{name}-a")

    # two registries

    @bounded
    async def test_one_registry_sees_what_another_registers_and_deregisters(self, make_registry: MakeRegistry) -> None:
        if not self.shares_records:
            pytest.skip("declared: registries do not share records")
        name = unique("greeter")
        record = make_record(name, f"{name}-a")
        async with make_registry() as one, make_registry() as other, other.watch(name) as snapshots:
            await one.register(record, ttl=FOR_EVER)
            await snapshot_until(snapshots, lambda seen: record in seen.services, self.settles_within)
            await self.knows(other, name, f"{name}-a")
            await one.deregister(record)
            last = await snapshot_until(snapshots, lambda seen: not snapshot_ids(seen), self.settles_within)
            assert last.departed == {f"{name}-a"}
            await self.knows(other, name)

    def test_it_works_under_plain_asyncio(self, make_registry: MakeRegistry) -> None:
        async def scenario() -> None:
            name = unique("greeter")
            async with make_registry() as registry, registry.watch(name) as snapshots:
                await registry.register(make_record(name, f"{name}-a"), ttl=FOR_EVER)
                await snapshot_until(snapshots, snapshot_ids, self.settles_within)

        if "asyncio" in self.backends:
            under_plain_asyncio(scenario, self.patience)


def _holds(record: ServiceRecord) -> Callable[[Snapshot], bool]:
    return lambda seen: record in seen.services
