"""The sentences of `micro_core.Registry` about `watch` and `Snapshot`: a part of `RegistryConformance`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import ClassVar, TypeAlias

import anyio
import pytest
from micro_core import Registry, ServiceRecord, Snapshot, capture_clock

from micro_conformance.polling import eventually
from micro_conformance.records import FOR_EVER, known_nodes, make_record, snapshot_ids, snapshot_until
from micro_conformance.suite import ComponentSuite, Make, bounded, unique

MakeRegistry: TypeAlias = Callable[[], AbstractAsyncContextManager[Registry]]
Plant: TypeAlias = Callable[[Registry, str], Awaitable[None]]
Outage: TypeAlias = Callable[[Registry], AbstractAsyncContextManager[None]]


class WatchConformance(ComponentSuite):
    """Every sentence of `watch`, and what all suites of registries share.

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
    def outage(self) -> Outage | None:
        """A function whose context makes the registry silent while it lasts; None where it cannot happen.

        It is given a registry that knows what the test put there, which may be nothing. From entering on no call is
        answered; that watches have noticed is what the tests wait for.
        """
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
    async def test_the_end_of_a_nodes_time_is_a_change(self, make_registry: MakeRegistry) -> None:
        if not self.expires:
            pytest.skip("declared: nodes do not expire")
        name = unique("greeter")
        stays = make_record(name, f"{name}-b", port=7002)
        async with make_registry() as registry, registry.watch(name) as one, registry.watch(None) as all_:
            await registry.register(stays, ttl=FOR_EVER)
            await registry.register(make_record(name, f"{name}-a"), ttl=self.shortest_ttl)
            for watch in (one, all_):
                await snapshot_until(watch, lambda seen: f"{name}-a" in snapshot_ids(seen), self.settles_within)
            gone = self.shortest_ttl + self.expires_within
            for watch in (one, all_):
                last = await snapshot_until(watch, lambda seen: f"{name}-a" not in snapshot_ids(seen), gone)
                assert f"{name}-b" in snapshot_ids(last)

    @bounded
    async def test_departed_forgets_who_came_back(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        both = make_record(name, f"{name}-a", f"{name}-b")
        async with make_registry() as registry, registry.watch(name) as snapshots:
            await registry.register(both, ttl=FOR_EVER)
            await snapshot_until(snapshots, lambda seen: len(snapshot_ids(seen)) == 2, self.settles_within)
            await registry.deregister(both)
            await snapshot_until(snapshots, lambda seen: len(seen.departed) == 2, self.settles_within)
            await registry.register(replace(both, nodes=both.nodes[:1]), ttl=FOR_EVER)
            back = await snapshot_until(snapshots, snapshot_ids, self.settles_within)
            assert back.departed == {f"{name}-b"}

    @bounded
    async def test_a_watch_begins_without_departures(self, make_registry: MakeRegistry) -> None:
        name = unique("greeter")
        record = make_record(name, f"{name}-a")
        async with make_registry() as registry:
            await registry.register(record, ttl=FOR_EVER)
            await self.knows(registry, name, f"{name}-a")
            await registry.deregister(record)
            await self.knows(registry, name)
            async with registry.watch(name) as snapshots:
                with anyio.fail_after(self.settles_within + 1):
                    assert (await anext(snapshots)).departed == frozenset()

    @bounded
    async def test_while_the_registry_does_not_answer_a_stale_snapshot_holds_what_was_known_last(
        self, make_registry: MakeRegistry, outage: Outage | None
    ) -> None:
        if outage is None:
            pytest.skip("declared: there is nothing that could be silent (outage)")
        name = unique("greeter")
        record = make_record(name, f"{name}-a")
        async with make_registry() as registry, registry.watch(name) as snapshots:
            await registry.register(record, ttl=FOR_EVER)
            seen = await snapshot_until(snapshots, lambda seen: record in seen.services, self.settles_within)
            assert seen.stale_since is None
            clock = capture_clock()
            async with outage(registry):
                stale = await snapshot_until(snapshots, _is_stale, self.settles_within)
                assert stale.services == (record,)
                assert stale.stale_since is not None
                assert 0 <= clock() - stale.stale_since < self.patience
            back = await snapshot_until(snapshots, lambda seen: not _is_stale(seen), self.settles_within)
            assert back.services == (record,)
            await registry.deregister(record)
            await snapshot_until(snapshots, lambda seen: not seen.services, self.settles_within)

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


def _holds(record: ServiceRecord) -> Callable[[Snapshot], bool]:
    return lambda seen: record in seen.services


def _is_stale(snapshot: Snapshot) -> bool:
    return snapshot.stale_since is not None
