"""An agent that is killed, hung, restarted with nothing, or refuses the token."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from consul_agent import Agent, running, with_acl
from micro_conformance.polling import eventually
from micro_core import Node, NotRegistered, RegistryUnavailable, Secret, ServiceRecord, Snapshot
from micro_registry_consul import ConsulRegistry

pytestmark = pytest.mark.anyio
TWO = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def registry_at(*addresses: str, **options: Any) -> ConsulRegistry:
    return ConsulRegistry(ConsulRegistry.Options(address=addresses, **options))


def record(*ids: str, name: str = "greeter") -> ServiceRecord:
    return ServiceRecord(name, "1", tuple(Node(id, f"127.0.0.1:{9000 + at}") for at, id in enumerate(ids)))


def ids(snapshot: Snapshot) -> set[str]:
    return {node.id for service in snapshot.services for node in service.nodes}


async def until(
    snapshots: AsyncIterator[Snapshot], wanted: Callable[[Snapshot], bool], within: float = 20.0
) -> Snapshot:
    with anyio.fail_after(within):
        async for snapshot in snapshots:
            if wanted(snapshot):
                return snapshot
    raise AssertionError("the watch ended")


@TWO
async def test_after_a_kill_it_goes_on_with_what_is_known_and_registers_again(
    own_agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    async with registry_at(own_agent.address) as one, registry_at(own_agent.address) as other:
        await one.register(record("a"), ttl=90)
        await one.register(record("b", name="other"), ttl=0)
        async with other.watch("greeter") as snapshots:
            await until(snapshots, lambda seen: ids(seen) == {"a"})
            own_agent.kill()
            stale = await until(snapshots, lambda seen: seen.stale_since is not None)
            assert ids(stale) == {"a"}
            with pytest.raises(RegistryUnavailable, match=own_agent.address):
                await other.get_service("greeter")
            await anyio.to_thread.run_sync(own_agent.start)
            last = await until(snapshots, lambda seen: seen.stale_since is None and ids(seen) == {"a"})
            assert last.departed == frozenset()
            await eventually(lambda: reads(other, record("b", name="other")), within=20)
    assert "going on with what is known" in caplog.text


@TWO
async def test_a_hung_agent_is_noticed_and_believed_again(own_agent: Agent) -> None:
    async with (
        registry_at(own_agent.address, wait=1.0, timeout=0.5) as registry,
        registry.watch("greeter") as snapshots,
    ):
        await registry.register(record("a"), ttl=90)
        await until(snapshots, lambda seen: ids(seen) == {"a"})
        own_agent.signal(signal.SIGSTOP)
        try:
            stale = await until(snapshots, lambda seen: seen.stale_since is not None)
            assert ids(stale) == {"a"}
            with pytest.raises(RegistryUnavailable, match=r"does not answer"):
                await registry.get_service("greeter")
        finally:
            own_agent.signal(signal.SIGCONT)
        await until(snapshots, lambda seen: seen.stale_since is None and ids(seen) == {"a"})


@TWO
async def test_a_crashed_process_is_left_out_after_its_liveness(own_agent: Agent) -> None:
    own_agent.warm()
    async with registry_at(own_agent.address) as other, other.watch("greeter") as snapshots:
        async with registry_at(own_agent.address, liveness=0.9) as registry:
            await registry.register(record("a"), ttl=90)
            await until(snapshots, lambda seen: ids(seen) == {"a"})
        gone = await until(snapshots, lambda seen: not ids(seen))
        assert gone.departed == frozenset()


@TWO
async def test_several_addresses_are_tried(agent: Agent) -> None:
    name = f"several-{uuid4().hex[:8]}"
    async with registry_at("127.0.0.1:1", agent.address) as registry, registry.watch(name) as snapshots:
        await registry.register(record("a", name=name), ttl=90)
        await until(snapshots, lambda seen: ids(seen) == {"a"} and seen.stale_since is None)
        await registry.deregister(record("a", name=name))
        with pytest.raises(NotRegistered):
            await registry.get_service(name)


async def test_what_the_environment_says_does_not_win_over_options(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "https://127.0.0.1:1/nonsense")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "theirs")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with registry_at(agent.address) as registry:
        await registry.list_services()


def allowed(agent: Agent, rules: str) -> tuple[str, str, str]:
    """A token with those rules: its secret, its id, its policy's id."""
    policy = agent.ask("PUT", "/v1/acl/policy", {"Name": uuid4().hex, "Rules": rules})
    token = agent.ask("PUT", "/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})
    return token["SecretID"], token["AccessorID"], policy["ID"]


FULL = 'service_prefix "" { policy = "write" } node_prefix "" { policy = "read" }'


@TWO
async def test_tokens(binary: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(with_acl(binary)) as agent:
        secret, accessor, policy = allowed(agent, FULL)
        async with registry_at(agent.address) as registry:
            with pytest.raises(
                RegistryUnavailable, match=r"refuses requests without a token .*MICRO_REGISTRY_CONSUL_TOKEN"
            ):
                await registry.register(record("a"), ttl=90)
        async with registry_at(agent.address, token=Secret("wrong\r\nX: y")) as registry:
            with pytest.raises(RegistryUnavailable, match="holds characters") as caught:
                await registry.list_services()
            assert "wrong" not in str(caught.value)

        file = tmp_path / "token"
        file.write_text("11111111-2222-3333-4444-555555555555")
        async with registry_at(agent.address, token=Secret(path=file), wait=1.0) as registry:
            with pytest.raises(RegistryUnavailable, match="refuses the token"):
                await registry.register(record("a"), ttl=90)
            file.write_text(secret)
            await eventually(lambda: registered(registry), within=20)
            async with registry.watch("greeter") as snapshots:
                await until(snapshots, lambda seen: ids(seen) == {"a"})
                caplog.clear()
                agent.ask("PUT", f"/v1/acl/policy/{policy}", {"Name": "none", "Rules": ""})
                stale = await until(snapshots, lambda seen: seen.stale_since is not None)
                assert ids(stale) == {"a"}
                await eventually(lambda: "rights were revoked" in caplog.text, within=20)
                agent.ask("PUT", f"/v1/acl/policy/{policy}", {"Name": "all", "Rules": FULL})
                await until(snapshots, lambda seen: seen.stale_since is None and ids(seen) == {"a"}, within=20)
                caplog.clear()
                agent.ask("DELETE", f"/v1/acl/token/{accessor}")
                await eventually(lambda: "refuses the token" in caplog.text, within=20)
                stale = await until(snapshots, lambda seen: seen.stale_since is not None)
                assert ids(stale) == {"a"}
                file.write_text(allowed(agent, FULL)[0])
                await until(snapshots, lambda seen: seen.stale_since is None and ids(seen) == {"a"})
        assert secret not in caplog.text


async def registered(registry: ConsulRegistry) -> bool:
    try:
        await registry.register(record("a"), ttl=90)
    except RegistryUnavailable:
        return False
    return True


async def test_bodies_are_json_that_consul_reads(agent: Agent) -> None:
    name = f"odd-{uuid4().hex[:8]}"
    node = Node('id "quoted" é', "[::1]:80", {"é": "ü", "long": "x" * 600, "consul-x": "1", "ok": "1"})
    odd = ServiceRecord(name, "v/1 é", (node,), (), {"owner": "é"})
    async with registry_at(agent.address) as registry:
        await registry.register(odd, ttl=90)
        await eventually(lambda: reads(registry, odd), within=20)
        meta = agent.ask("GET", f"/v1/catalog/service/{name}")[0]["ServiceMeta"]
        assert json.loads(json.dumps(meta)) == {"ok": "1"}
        await registry.deregister(odd)
        with pytest.raises(NotRegistered):
            await registry.get_service(name)


async def reads(registry: ConsulRegistry, wanted: ServiceRecord) -> bool:
    try:
        return await registry.get_service(wanted.name) == (wanted,)
    except NotRegistered:
        return False
