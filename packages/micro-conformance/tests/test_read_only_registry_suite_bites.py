"""Each sentence of ReadOnlyRegistryConformance has a double that breaks it, and is caught by that sentence's test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest
import sniffio
from micro_conformance import ReadOnlyRegistryConformance
from micro_core import Node, NotRegistered, Reach, Registry, RegistryUnavailable, ServiceRecord, Snapshot


class Place:
    def __init__(self) -> None:
        self.records: tuple[ServiceRecord, ...] = ()
        self.silent_since: float | None = None


class Double(Registry):
    reach = Reach.PROCESS
    read_only = True

    def __init__(self, place: Place) -> None:
        self.place = place

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        await anyio.lowlevel.checkpoint()

    async def deregister(self, service: ServiceRecord) -> None:
        await anyio.lowlevel.checkpoint()

    def records(self, name: str | None) -> tuple[ServiceRecord, ...]:
        return tuple(record for record in self.place.records if name is None or record.name == name)

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        await anyio.lowlevel.checkpoint()
        found = self.records(name)
        if not found:
            raise NotRegistered(name)
        return found

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        await anyio.lowlevel.checkpoint()
        return self.records(None)

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        yield self.snapshots(name)

    async def snapshots(self, name: str | None) -> AsyncIterator[Snapshot]:
        last = None
        while True:
            snapshot = self.snapshot(name)
            if snapshot != last:
                last = snapshot
                yield snapshot
            await anyio.sleep(0.005)

    def snapshot(self, name: str | None) -> Snapshot:
        return Snapshot(self.records(name), stale_since=self.place.silent_since)


class SaysNothing(Double):
    read_only = False


class Registers(Double):
    async def register(self, service, *, ttl):
        self.place.records = (*self.place.records, service)


class Deregisters(Double):
    async def deregister(self, service):
        gone = {node.id for node in service.nodes}
        left = (replace(r, nodes=tuple(n for n in r.nodes if n.id not in gone)) for r in self.place.records)
        self.place.records = tuple(record for record in left if record.nodes)


class FirstNodeOnly(Double):
    def records(self, name):
        return tuple(replace(record, nodes=record.nodes[:1]) for record in super().records(name))


class NoVersion(Double):
    def records(self, name):
        return tuple(replace(record, version="") for record in super().records(name))


class FirstVersionOnly(Double):
    async def get_service(self, name):
        return (await super().get_service(name))[:1]


class FreshIds(Double):
    def records(self, name):
        return tuple(
            replace(record, nodes=tuple(Node(uuid4().hex, node.address) for node in record.nodes))
            for record in super().records(name)
        )


class CountedIds(Double):
    def records(self, name):
        return tuple(
            replace(record, nodes=tuple(Node(str(at), node.address) for at, node in enumerate(record.nodes)))
            for record in super().records(name)
        )


class CaseDoesNotMatter(Double):
    def records(self, name):
        return super().records(name and name.lower())


class Prefixes(Double):
    def records(self, name):
        return tuple(record for record in self.place.records if name is None or record.name.startswith(name))


class EmptyInsteadOfError(Double):
    async def get_service(self, name):
        await anyio.lowlevel.checkpoint()
        return self.records(name)


class WaitsLong(Double):
    async def get_service(self, name):
        if not self.records(name):
            await anyio.sleep(1.7)
        return await super().get_service(name)


class KeepsEmptyRecords(Double):
    async def get_service(self, name):
        await anyio.lowlevel.checkpoint()
        found = self.records(name)
        if not found and not getattr(self.place, "planted", None):
            raise NotRegistered(name)
        return found


class ListsOne(Double):
    async def list_services(self):
        return (await super().list_services())[:1]


class LateFirstSnapshot(Double):
    async def snapshots(self, name):
        await anyio.sleep(1.7)
        async for snapshot in super().snapshots(name):
            yield snapshot


class OneByOne(Double):
    async def snapshots(self, name):
        first = True
        async for snapshot in super().snapshots(name):
            yield replace(snapshot, services=()) if first else snapshot
            first = False


class ShowsOnce(Double):
    async def snapshots(self, name):
        yield self.snapshot(name)
        await anyio.sleep_forever()


class AllDepart(Double):
    def snapshot(self, name):
        return replace(super().snapshot(name), departed=frozenset({"somebody"}))


class UnknownWatchFails(Double):
    def snapshot(self, name):
        if not self.records(name):
            raise NotRegistered(name)
        return super().snapshot(name)


class ShowsEverything(Double):
    def snapshot(self, name):
        return super().snapshot(None)


class WatchEnds(Double):
    async def snapshots(self, name):
        yield self.snapshot(name)


class SilentAboutSilence(Double):
    def snapshot(self, name):
        return Snapshot(self.records(name))


class ForgetsWhenSilent(Double):
    def snapshot(self, name):
        snapshot = super().snapshot(name)
        return snapshot if snapshot.stale_since is None else replace(snapshot, services=())


class SaysSoAgainAndAgain(Double):
    def snapshot(self, name):
        since = self.place.silent_since
        return Snapshot(self.records(name), stale_since=None if since is None else anyio.current_time())


class OneAtATime(Double):
    busy = False

    async def get_service(self, name):
        if self.busy:
            raise RegistryUnavailable("busy")
        self.busy = True
        try:
            await anyio.sleep(0.001)
            return await super().get_service(name)
        finally:
            self.busy = False


class Poisoned(Double):
    poisoned = False

    async def get_service(self, name):
        if self.poisoned:
            raise RegistryUnavailable("a call was cancelled")
        self.poisoned = True
        found = await super().get_service(name)
        self.poisoned = False
        return found


class LeavesOnce(Double):
    left = False

    async def __aexit__(self, *_):
        assert not self.left
        self.left = True


class HangsWhenCancelled(Double):
    async def __aexit__(self, kind, *_):
        if kind is not None and not issubclass(kind, Exception):
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)


class RaisesGroups(Double):
    async def __aexit__(self, kind, error, trace):
        if isinstance(error, LookupError):
            raise ExceptionGroup("wrapped", [error])


class LeansOnAnyiosRunner(Double):
    async def snapshots(self, name):
        if sniffio.current_async_library() == "asyncio" and "anyio" not in repr(asyncio.current_task().get_coro()):
            raise RuntimeError("not under anyio's runner")
        async for snapshot in super().snapshots(name):
            yield snapshot


class NeedsALoop(Double):
    def __init__(self, place):
        super().__init__(place)
        sniffio.current_async_library()


class Suite(ReadOnlyRegistryConformance):
    settles_within = 1.0


class Impatient(Suite):
    settles_within = 0.3
    patience = 3.0


def fixtures(double):
    place = Place()

    async def plant(*records):
        place.planted = True
        place.records = tuple(record for record in records if record.nodes)
        place.silent_since = None

    async def silence():
        place.silent_since = anyio.current_time()

    def make():
        return double(place)

    return {"make_registry": make, "make_component": make, "plant": plant, "silence": silence}


STALE = "while_it_does_not_answer_one_snapshot_says_so_and_holds_what_was_known_last"
IDS = "ids_are_the_same_in_every_registry_and_after_every_change"
BROKEN = [
    (SaysNothing, "it_says_that_it_is_read_only"),
    (Registers, "register_does_nothing"),
    (Deregisters, "deregister_does_nothing"),
    (FirstNodeOnly, "get_service_gives_the_nodes_that_were_planted"),
    (NoVersion, "get_service_gives_the_nodes_that_were_planted"),
    (FirstVersionOnly, "get_service_gives_one_record_per_version"),
    (FreshIds, IDS),
    (CountedIds, IDS),
    (CaseDoesNotMatter, "names_are_compared_exactly"),
    (Prefixes, "names_are_compared_exactly"),
    (EmptyInsteadOfError, "an_unknown_name_is_not_registered_within_about_a_second"),
    (WaitsLong, "an_unknown_name_is_not_registered_within_about_a_second"),
    (KeepsEmptyRecords, "a_name_without_nodes_is_not_registered"),
    (ListsOne, "list_services_gives_every_name"),
    (LateFirstSnapshot, "the_first_snapshot_comes_at_once_and_is_complete"),
    (OneByOne, "the_first_snapshot_comes_at_once_and_is_complete"),
    (ShowsOnce, "a_snapshot_comes_after_each_change"),
    (ShowsOnce, "the_last_state_is_always_delivered"),
    (AllDepart, "a_node_that_is_taken_out_has_departed_where_that_is_a_goodbye"),
    (UnknownWatchFails, "an_unknown_name_is_an_empty_snapshot"),
    (ShowsEverything, "a_watch_of_one_name_shows_that_name_alone"),
    (WatchEnds, "leaving_the_block_stops_the_watch_also_when_cancelled"),
    (SilentAboutSilence, STALE),
    (ForgetsWhenSilent, STALE),
    (SaysSoAgainAndAgain, STALE),
    (OneAtATime, "every_method_may_be_called_by_many_tasks_at_once"),
    (Poisoned, "a_cancelled_call_leaves_the_registry_as_usable_as_before"),
    (LeavesOnce, "leaving_twice_does_nothing"),
    (HangsWhenCancelled, "leaving_releases_everything_also_when_cancelled"),
    (RaisesGroups, "an_exception_inside_the_block_comes_out_as_it_is"),
    (LeansOnAnyiosRunner, "it_works_under_plain_asyncio"),
    (NeedsALoop, "constructing_needs_no_event_loop"),
]


def test_a_right_double_passes(run_suite):
    assert run_suite(Suite, lambda: fixtures(Double)) == {}


@pytest.mark.parametrize(("double", "sentence"), BROKEN)
def test_a_broken_double_is_caught(run_suite, double, sentence):
    assert run_suite(Impatient, lambda: fixtures(double), f"test_{sentence}")


def test_every_sentence_has_a_double_that_breaks_it(sentences):
    assert {sentence for _, sentence in BROKEN} == sentences(Suite)
