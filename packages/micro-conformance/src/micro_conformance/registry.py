"""The sentences of `micro_core.Registry`; those of `watch` are in `watches`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from micro_core import Endpoint, Node, NotRegistered, Registry, RegistryUnavailable, ServiceRecord

from micro_conformance.polling import eventually, steadily
from micro_conformance.records import (
    FOR_EVER,
    ignoring_unknown,
    is_forgotten,
    is_registered_as,
    known_nodes,
    make_record,
    nodes_by_version,
    snapshot_ids,
    snapshot_until,
)
from micro_conformance.suite import bounded, logged, under_plain_asyncio, unique
from micro_conformance.watches import MakeRegistry, Outage, Plant, WatchConformance

__all__ = ["MakeRegistry", "Outage", "Plant", "RegistryConformance", "WatchConformance"]


class RegistryConformance(WatchConformance):
    """Every sentence of `Registry`, one test each; see `WatchConformance` for what is declared."""

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
                began = anyio.current_time()
                await anyio.sleep(ttl / 4)
                held_up = anyio.current_time() - began > ttl / 2  # the test itself was, and was late with its heartbeat
                return bool(await known_nodes(registry, name)) or held_up

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
    async def test_a_node_registered_again_with_another_version_moves(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        moves, stays = f"{name}-a", f"{name}-b"
        async with make_registry() as registry:
            await registry.register(make_record(name, moves), ttl=FOR_EVER)
            await registry.register(make_record(name, stays, port=7002), ttl=FOR_EVER)
            await self.knows(registry, name, moves, stays)
            await registry.register(make_record(name, moves, version="2"), ttl=FOR_EVER)

            async def moved() -> bool:
                assert await nodes_by_version(registry, name) == {"1": [stays], "2": [moves]}
                return True

            await eventually(moved, within=self.settles_within)
            await steadily(moved, during=0.1)

    @bounded
    async def test_an_id_is_known_within_its_services_name(self, make_registry: MakeRegistry) -> None:
        name, other, id = unique("greeter"), unique("other"), unique("node")
        async with make_registry() as registry:
            await registry.register(make_record(name, id), ttl=FOR_EVER)
            await registry.register(make_record(other, id), ttl=FOR_EVER)
            await self.knows(registry, other, id)
            await self.knows(registry, name, id)
            await registry.deregister(make_record(other, id))
            await self.knows(registry, other)
            await self.knows(registry, name, id)

    @bounded
    async def test_endpoints_and_metadata_are_those_that_were_registered_last(
        self, make_registry: MakeRegistry
    ) -> None:
        name = unique("greeter")
        first, second = make_record(name, f"{name}-a"), make_record(name, f"{name}-b", port=7002)
        changed = replace(first, endpoints=(Endpoint("Say.Bye"),), metadata={"owner": "another"})
        async with make_registry() as registry:
            await registry.register(first, ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")
            await registry.register(changed, ttl=FOR_EVER)
            await eventually(lambda: is_registered_as(registry, name, changed), within=self.settles_within)
            await registry.register(second, ttl=FOR_EVER)

            async def last() -> bool:
                (found,) = await registry.get_service(name)
                assert len(found.nodes) == 2
                assert (found.endpoints, found.metadata) == (second.endpoints, second.metadata)
                return True

            await eventually(last, within=self.settles_within)

    @bounded
    async def test_a_record_without_nodes_changes_nothing(self, make_registry: MakeRegistry) -> None:
        name, nobody = unique("greeter"), unique("nobody")
        known = make_record(name, f"{name}-a")
        async with make_registry() as registry:
            await registry.register(known, ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")
            await registry.register(replace(known, nodes=(), endpoints=(), metadata={}), ttl=FOR_EVER)
            await registry.register(replace(known, nodes=(), version="2"), ttl=FOR_EVER)
            await registry.register(make_record(nobody), ttl=FOR_EVER)
            await registry.deregister(replace(known, nodes=()))
            await steadily(lambda: is_registered_as(registry, name, known), during=0.1)
            await self.knows(registry, nobody)
            assert nobody not in {record.name for record in await registry.list_services()}

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
    async def test_deregistering_unknown_nodes_is_no_error(self, make_registry: MakeRegistry) -> None:
        async with make_registry() as registry:
            await registry.deregister(make_record(unique("nobody"), "a"))

    @bounded
    async def test_a_registry_that_does_not_answer_is_unavailable(
        self, make_registry: MakeRegistry, outage: Outage | None
    ) -> None:
        if outage is None:
            pytest.skip("declared: there is nothing that could be silent (outage)")
        record = make_record(unique("greeter"), "a")
        async with make_registry() as registry:
            async with outage(registry):
                calls: tuple[Callable[[], Awaitable[Any]], ...] = (
                    lambda: registry.register(record, ttl=FOR_EVER),
                    lambda: registry.deregister(record),
                    lambda: registry.get_service(unique("greeter")),
                    registry.list_services,
                )
                for call in calls:
                    with pytest.raises(RegistryUnavailable, match=r"\S"):
                        await call()
            await eventually(lambda: self._registered(registry, record), within=self.settles_within)

    async def _registered(self, registry: Registry, record: ServiceRecord) -> bool:
        try:
            await registry.register(record, ttl=FOR_EVER)
            return bool(await known_nodes(registry, record.name))
        except RegistryUnavailable:
            return False

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
    async def test_a_record_that_cannot_be_read_is_left_out_logged_once_and_fails_no_lookup(
        self, make_registry: MakeRegistry, plant_unreadable: Plant | None
    ) -> None:
        if plant_unreadable is None:
            pytest.skip("declared: nobody can put a broken record where this registry reads (plant_unreadable)")
        name = unique("greeter")
        async with make_registry() as registry:
            await registry.register(make_record(name, f"{name}-a"), ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")
            with logged() as records:
                for _ in range(2):
                    await plant_unreadable(registry, name)
                    await steadily(lambda: known_nodes(registry, name), during=0.2)
                await registry.list_services()
                await self.knows(registry, name, f"{name}-a")
            assert len(records) == 1, "it is logged once"

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
