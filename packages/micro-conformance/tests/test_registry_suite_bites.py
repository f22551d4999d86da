"""Each sentence of RegistryConformance has a double that breaks it, and is caught by that sentence's test."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest
import sniffio
from micro_conformance import RegistryConformance
from micro_core import NotRegistered, Reach, Registry, RegistryUnavailable, ServiceRecord, Snapshot

log = logging.getLogger("micro.registry.double")


class Store:
    def __init__(self) -> None:
        self.nodes: dict[tuple[str, str], tuple[ServiceRecord, float]] = {}
        self.goodbyes: list[str] = []
        self.broken = False
        self.complaints = 0
        self.silent_since: float | None = None
        self.before: tuple[ServiceRecord, ...] = ()

    def alive(self) -> dict[tuple[str, str], ServiceRecord]:
        now = anyio.current_time()
        return {key: record for key, (record, until) in self.nodes.items() if until > now}


class Double(Registry):
    reach = Reach.PROCESS

    def __init__(self, store: Store) -> None:
        self.store = store

    async def register(self, service: ServiceRecord, *, ttl: float) -> None:
        self.check(service)
        self.need_answers()
        until = anyio.current_time() + self.lifetime(ttl)
        await anyio.lowlevel.checkpoint()
        for node in service.nodes:
            self.store.nodes.pop((service.name, node.id), None)
            self.store.nodes[service.name, node.id] = (replace(service, nodes=(node,)), until)

    def need_answers(self) -> None:
        if self.store.silent_since is not None:
            raise RegistryUnavailable("the double does not answer")

    def check(self, service: ServiceRecord) -> None:
        if not (service.name and service.version and all(node.id and node.address for node in service.nodes)):
            raise ValueError("not a whole record")

    def lifetime(self, ttl: float) -> float:
        return ttl or float("inf")

    async def deregister(self, service: ServiceRecord) -> None:
        self.need_answers()
        await anyio.lowlevel.checkpoint()
        for node in service.nodes:
            if self.store.nodes.pop((service.name, node.id), None):
                self.store.goodbyes.append(node.id)

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        self.need_answers()
        self.complain()
        await anyio.lowlevel.checkpoint()
        found = self.records(name)
        if not found:
            raise NotRegistered(name)
        return found

    def complain(self) -> None:
        if self.store.broken and not self.store.complaints:
            self.store.complaints += 1
            log.warning("a record is left out")

    def records(self, name: str | None) -> tuple[ServiceRecord, ...]:
        joined: dict[tuple[str, str], ServiceRecord] = {}
        for (service, _), record in self.store.alive().items():
            if name is None or self.same(service, name):
                key = (service, record.version)
                before = joined[key].nodes if key in joined else ()
                joined[key] = replace(record, nodes=(*before, *record.nodes))
        return tuple(joined.values())

    def same(self, service: str, name: str) -> bool:
        return service == name

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        self.need_answers()
        await anyio.lowlevel.checkpoint()
        return self.records(None)

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        yield self.snapshots(name)

    async def snapshots(self, name: str | None) -> AsyncIterator[Snapshot]:
        since, last = len(self.store.goodbyes), None
        while True:
            now = Snapshot(self.watched(name), self.departed(since), self.stale_since())
            if now != last:
                last = now
                yield now
            await anyio.sleep(0.002)

    def watched(self, name: str | None) -> tuple[ServiceRecord, ...]:
        return self.records(name)

    def stale_since(self) -> float | None:
        return self.store.silent_since

    def departed(self, since: int) -> frozenset[str]:
        present = {id for _, id in self.store.alive()}
        return frozenset(self.store.goodbyes[since:]) - present


class Suite(RegistryConformance):
    settles_within = 0.1
    shortest_ttl = 0.15
    expires_within = 0.1
    patience = 2.0


async def plant(registry, name):
    registry.store.broken = True


@asynccontextmanager
async def outage(registry):
    registry.store.silent_since = anyio.current_time()
    try:
        yield
    finally:
        registry.store.silent_since = None


def fixtures(double):
    store = Store()
    make = lambda: double(store)  # noqa: E731
    return {"make_registry": make, "make_component": make, "plant_unreadable": plant, "outage": outage}


# The doubles that break a sentence


class ForgetsToStore(Double):
    async def register(self, service, *, ttl):
        self.check(service)


class NeverExpires(Double):
    def lifetime(self, ttl):
        return float("inf")


class FirstTimeCounts(Double):
    async def register(self, service, *, ttl):
        before = self.store.alive()
        if not all(before.get((service.name, node.id)) == replace(service, nodes=(node,)) for node in service.nodes):
            await super().register(service, ttl=ttl)


class Doubles(Double):
    def records(self, name):
        return tuple(
            replace(record, nodes=record.nodes * 2) if self.beaten(record) else record
            for record in super().records(name)
        )

    def beaten(self, record):
        return self.store.beats.get(record.nodes[0].id, 0) > 2

    async def register(self, service, *, ttl):
        self.store.beats = getattr(self.store, "beats", {})
        for node in service.nodes:
            same = self.store.alive().get((service.name, node.id)) == replace(service, nodes=(node,))
            self.store.beats[node.id] = self.store.beats.get(node.id, 0) + 1 if same else 1
        await super().register(service, ttl=ttl)

    async def get_service(self, name):
        self.store.beats = getattr(self.store, "beats", {})
        return await super().get_service(name)

    async def list_services(self):
        self.store.beats = getattr(self.store, "beats", {})
        return await super().list_services()

    def snapshots(self, name):
        self.store.beats = getattr(self.store, "beats", {})
        return super().snapshots(name)


class CopiesToTheVersion(Double):
    """A node that moves is in both versions."""

    async def register(self, service, *, ttl):
        before = dict(self.store.nodes)
        await super().register(service, ttl=ttl)
        for node in service.nodes:
            old = before.get((service.name, node.id))
            if old is not None and old[0].version != service.version:
                self.store.nodes[service.name, f"{node.id} before"] = old


class IdsAlone(Double):
    """One node for each id, whatever the service."""

    async def register(self, service, *, ttl):
        ids = {node.id for node in service.nodes}
        for key in [key for key in self.store.nodes if key[1] in ids]:
            del self.store.nodes[key]
        await super().register(service, ttl=ttl)


class FirstMetadataCounts(Double):
    def records(self, name):
        kept = self.store.kept = getattr(self.store, "kept", {})
        return tuple(
            replace(record, metadata=kept.setdefault((record.name, record.version), record.metadata))
            for record in super().records(name)
        )


class FirstNodesEndpoints(Double):
    """As the record of the node with the lowest id has them."""

    def records(self, name):
        alive = self.store.alive()
        return tuple(
            replace(record, endpoints=alive[record.name, min(node.id for node in record.nodes)].endpoints)
            for record in super().records(name)
        )


class EmptyRecordsCount(Double):
    async def register(self, service, *, ttl):
        await super().register(service, ttl=ttl)
        for key, (record, until) in self.store.nodes.items():
            if key[0] == service.name and not service.nodes and record.version == service.version:
                self.store.nodes[key] = (replace(record, metadata=service.metadata), until)


class EmptyRecordsAreListed(Double):
    async def register(self, service, *, ttl):
        await super().register(service, ttl=ttl)
        self.store.listed = [*getattr(self.store, "listed", []), service]

    async def list_services(self):
        return (*await super().list_services(), *getattr(self.store, "listed", []))


class EmptyGoodbyeIsForAll(Double):
    async def deregister(self, service):
        await super().deregister(service)
        if not service.nodes:
            for key in [key for key in self.store.nodes if key[0] == service.name]:
                del self.store.nodes[key]


class UnreachableIsUnknown(Double):
    def need_answers(self):
        if self.store.silent_since is not None:
            raise NotRegistered("nothing")


class DropsWhatItCannotStore(Double):
    async def register(self, service, *, ttl):
        if self.store.silent_since is None:
            await super().register(service, ttl=ttl)


class NeverAnswersAgain(Double):
    def need_answers(self):
        self.store.was_silent = getattr(self.store, "was_silent", False) or self.store.silent_since is not None
        if self.store.was_silent:
            raise RegistryUnavailable("still")


class MissesTheEnd(Double):
    """A watch that is woken by calls alone."""

    async def snapshots(self, name):
        seen = None
        async for snapshot in super().snapshots(name):
            if seen is None or self.store.nodes != seen:
                seen = dict(self.store.nodes)
                yield snapshot


class DepartedForEver(Double):
    def departed(self, since):
        return frozenset(self.store.goodbyes[since:])


class AllDeparturesEver(Double):
    def departed(self, since):
        return super().departed(0)


class SilentAboutSilence(Double):
    def stale_since(self):
        return None


class ForgetsWhenSilent(Double):
    def watched(self, name):
        return self.records(name) if self.store.silent_since is None else ()


class StaleForEver(Double):
    since = None

    def stale_since(self):
        self.since = self.since or self.store.silent_since
        return self.since


class StaleOnTheWallClock(Double):
    def stale_since(self):
        return None if self.store.silent_since is None else self.store.silent_since + 1e9


class WatchEndsInSilence(Double):
    async def snapshots(self, name):
        async for snapshot in super().snapshots(name):
            yield snapshot
            if snapshot.stale_since is not None:
                return


class KeepsOldVersion(Double):
    async def register(self, service, *, ttl):
        known = self.store.alive()
        for node in service.nodes:
            old = known.get((service.name, node.id))
            if old is not None and old.version != service.version:
                service = replace(service, version=old.version)
        await super().register(service, ttl=ttl)


class ReplacesTheName(Double):
    async def register(self, service, *, ttl):
        ids = {node.id for node in service.nodes}
        for key in [key for key in self.store.nodes if key[0] == service.name and key[1] not in ids]:
            del self.store.nodes[key]
        await super().register(service, ttl=ttl)


class ZeroIsZero(Double):
    def lifetime(self, ttl):
        return ttl


class TakesAnything(Double):
    def check(self, service):
        pass


class KeepsDeregistered(Double):
    async def deregister(self, service):
        pass


class SilentGoodbye(Double):
    def departed(self, since):
        return frozenset()


class DeregistersTheName(Double):
    async def deregister(self, service):
        await super().deregister(service)
        for key in [key for key in self.store.nodes if key[0] == service.name]:
            del self.store.nodes[key]


class UnknownIsAnError(Double):
    async def deregister(self, service):
        if not any((service.name, node.id) in self.store.nodes for node in service.nodes):
            raise NotRegistered(service.name)
        await super().deregister(service)


class FirstVersionOnly(Double):
    async def get_service(self, name):
        return tuple(replace(record, version="1") for record in await super().get_service(name))


class LosesEndpoints(Double):
    async def get_service(self, name):
        return tuple(replace(record, endpoints=()) for record in await super().get_service(name))


class CaseDoesNotMatter(Double):
    def same(self, service, name):
        return service.lower() == name.lower()


class EmptyInsteadOfError(Double):
    async def get_service(self, name):
        return self.records(name)


class WaitsLong(Double):
    async def get_service(self, name):
        try:
            return await super().get_service(name)
        except NotRegistered:
            if name.startswith("nobody"):
                await anyio.sleep(1.6)
            raise


class ListsOneVersion(Double):
    async def list_services(self):
        return tuple({record.name: record for record in await super().list_services()}.values())


class LateFirstSnapshot(Double):
    async def snapshots(self, name):
        if name is not None and not self.records(name):
            await anyio.lowlevel.checkpoint()
        elif self.records(name):
            await anyio.sleep(0.15)
        async for snapshot in super().snapshots(name):
            yield snapshot


class OneByOne(Double):
    async def snapshots(self, name):
        first = True
        async for snapshot in super().snapshots(name):
            if first and snapshot.services:
                record = snapshot.services[0]
                yield replace(snapshot, services=(replace(record, nodes=record.nodes[:1]),))
            first = False
            yield snapshot


class NodesAlone(Double):
    """Looks at ids, so that a change of address or version goes by."""

    async def snapshots(self, name):
        last = None
        async for snapshot in super().snapshots(name):
            ids = {node.id for record in snapshot.services for node in record.nodes}
            if ids != last:
                last = ids
                yield snapshot


class DropsTheLast(Double):
    async def snapshots(self, name):
        count = 0
        async for snapshot in super().snapshots(name):
            count += 1
            port = max((int(n.address.split(":")[1]) for r in snapshot.services for n in r.nodes), default=0)
            if port < 7020:
                yield snapshot


class ShowsEverything(Double):
    def snapshots(self, name):
        return super().snapshots(None)


class NoneIsNothing(Double):
    async def snapshots(self, name):
        async for snapshot in super().snapshots(name):
            yield snapshot if name is not None else replace(snapshot, services=snapshot.services[:1])


class UnknownWatchFails(Double):
    async def snapshots(self, name):
        if name is not None and name.startswith("nobody"):
            raise NotRegistered(name)
        async for snapshot in super().snapshots(name):
            yield snapshot


class AbsenceIsGoodbye(Double):
    async def snapshots(self, name):
        seen: set[str] = set()
        async for snapshot in super().snapshots(name):
            ids = {node.id for record in snapshot.services for node in record.nodes}
            yield replace(snapshot, departed=frozenset(seen - ids))
            seen |= ids


class WatchEnds(Double):
    async def snapshots(self, name):
        async for snapshot in super().snapshots(name):
            yield snapshot
            return


class WatchHoldsOn(Double):
    @asynccontextmanager
    async def watch(self, name):
        try:
            yield self.snapshots(name)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)
            raise


class OneAtATime(Double):
    """Two tasks at once lose what the other wrote."""

    async def register(self, service, *, ttl):
        before = dict(self.store.nodes)
        await super().register(service, ttl=ttl)
        mine = {key: value for key, value in self.store.nodes.items() if key not in before}
        self.store.nodes = {**before, **dict(list(mine.items())[-1:])} if len(mine) > 1 else self.store.nodes
        await anyio.lowlevel.checkpoint()


class Poisoned(Double):
    async def list_services(self):
        try:
            return await super().list_services()
        except BaseException:
            self.store.poisoned = True
            raise

    async def register(self, service, *, ttl):
        if getattr(self.store, "poisoned", False):
            return
        await super().register(service, ttl=ttl)


class FailsOverGarbage(Double):
    async def get_service(self, name):
        if self.store.broken:
            raise NotRegistered("the whole answer cannot be read")
        return await super().get_service(name)


class ComplainsEachTime(Double):
    def complain(self):
        if self.store.broken:
            log.warning("a record is left out")


class LeavesOutInSilence(Double):
    def complain(self):
        pass


class KeepsToItself(Double):
    def __init__(self, store):
        super().__init__(Store())


class LeavesOnce(Double):
    left = False

    async def __aexit__(self, *_):
        assert not self.left
        self.left = True


class HangsWhenCancelled(Double):
    async def __aexit__(self, kind, error, trace):
        if kind is not None and issubclass(kind, anyio.get_cancelled_exc_class()):
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.0)


class RaisesGroups(Double):
    async def __aexit__(self, kind, error, trace):
        if isinstance(error, Exception):
            raise ExceptionGroup("unhandled", [error])


class AnyioInACallback(Double):
    async def register(self, service, *, ttl):
        if sniffio.current_async_library() == "asyncio":
            loop = asyncio.get_running_loop()
            ready = loop.create_future()
            loop.call_soon(lambda: outcome(ready))
            await ready
        await super().register(service, ttl=ttl)


def outcome(ready):
    try:
        ready.set_result(anyio.current_time())
    except Exception as error:
        ready.set_exception(error)


class Impatient(Suite):
    patience = 0.6


STALE = "while_the_registry_does_not_answer_a_stale_snapshot_holds_what_was_known_last"

BROKEN = [
    (ForgetsToStore, "register_makes_the_nodes_of_the_record_known"),
    (NeverExpires, "nodes_are_known_for_ttl_seconds"),
    (FirstTimeCounts, "calling_it_again_is_the_heartbeat"),
    (Doubles, "registering_what_is_known_changes_nothing_but_the_time_it_lives"),
    (KeepsOldVersion, "a_record_of_a_known_node_replaces_that_nodes_record"),
    (KeepsOldVersion, "a_node_registered_again_with_another_version_moves"),
    (CopiesToTheVersion, "a_node_registered_again_with_another_version_moves"),
    (IdsAlone, "an_id_is_known_within_its_services_name"),
    (FirstMetadataCounts, "endpoints_and_metadata_are_those_that_were_registered_last"),
    (FirstNodesEndpoints, "endpoints_and_metadata_are_those_that_were_registered_last"),
    (EmptyRecordsCount, "a_record_without_nodes_changes_nothing"),
    (EmptyRecordsAreListed, "a_record_without_nodes_changes_nothing"),
    (EmptyGoodbyeIsForAll, "a_record_without_nodes_changes_nothing"),
    (UnreachableIsUnknown, "a_registry_that_does_not_answer_is_unavailable"),
    (DropsWhatItCannotStore, "a_registry_that_does_not_answer_is_unavailable"),
    (NeverAnswersAgain, "a_registry_that_does_not_answer_is_unavailable"),
    (MissesTheEnd, "the_end_of_a_nodes_time_is_a_change"),
    (DepartedForEver, "departed_forgets_who_came_back"),
    (AllDeparturesEver, "a_watch_begins_without_departures"),
    (SilentAboutSilence, STALE),
    (ForgetsWhenSilent, STALE),
    (StaleForEver, STALE),
    (StaleOnTheWallClock, STALE),
    (WatchEndsInSilence, STALE),
    (ReplacesTheName, "other_nodes_and_versions_of_the_name_stay"),
    (ZeroIsZero, "a_ttl_of_0_means_for_ever"),
    (TakesAnything, "a_record_without_name_version_id_or_address_is_a_value_error"),
    (KeepsDeregistered, "deregister_forgets_the_nodes_of_the_record_at_once"),
    (SilentGoodbye, "deregister_is_a_goodbye_for_every_watcher"),
    (DeregistersTheName, "deregister_forgets_no_other_node"),
    (UnknownIsAnError, "deregistering_unknown_nodes_is_no_error"),
    (FirstVersionOnly, "get_service_gives_one_record_per_version_as_registered"),
    (LosesEndpoints, "get_service_gives_one_record_per_version_as_registered"),
    (CaseDoesNotMatter, "names_are_compared_exactly_case_included"),
    (EmptyInsteadOfError, "an_unknown_name_is_not_registered_within_about_a_second"),
    (WaitsLong, "an_unknown_name_is_not_registered_within_about_a_second"),
    (ListsOneVersion, "list_services_gives_every_name_and_version"),
    (LateFirstSnapshot, "the_first_snapshot_comes_at_once_and_is_complete"),
    (OneByOne, "the_first_snapshot_comes_at_once_and_is_complete"),
    (NodesAlone, "a_snapshot_comes_after_each_change"),
    (DropsTheLast, "the_last_state_is_always_delivered"),
    (ShowsEverything, "a_watch_of_one_name_shows_that_name_alone"),
    (NoneIsNothing, "a_watch_of_none_shows_every_service"),
    (UnknownWatchFails, "an_unknown_name_is_an_empty_snapshot"),
    (AbsenceIsGoodbye, "absence_without_a_goodbye_is_no_departure"),
    (WatchEnds, "leaving_the_block_stops_the_watch_also_when_cancelled"),
    (WatchHoldsOn, "leaving_the_block_stops_the_watch_also_when_cancelled"),
    (OneAtATime, "every_method_may_be_called_by_many_tasks_at_once"),
    (Poisoned, "a_cancelled_call_leaves_the_registry_as_usable_as_before"),
    (FailsOverGarbage, "a_record_that_cannot_be_read_is_left_out_logged_once_and_fails_no_lookup"),
    (ComplainsEachTime, "a_record_that_cannot_be_read_is_left_out_logged_once_and_fails_no_lookup"),
    (LeavesOutInSilence, "a_record_that_cannot_be_read_is_left_out_logged_once_and_fails_no_lookup"),
    (KeepsToItself, "one_registry_sees_what_another_registers_and_deregisters"),
    (LeavesOnce, "leaving_twice_does_nothing"),
    (HangsWhenCancelled, "leaving_releases_everything_also_when_cancelled"),
    (RaisesGroups, "an_exception_inside_the_block_comes_out_as_it_is"),
    (AnyioInACallback, "it_works_under_plain_asyncio"),
]


def test_a_right_double_passes(run_suite):
    assert run_suite(Suite, lambda: fixtures(Double)) == {}


@pytest.mark.parametrize(("double", "sentence"), BROKEN)
def test_a_broken_double_is_caught(run_suite, double, sentence):
    assert run_suite(Impatient, lambda: fixtures(double), f"test_{sentence}")


def test_every_sentence_has_a_double_that_breaks_it(sentences):
    assert {sentence for _, sentence in BROKEN} == sentences(Suite)
