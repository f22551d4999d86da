"""Namespaces over a real registry."""

from __future__ import annotations

from itertools import count

import anyio
import pytest
from micro_core import ConfigurationError, Node, NotRegistered, Registry, ServiceRecord, capture_clock
from micro_core.loader import load
from micro_discovery import Namespaced, RegistryDiscovery

pytestmark = pytest.mark.anyio
MemoryRegistry = load("registry", "memory").cls
_fresh = count()


@pytest.fixture
def registry() -> Registry:
    made: Registry = MemoryRegistry(MemoryRegistry.Options(f"namespaced-{next(_fresh)}"))
    return made


def greeter(*ids: str, name: str = "greeter") -> ServiceRecord:
    return ServiceRecord(name, "1", tuple(Node(key, "127.0.0.1:1") for key in ids))


async def test_names_are_prefixed_below_and_bare_above(registry: Registry) -> None:
    async with Namespaced(registry, "ada") as ada:
        await ada.register(greeter("a"), ttl=60)
        assert await registry.get_service("ada.greeter") == (greeter("a", name="ada.greeter"),)
        assert await ada.get_service("greeter") == (greeter("a"),)
        assert await ada.list_services() == (greeter("a"),)
        await ada.deregister(greeter("a"))
        with pytest.raises(NotRegistered):
            await ada.get_service("greeter")


async def test_other_namespaces_are_invisible(registry: Registry) -> None:
    ada, bob, everyone, default = (Namespaced(registry, namespace) for namespace in ("ada", "bob", "", "default"))
    await ada.register(greeter("a"), ttl=60)
    await everyone.register(greeter("c"), ttl=60)
    assert await bob.list_services() == ()
    with pytest.raises(NotRegistered):
        await bob.get_service("greeter")
    assert await default.list_services() == await everyone.list_services()
    assert {record.name for record in await everyone.list_services()} == {"ada.greeter", "greeter"}


async def test_watches_see_their_namespace_alone(registry: Registry) -> None:
    ada, bob = Namespaced(registry, "ada"), Namespaced(registry, "bob")
    async with ada.watch(None) as everything, ada.watch("greeter") as one:
        assert (await anext(everything)).services == (await anext(one)).services == ()
        await bob.register(greeter("b"), ttl=60)
        for snapshots in (everything, one):
            with anyio.move_on_after(0.05) as waiting:
                await anext(snapshots)
            assert waiting.cancelled_caught
        await ada.register(greeter("a"), ttl=60)
        for snapshots in (everything, one):
            with anyio.fail_after(1):
                assert (await anext(snapshots)).services == (greeter("a"),)


@pytest.mark.parametrize("namespace", ["", "ada"])
async def test_half_a_record_is_refused(registry: Registry, namespace: str) -> None:
    with pytest.raises(ValueError, match="needs"):
        await Namespaced(registry, namespace).register(greeter("a", name=""), ttl=60)


async def test_it_is_what_the_registry_below_is(registry: Registry) -> None:
    ada = Namespaced(registry, "ada")
    assert (ada.reach, ada.read_only, ada.backends) == (registry.reach, registry.read_only, registry.backends)


@pytest.mark.parametrize("namespace", ["a.b", "a b", "ä", "a/b", "x" * 64, "a\n"])
async def test_a_namespace_that_could_be_mistaken(registry: Registry, namespace: str) -> None:
    with pytest.raises(ConfigurationError, match="MICRO_NAMESPACE"):
        Namespaced(registry, namespace)


async def test_discovery_inside_a_namespace(registry: Registry) -> None:
    ada = Namespaced(registry, "ada")
    await ada.register(greeter("a"), ttl=60)
    await registry.register(greeter("b"), ttl=60)
    async with ada, RegistryDiscovery(ada, registry_name="memory", namespace="ada") as discovery:
        found = await discovery.find("greeter", deadline=capture_clock()() + 1)
        assert [node.id for node in found.nodes] == ["a"]


async def test_the_users_exception_comes_out_as_it_is(registry: Registry) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with Namespaced(registry, "ada") as ada, ada.watch(None):
            raise KeyError("mine")
