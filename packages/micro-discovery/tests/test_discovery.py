"""Discovery over real registries, and over ones that fail."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from itertools import count
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from micro_core import (
    Clock,
    Filter,
    Node,
    NodeSet,
    Outcome,
    Registry,
    RegistryUnavailable,
    ServiceNotFound,
    ServiceRecord,
    Snapshot,
    capture_clock,
)
from micro_core.loader import load
from micro_discovery import HOST_KEY, RegistryDiscovery

pytestmark = pytest.mark.anyio
MemoryRegistry = load("registry", "memory").cls
_fresh = count()


class Counted(MemoryRegistry):  # type: ignore[misc, valid-type]
    """A memory registry that counts, and fails when told to."""

    def __init__(self, address: str | None = None) -> None:
        super().__init__(self.Options(address or f"discovery-{next(_fresh)}"))
        self.watches = 0
        self.open = 0
        self.lists = 0
        self.down = False
        self.seen: list[str] = []

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        self.watches += 1
        self.seen.append(_variable.get())
        if self.down:
            raise RegistryUnavailable("connection refused")
        self.open += 1
        try:
            async with super().watch(name) as snapshots:
                yield snapshots
        finally:
            self.open -= 1

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        self.lists += 1
        if self.down:
            raise RegistryUnavailable("connection refused")
        found: tuple[ServiceRecord, ...] = await super().list_services()
        return found


class Scripted(Counted):
    """A registry whose watch says what the test says; an exception ends the watch."""

    def __init__(self) -> None:
        super().__init__()
        self._send, self._receive = anyio.create_memory_object_stream[Snapshot | Exception](math.inf)

    def say(self, *ids: str, departed: str = "", stale: float | None = None) -> None:
        services = (greeter(*ids),) if ids else ()
        self.put(Snapshot(services, frozenset(departed.split()), stale))

    def put(self, snapshot: Snapshot) -> None:
        self._send.send_nowait(snapshot)

    def fail(self, error: Exception) -> None:
        self._send.send_nowait(error)

    @asynccontextmanager
    async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
        self.watches += 1
        yield self._snapshots()

    async def _snapshots(self) -> AsyncIterator[Snapshot]:
        while True:
            said = await self._receive.receive()
            if isinstance(said, Exception):
                raise said
            yield said

    async def __aexit__(self, *_: object) -> None:
        self._send.close()
        self._receive.close()


_variable: ContextVar[str] = ContextVar("_variable", default="")


def greeter(*ids: str, version: str = "1", name: str = "greeter", **metadata: str) -> ServiceRecord:
    return ServiceRecord(name, version, tuple(Node(key, "127.0.0.1:1", metadata) for key in ids))


def discover(registry: Registry, **options: Any) -> RegistryDiscovery:
    return RegistryDiscovery(registry, registry_name="memory", **({"lookup_timeout": 5.0} | options))


def ids(found: NodeSet | None) -> list[str]:
    return [node.id for node in found.nodes] if found else []


def timeless(text: str) -> str:
    return re.sub(r"after \d+\.\d s", "after some s", text)


def lists(discovery: RegistryDiscovery, key: str) -> bool:
    return key in ids(discovery.known("greeter"))


async def until(true: Callable[[], object], within: float = 3.0) -> None:
    with anyio.fail_after(within):
        for _ in iter(lambda: bool(true()), True):
            await anyio.sleep(0.005)


@pytest.fixture
async def clock() -> Clock:
    return capture_clock()


async def test_find_waits_for_a_node_and_known_follows_changes(clock: Clock) -> None:
    registry = Counted()
    async with discover(registry) as discovery, anyio.create_task_group() as group:
        assert discovery.known("greeter") is None
        found: list[NodeSet] = []

        async def find() -> None:
            found.append(await discovery.find("greeter", deadline=clock() + 5))

        group.start_soon(find)
        await until(lambda: registry.open)
        await registry.register(greeter("b", "a"), ttl=60)
        await until(lambda: found)
        assert ids(found[0]) == ["a", "b"]
        assert discovery.known("greeter") is found[0]
        await registry.register(greeter("c"), ttl=60)
        await until(lambda: ids(discovery.known("greeter")) == ["a", "b", "c"])
        await registry.deregister(greeter("a", "b", "c"))
        await until(lambda: discovery.known("greeter") is None)


async def test_a_thundering_herd_makes_one_watch(clock: Clock) -> None:
    registry = Counted()
    await registry.register(greeter("a"), ttl=60)
    found: list[NodeSet] = []
    async with discover(registry) as discovery, anyio.create_task_group() as group:

        async def find() -> None:
            found.append(await discovery.find("greeter", deadline=clock() + 5))

        for _ in range(1_000):
            group.start_soon(find)
        await until(lambda: len(found) == 1_000)
        assert len(set(map(id, found))) == 1
        assert (registry.watches, registry.lists) == (1, 0)


async def test_a_herd_after_an_unknown_service_makes_one_watch_and_one_list(clock: Clock) -> None:
    registry = Counted()
    failed: list[str] = []
    async with discover(registry, lookup_timeout=0.2) as discovery, anyio.create_task_group() as group:

        async def find() -> None:
            with pytest.raises(ServiceNotFound) as caught:
                await discovery.find("greeter", deadline=clock() + 5)
            failed.append(caught.value.detail)

        for _ in range(200):
            group.start_soon(find)
        await until(lambda: len(failed) == 200)
        assert (registry.watches, registry.lists) == (1, 1)


async def test_closing_ends_every_watch(clock: Clock) -> None:
    registry = Counted()
    for name in ("one", "two"):
        await registry.register(greeter("a", name=name), ttl=60)
    async with discover(registry) as discovery:
        await discovery.find("one", deadline=clock() + 1)
        await discovery.find("two", deadline=clock() + 1)
        assert registry.open == 2
    assert registry.open == 0
    assert discovery.known("one") is None
    with pytest.raises(RuntimeError, match="async with"):
        await discovery.find("one", deadline=clock() + 1)


async def test_closing_ends_watches_when_cancelled_too(clock: Clock) -> None:
    registry = Counted()
    await registry.register(greeter("a"), ttl=60)
    with anyio.CancelScope() as scope:
        async with discover(registry) as discovery:
            await discovery.find("greeter", deadline=clock() + 1)
            scope.cancel()
            await checkpoint()
    assert scope.cancelled_caught
    assert registry.open == 0


async def test_closing_lets_waiting_finds_fail(clock: Clock) -> None:
    registry = Counted()
    with anyio.fail_after(3):
        async with anyio.create_task_group() as group, discover(registry, lookup_timeout=30) as discovery:

            async def find() -> None:
                with pytest.raises(ServiceNotFound, match="closed"):
                    await discovery.find("greeter", deadline=clock() + 30)

            group.start_soon(find)
            await until(lambda: registry.open)
    assert registry.open == 0


async def test_the_users_exception_comes_out_as_it_is(clock: Clock) -> None:
    registry = Counted()
    await registry.register(greeter("a"), ttl=60)

    async def fail() -> None:
        async with discover(registry) as discovery:
            await discovery.find("greeter", deadline=clock() + 1)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def test_an_unknown_service_is_named_with_its_likeness(clock: Clock) -> None:
    registry = Counted()
    await registry.register(greeter("a"), ttl=60)
    async with discover(registry, lookup_timeout=0.2, namespace="ada") as discovery:
        started = clock()
        with pytest.raises(ServiceNotFound) as caught:
            await discovery.find("greter", deadline=clock() + 5)
        assert 0.19 < clock() - started < 2.0
    assert timeless(caught.value.detail) == (
        "no node of 'greter' in registry 'memory' after some s, namespace 'ada'; did you mean 'greeter'?"
    )
    assert caught.value.outcome is Outcome.NOT_PROCESSED


async def test_the_deadline_comes_before_the_lookup_limit(clock: Clock) -> None:
    async with discover(Counted(), lookup_timeout=30) as discovery:
        with anyio.fail_after(2), pytest.raises(ServiceNotFound, match=r"after 0\.[1-9] s"):
            await discovery.find("greeter", deadline=clock() + 0.1)
        with anyio.fail_after(2), pytest.raises(ServiceNotFound):
            await discovery.find("greeter", deadline=clock() - 5)


async def test_a_filter_that_fits_none_says_what_there_is(clock: Clock) -> None:
    registry = Counted()
    await registry.register(greeter("a", zone="x"), ttl=60)
    await registry.register(greeter("b", version="2", zone="y"), ttl=60)
    async with discover(registry, lookup_timeout=0.2) as discovery:
        with pytest.raises(ServiceNotFound) as caught:
            await discovery.find("greeter", Filter("3", frozenset({("zone", "z")})), deadline=clock() + 5)
        assert timeless(caught.value.detail) == (
            "no node of 'greeter' with version '3' and zone='z' in registry 'memory' after some s, "
            "namespace 'default'; there is version '1', '2' and zone='x', 'y'"
        )
        assert ids(await discovery.find("greeter", Filter("2"), deadline=clock() + 1)) == ["b"]
        assert discovery.known("greeter", Filter("2")) is discovery.known("greeter", Filter("2"))
        assert discovery.known("greeter", Filter("3")) is None


async def test_a_registry_that_fails_at_start_is_tried_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    registry = Counted()
    await registry.register(greeter("a"), ttl=60)
    registry.down = True
    async with discover(registry, lookup_timeout=0.2, max_backoff=0.1) as discovery:
        with caplog.at_level(logging.INFO, "micro.discovery"):
            with pytest.raises(ServiceNotFound) as caught:
                await discovery.find("greeter", deadline=clock() + 5)
            assert "registry 'memory' did not answer after some s" in timeless(caught.value.detail)
            assert "connection refused" in caught.value.detail
            await until(lambda: registry.watches > 3)
            registry.down = False
            await until(lambda: discovery.known("greeter"))
    levels = [entry.levelname for entry in caplog.records]
    assert levels == ["WARNING", "INFO"]


async def test_find_goes_on_waiting_while_the_registry_returns(clock: Clock) -> None:
    registry = Counted()
    await registry.register(greeter("a"), ttl=60)
    registry.down = True
    async with discover(registry) as discovery, anyio.create_task_group() as group:
        found: list[NodeSet] = []

        async def find() -> None:
            found.append(await discovery.find("greeter", deadline=clock() + 5))

        group.start_soon(find)
        await until(lambda: registry.watches)
        registry.down = False
        await until(lambda: found)


async def test_the_last_good_set_outlives_the_registry(clock: Clock) -> None:
    async with Scripted() as registry, discover(registry, max_backoff=0.1) as discovery:
        registry.say("a", "b")
        found = await discovery.find("greeter", deadline=clock() + 1)
        registry.say(stale=1.0)
        registry.fail(RegistryUnavailable("gone"))
        registry.fail(ValueError("a plugin with a bug"))
        registry.say(stale=1.0)
        await until(lambda: registry.watches >= 3)
        assert discovery.known("greeter") is found
        registry.say(departed="a", stale=1.0)
        await until(lambda: ids(discovery.known("greeter")) == ["b"])
        registry.say("a", "b")
        await until(lambda: ids(discovery.known("greeter")) == ["a", "b"])


async def test_an_empty_set_is_doubted_until_the_nodes_refuse(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    async with Scripted() as registry, discover(registry) as discovery:
        registry.say("a", "b")
        found = await discovery.find("greeter", deadline=clock() + 1)
        registry.say()
        await until(lambda: "said no goodbye" in caplog.text)
        assert discovery.known("greeter") is found
        for node in found.nodes:
            discovery.report("greeter", node, Outcome.OK)
        discovery.report("greeter", found.nodes[0], Outcome.NOT_PROCESSED)
        assert discovery.known("greeter") is found
        discovery.report("greeter", found.nodes[1], Outcome.NOT_PROCESSED)
        assert discovery.known("greeter") is None
        discovery.report("stranger", found.nodes[1], Outcome.NOT_PROCESSED)


async def test_a_goodbye_is_believed_at_once(clock: Clock) -> None:
    async with Scripted() as registry, discover(registry) as discovery:
        registry.say("a")
        await discovery.find("greeter", deadline=clock() + 1)
        registry.say(departed="a")
        await until(lambda: discovery.known("greeter") is None)


async def test_departed_nodes_are_told_of_by_address_and_moved_ones_by_their_old_one(clock: Clock) -> None:
    told: list[str] = []

    def at(**addresses: str) -> Snapshot:
        nodes = tuple(Node(key, address) for key, address in addresses.items())
        return Snapshot((ServiceRecord("greeter", "1", nodes),) if nodes else ())

    async with Scripted() as registry, discover(registry, departed=told.append) as discovery:
        registry.put(at(a="127.0.0.1:1", b="127.0.0.1:2", c="127.0.0.1:2"))
        await discovery.find("greeter", deadline=clock() + 1)
        assert not told
        registry.put(at(a="127.0.0.1:3", c="127.0.0.1:2"))
        await until(lambda: told == ["127.0.0.1:1"])
        registry.put(Snapshot((), frozenset("a"), None))
        await until(lambda: told == ["127.0.0.1:1", "127.0.0.1:3"])
        (last,) = (await discovery.find("greeter", deadline=clock() + 1)).nodes
        discovery.report("greeter", last, Outcome.NOT_PROCESSED)
        assert told == ["127.0.0.1:1", "127.0.0.1:3", "127.0.0.1:2"]


async def test_a_departure_that_cannot_be_told_is_logged_and_discovery_goes_on(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(address: str) -> None:
        raise RuntimeError("broken")

    async with Scripted() as registry, discover(registry, departed=fail) as discovery:
        registry.put(Snapshot((ServiceRecord("greeter", "1", (Node("a", "127.0.0.1:1"),)),)))
        await discovery.find("greeter", deadline=clock() + 1)
        registry.put(Snapshot((ServiceRecord("greeter", "1", (Node("a", "127.0.0.1:2"),)),)))
        await until(lambda: [node.address for node in discovery.known("greeter").nodes] == ["127.0.0.1:2"])
        assert "127.0.0.1:1 could not be forgotten" in caplog.text
        assert registry.watches == 1


async def test_nodes_that_cannot_be_called_are_left_out_and_logged_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Counted()
    bad = ServiceRecord("greeter", "1", (Node("bad", "h:0"), Node("far", "127.0.0.1:9", {HOST_KEY: "elsewhere"})))
    await registry.register(bad, ttl=60)
    async with discover(registry, lookup_timeout=0.2) as discovery:
        with pytest.raises(ServiceNotFound, match="2 cannot be called, 'bad' for one: its port is 0"):
            await discovery.find("greeter", deadline=clock() + 1)
        for key in ("a", "b"):
            await registry.register(greeter(key), ttl=60)
            await until(partial(lists, discovery, key))
    assert sum("left out" in entry.message for entry in caplog.records) == 2


async def test_watches_that_nobody_uses_are_dropped(clock: Clock) -> None:
    registry = Counted()
    await registry.register(greeter("a"), ttl=60)
    async with discover(registry, idle_timeout=0.3) as discovery:
        await discovery.find("greeter", deadline=clock() + 1)
        for _ in range(8):
            await anyio.sleep(0.06)
            assert discovery.known("greeter") is not None
        await until(lambda: registry.open == 0)
        assert ids(await discovery.find("greeter", deadline=clock() + 1)) == ["a"]
        assert registry.watches == 2


async def test_nodes_of_a_silent_registry_are_not_dropped(clock: Clock) -> None:
    async with Scripted() as registry, discover(registry, idle_timeout=0.02) as discovery:
        registry.say("a")
        registry.say("a", stale=1.0)
        await discovery.find("greeter", deadline=clock() + 1)
        await until(lambda: discovery._entries["greeter"].trouble)
        await anyio.sleep(0.2)
        assert ids(discovery.known("greeter")) == ["a"]


async def test_the_number_of_watches_is_bounded(clock: Clock) -> None:
    registry = Counted()
    async with discover(registry, max_services=5, lookup_timeout=0.02) as discovery:
        for number in range(12):
            with pytest.raises(ServiceNotFound):
                await discovery.find(f"guess-{number}", deadline=clock() + 1)
        await until(lambda: registry.open == 5)
        assert len(discovery._entries) == 5


async def test_watches_carry_no_context_of_the_first_caller(clock: Clock) -> None:
    registry = Counted()
    await registry.register(greeter("a"), ttl=60)
    async with discover(registry) as discovery:
        token = _variable.set("of this call")
        await discovery.find("greeter", deadline=clock() + 1)
        _variable.reset(token)
    assert registry.seen == [""]


async def test_a_cancelled_find_leaves_the_watch_for_others(clock: Clock) -> None:
    registry = Counted()
    async with discover(registry) as discovery:
        with anyio.move_on_after(0.05):
            await discovery.find("greeter", deadline=clock() + 5)
        await registry.register(greeter("a"), ttl=60)
        await until(lambda: discovery.known("greeter"))
        assert registry.watches == 1


async def test_a_plugin_that_fails_while_its_watch_is_closed(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy(Counted):
        @asynccontextmanager
        async def watch(self, name: str | None) -> AsyncIterator[AsyncIterator[Snapshot]]:
            async with anyio.create_task_group() as group:
                group.start_soon(self._break)
                async with super().watch(name) as snapshots:
                    yield snapshots

        async def _break(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("while it is closed")

    registry = Clumsy()
    await registry.register(greeter("a"), ttl=60)
    await registry.register(greeter("a", name="other"), ttl=60)
    async with discover(registry, max_services=1) as discovery:
        await discovery.find("greeter", deadline=clock() + 1)
        await discovery.find("other", deadline=clock() + 1)
        await until(lambda: registry.open == 1)
        assert ids(discovery.known("other")) == ["a"]
    assert registry.open == 0


def test_it_works_under_plain_asyncio() -> None:
    async def main() -> None:
        registry = Counted()
        await registry.register(greeter("a"), ttl=60)
        async with discover(registry) as discovery:
            assert ids(await discovery.find("greeter", deadline=capture_clock()() + 1)) == ["a"]

    asyncio.run(main())
