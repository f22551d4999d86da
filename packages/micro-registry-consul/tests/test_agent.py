"""What an agent is left with: by a datacenter's name, by a killed process, by cancelled queries."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest
from consul_agent import Agent
from micro_conformance.polling import eventually
from micro_core import Node, NotRegistered, RegistryUnavailable, ServiceRecord
from micro_registry_consul import ConsulRegistry

pytestmark = pytest.mark.anyio
TWO = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
KEPT = Path(__file__).parent / "soak_consul.py"
ESTABLISHED = "01"


def registry_at(agent: Agent, **options: Any) -> ConsulRegistry:
    return ConsulRegistry(ConsulRegistry.Options(address=(agent.address,), **options))


def record(name: str) -> ServiceRecord:
    return ServiceRecord(name, "1", (Node(f"{name}-a", "127.0.0.1:9000"),))


async def is_known(registry: ConsulRegistry, name: str) -> bool:
    try:
        return bool(await registry.get_service(name))
    except NotRegistered:
        return False


async def is_unknown(registry: ConsulRegistry, name: str) -> bool:
    return not await is_known(registry, name)


def kept(name: str, agent: Agent) -> subprocess.Popen[bytes]:
    """A process that keeps a node of a service registered."""
    return subprocess.Popen([sys.executable, KEPT, "--register", name, "--address", agent.address])


@TWO
async def test_a_datacenter_that_is_there_is_looked_in(agent: Agent) -> None:
    name = f"there-{uuid4().hex[:8]}"
    async with registry_at(agent, datacenter="dc1") as registry, registry.watch(name) as snapshots:
        await registry.register(record(name), ttl=90)
        with anyio.fail_after(20):
            async for snapshot in snapshots:
                if snapshot.services == (record(name),):
                    break
        assert await registry.get_service(name) == (record(name),)
        assert ServiceRecord(name, "1") in await registry.list_services()
        assert agent.ask("GET", f"/v1/catalog/service/{name}?dc=dc1")[0]["Datacenter"] == "dc1"
        await registry.deregister(record(name))
        with pytest.raises(NotRegistered):
            await registry.get_service(name)


@TWO
async def test_a_datacenter_that_is_not_there_is_named(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    name = f"nowhere-{uuid4().hex[:8]}"
    sentence = rf"agent at http://{agent.address} knows no datacenter 'dc9': set MICRO_REGISTRY_CONSUL_DATACENTER to"
    async with registry_at(agent, datacenter="dc9") as registry:
        with pytest.raises(RegistryUnavailable, match=sentence):
            await registry.register(record(name), ttl=90)
        for _ in range(2):
            with pytest.raises(RegistryUnavailable, match="knows no datacenter 'dc9'"):
                await registry.get_service(name)
        caplog.clear()
    async with registry_at(agent, datacenter="dc9") as registry, registry.watch(name) as snapshots:
        with anyio.fail_after(20):
            assert (await anext(snapshots)).stale_since is not None
        assert "knows no datacenter 'dc9'" in caplog.text
    assert f"{name}-a" not in agent.ask("GET", "/v1/agent/services")


async def test_a_killed_process_goes_critical_and_is_left_out(agent: Agent) -> None:
    name = f"killed-{uuid4().hex[:8]}"
    with kept(name, agent) as process:
        try:
            async with registry_at(agent) as registry:
                await eventually(lambda: is_known(registry, name), within=20)
                process.send_signal(signal.SIGKILL)
                await eventually(lambda: is_unknown(registry, name), within=20)
        finally:
            process.kill()
    (check,) = agent.ask("GET", f"/v1/health/checks/{name}")
    assert check["Status"] == "critical"
    agent.ask("PUT", f"/v1/agent/service/deregister/{name}-a")


def connections(agent: Agent) -> int:
    """This side's ends of open connections to an agent."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{agent.http:04X}") and row[3] == ESTABLISHED for row in rows)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="connections are counted in Linux's /proc")
@TWO
async def test_cancelled_queries_leave_no_connection_and_no_task(
    own_agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "httpcore.http11")

    def all_block() -> bool:
        """Whether each had its first answer and waits for the next: before, its connection is idle, and kept."""
        asked, answered = (caplog.text.count(f"receive_response_headers.{what}") for what in ("started", "complete"))
        return answered >= 4 and asked == answered + 4

    async def watch(registry: ConsulRegistry, name: str | None) -> None:
        async with registry.watch(name) as snapshots:
            async for _ in snapshots:
                pass

    async def look_up(registry: ConsulRegistry, name: str) -> None:
        with suppress(RegistryUnavailable):
            await registry.get_service(name)

    async with registry_at(own_agent) as registry:
        await anyio.lowlevel.checkpoint()
        before = len(anyio.get_running_tasks()), descriptors()

        def nothing_is_left() -> bool:
            now = len(anyio.get_running_tasks()), descriptors(), connections(own_agent)
            assert now == (*before, 0)
            return True

        assert nothing_is_left()
        async with anyio.create_task_group() as group:
            for name in ("a", "b", "c", None):
                group.start_soon(watch, registry, name)
            await eventually(all_block, within=20)
            assert connections(own_agent) == 4
            group.cancel_scope.cancel()
        await eventually(nothing_is_left, within=20)
        own_agent.signal(signal.SIGSTOP)
        try:
            async with anyio.create_task_group() as group:
                for name in ("a", "b", "c"):
                    group.start_soon(look_up, registry, name)
                await eventually(lambda: connections(own_agent) == 3, within=20)
                group.cancel_scope.cancel()
            await eventually(nothing_is_left, within=20)
        finally:
            own_agent.signal(signal.SIGCONT)
