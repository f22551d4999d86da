"""Addresses, certificates, names: what is refused, and TLS with and without a certificate of one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from consul_agent import Agent, Certificates, running
from micro_core import (
    ConfigurationError,
    Finding,
    Node,
    NotRegistered,
    OptionError,
    RegistryUnavailable,
    ServiceRecord,
    Snapshot,
)
from micro_registry_consul import ConsulRegistry, micro_doctor
from micro_registry_consul.api import read_address

pytestmark = pytest.mark.anyio
Make = Callable[..., ConsulRegistry]


def record(name: str, *ids: str) -> ServiceRecord:
    return ServiceRecord(name, "1", tuple(Node(id, f"127.0.0.1:{9000 + at}") for at, id in enumerate(ids)))


@pytest.fixture(scope="module")
def certificates(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(binary, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def mtls(binary: Path, certificates: Certificates) -> Iterator[Agent]:
    with running(certificates.agent(binary, verify_client=True)) as agent:
        yield agent


@pytest.fixture(scope="module")
def tls(binary: Path, certificates: Certificates) -> Iterator[Agent]:
    with running(certificates.agent(binary, verify_client=False)) as agent:
        yield agent


def over_tls(agent: Agent, **options: Any) -> ConsulRegistry:
    return ConsulRegistry(ConsulRegistry.Options(address=(f"https://127.0.0.1:{agent.tls_port}",), **options))


async def test_tls_verifies_the_agent(tls: Agent, certificates: Certificates) -> None:
    async with over_tls(tls, ca_file=certificates.ca) as registry, registry.watch("secure") as snapshots:
        await registry.register(record("secure", "a"), ttl=90)
        with anyio.fail_after(20):
            async for snapshot in snapshots:
                if snapshot.services:
                    break
        assert await registry.get_service("secure") == (record("secure", "a"),)
        await registry.deregister(record("secure", "a"))
    async with over_tls(tls) as registry:
        with pytest.raises(RegistryUnavailable, match=r"(?i)certificate"):
            await registry.list_services()
    named = replace(ConsulRegistry.Options(), address=(f"127.0.0.1:{tls.tls_port}",), tls=True, ca_file=certificates.ca)
    async with ConsulRegistry(replace(named, server_name="server.dc1.consul")) as registry:
        await registry.list_services()
    async with ConsulRegistry(replace(named, server_name="somebody.else")) as registry:
        with pytest.raises(RegistryUnavailable, match=r"(?i)certificate|hostname"):
            await registry.list_services()


async def test_mtls_shows_a_certificate(mtls: Agent, certificates: Certificates) -> None:
    own = {"cert_file": certificates.client, "key_file": certificates.client_key}
    async with over_tls(mtls, ca_file=certificates.ca, **own) as registry:
        await registry.list_services()
    async with over_tls(mtls, ca_file=certificates.ca) as registry:
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            await registry.list_services()


async def test_certificates_that_cannot_be_used_are_a_configuration_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for file in (tmp_path / "none.pem", empty):
        with pytest.raises(ConfigurationError, match=str(file)):
            async with ConsulRegistry(ConsulRegistry.Options(address=("https://127.0.0.1:1",), ca_file=file)):
                pass


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"address": ()}, "expected the address of an agent"),
        ({"address": ("ftp://host",)}, "expected host:port or http"),
        ({"address": ("unix:///run/consul.sock",)}, "expected host:port or http"),
        ({"address": ("host:port",)}, "cannot be read"),
        ({"address": ("http://host/v1",)}, "has a path"),
        ({"address": ("http://me:secret@host",)}, "expected host:port or http"),
        ({"ca_file": Path("ca.pem")}, "not spoken to by TLS"),
        ({"key_file": Path("key.pem"), "tls": True}, "without 'cert_file'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        ConsulRegistry(ConsulRegistry.Options(**options))


@pytest.mark.parametrize(
    ("text", "tls", "url"),
    [
        ("host", False, "http://host:8500"),
        ("host:1", True, "https://host:1"),
        ("https://host", False, "https://host:8501"),
        ("[::1]:8500", False, "http://[::1]:8500"),
        ("http://host:1/", True, "http://host:1"),
    ],
)
def test_addresses(text: str, tls: bool, url: str) -> None:
    assert str(read_address(text, tls=tls)) == url


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\\b", "line\nbreak", "x" * 256, "../../kv/secret", "\ud800"])
async def test_names_that_cannot_stand_in_a_path_never_reach_one(name: str, make: Make) -> None:
    async with make() as registry:
        for broken in (record(name, "a"), record("greeter", name)):
            with pytest.raises(ValueError, match=r"the (name|id)"):
                await registry.register(broken, ttl=90)
        with pytest.raises(NotRegistered):
            await registry.get_service(name)
        async with registry.watch(name) as snapshots:
            assert await anext(snapshots) == Snapshot(())


@pytest.mark.parametrize(
    "name", ["what?", "a#b", "100%", "a b", "é", "topic:users", "a.b-c_d~e", "%2e%2e", "a&index=1"]
)
async def test_other_names_are_escaped(name: str, make: Make) -> None:
    async with make() as registry:
        await registry.register(record(name, f"{name}-1"), ttl=90)
        assert await until_known(registry, name) == (record(name, f"{name}-1"),)
        await registry.deregister(record(name, f"{name}-1"))
        with pytest.raises(NotRegistered):
            await registry.get_service(name)


async def until_known(registry: ConsulRegistry, name: str) -> tuple[ServiceRecord, ...]:
    with anyio.fail_after(20):
        while True:
            try:
                return await registry.get_service(name)
            except NotRegistered:
                await anyio.sleep(0.01)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", ":80"])
async def test_a_node_has_a_host_and_a_port(address: str, make: Make) -> None:
    async with make() as registry:
        with pytest.raises(ValueError, match="host:port"):
            await registry.register(ServiceRecord("greeter", "1", (Node("a", address),)), ttl=90)
        for ttl in (-1.0, float("inf"), float("nan")):
            with pytest.raises(ValueError, match="ttl"):
                await registry.register(record("greeter", "a"), ttl=ttl)


async def test_a_registry_that_is_not_open_says_so() -> None:
    registry = ConsulRegistry(ConsulRegistry.Options())
    assert repr(registry) == "<ConsulRegistry http://127.0.0.1:8500>"
    with pytest.raises(RegistryUnavailable, match="not open"):
        await registry.list_services()


def test_the_doctor_tells_of_each_agent(agent: Agent, tls: Agent) -> None:
    def findings(*addresses: str, **more: Any) -> list[Finding]:
        return list(micro_doctor(ConsulRegistry.Options(address=addresses, **more)))

    there, gone = findings(agent.address, "127.0.0.1:1")
    assert (there.level, gone.level) == ("ok", "error")
    assert agent.address in there.text
    assert "MICRO_REGISTRY_ADDRESS" in gone.cure
    (unverified,) = findings(f"https://127.0.0.1:{tls.tls_port}")
    assert unverified.level == "error"
    (no_file,) = findings(f"https://127.0.0.1:{tls.tls_port}", ca_file=Path("/none.pem"))
    assert (no_file.level, "certificates" in no_file.cure) == ("error", True)


async def until(snapshots: AsyncIterator[Snapshot], count: int) -> None:
    with anyio.fail_after(20):
        async for snapshot in snapshots:
            if sum(len(service.nodes) for service in snapshot.services) == count:
                return


async def test_every_node_that_is_registered_becomes_visible_to_another_registry(make: Make) -> None:
    name = f"quick-{uuid4().hex[:8]}"
    async with make() as one, make() as other, other.watch(name) as snapshots:
        await until(snapshots, 0)
        for at in range(20):
            await one.register(record(name, f"{name}-{at}"), ttl=90)
            await until(snapshots, at + 1)
        await one.deregister(record(name, *(f"{name}-{n}" for n in range(20))))
