"""Services over a real Consul agent: the demo, and what a lost agent or a revoked token costs (nothing)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import micro
import pytest
from consul_agent import Agent, binary_for_tests, running, with_acl
from micro_conformance.polling import eventually

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def binary() -> Path:
    return binary_for_tests()


@pytest.fixture
def agent(binary: Path) -> Iterator[Agent]:
    with running(Agent(binary)) as agent:
        yield agent


def test_the_demo_tells_its_story_over_consul_by_a_variable_alone(agent: Agent) -> None:
    demo = subprocess.run(
        [sys.executable, EXAMPLES / "greeter" / "demo.py"],
        env={**os.environ, "MICRO_REGISTRY": "consul", "MICRO_REGISTRY_ADDRESS": agent.address},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout + demo.stderr
    lines = demo.stdout.splitlines()
    assert lines[-1].startswith("All of it happened")
    assert sum("0 failed" in line for line in lines) == 3


def settings(**environment: str) -> dict[str, tuple[Any, str]]:
    """What `micro config` shows of the registry: value and source by key."""
    others = {key: value for key, value in os.environ.items() if not key.startswith(("MICRO_", "CONSUL_"))}
    shown = subprocess.run(
        [sys.executable, "-m", "micro_cli", "config", "--json"],
        env={**others, "MICRO_REGISTRY": "consul", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "hush" not in shown.stdout
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    return {line["key"]: (line["value"], line["source"]) for line in lines}


def test_the_agents_own_variables_are_shown_as_a_source_beneath_ours() -> None:
    theirs = {"CONSUL_HTTP_ADDR": "10.0.0.1:8501", "CONSUL_HTTP_TOKEN": "hush"}
    shown = settings(**theirs)
    assert shown["registry.consul.address"] == (["10.0.0.1:8501"], "CONSUL_HTTP_ADDR in the environment")
    assert shown["registry.consul.token"] == ("(secret)", "CONSUL_HTTP_TOKEN in the environment")
    shown = settings(**theirs, MICRO_REGISTRY_ADDRESS="10.0.0.2:8500", MICRO_REGISTRY_CONSUL_TOKEN="hush, ours")
    assert shown["registry.consul.address"] == (["10.0.0.2:8500"], "MICRO_REGISTRY_ADDRESS in the environment")
    assert shown["registry.consul.token"] == ("(secret)", "MICRO_REGISTRY_CONSUL_TOKEN in the environment")


class Say:
    async def hello(self, name: str) -> str:
        return f"Hello {name}"


class Calls:
    """Calls without a pause, and what failed."""

    def __init__(self) -> None:
        self.count = 0
        self.failed: list[str] = []
        self.over = False

    async def run(self, client: micro.Client) -> None:
        while not self.over:
            try:
                await client.call("greeter", "Say.Hello", "Ada", str, timeout=20)
                self.count += 1
            except micro.errors.RPCError as error:
                self.failed.append(str(error))
            await anyio.sleep(0.002)


def options(agent: Agent, **more: Any) -> dict[str, Any]:
    given = {"address": agent.address, **more}
    return {"registry": "consul", "options": {f"registry.consul.{key}": value for key, value in given.items()}}


def token(agent: Agent) -> tuple[str, str]:
    """A token that may read and write services: its secret and its id."""
    rules = 'service_prefix "" { policy = "write" } node_prefix "" { policy = "read" }'
    policy = agent.ask("PUT", "/v1/acl/policy", {"Name": "services", "Rules": rules})
    made = agent.ask("PUT", "/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})
    return made["SecretID"], made["AccessorID"]


async def calls_go_on(given: dict[str, Any], trouble: Callable[[], Awaitable[None]]) -> Calls:
    """A service that is called while something happens to its registry."""
    service, calls = micro.Service("greeter", **given), Calls()
    service.handler(Say)
    async with service, micro.Client(**given) as client, anyio.create_task_group() as group:
        await client.call("greeter", "Say.Hello", "Ada", str, timeout=20)
        group.start_soon(calls.run, client)
        await trouble()
        before = calls.count
        await eventually(lambda: calls.count > before + 20, within=30)
        calls.over = True
    return calls


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_no_call_is_lost_while_the_agent_is_gone_hung_and_back_with_nothing(agent: Agent) -> None:
    async def trouble() -> None:
        agent.kill()
        await anyio.sleep(1)
        await anyio.to_thread.run_sync(agent.start)
        await eventually(lambda: anyio.to_thread.run_sync(registered), within=20)
        agent.signal(signal.SIGSTOP)
        await anyio.sleep(1)
        agent.signal(signal.SIGCONT)

    def registered() -> bool:
        names = agent.ask("GET", "/v1/catalog/services")
        return any(name.endswith("greeter") for name in names)

    assert (await calls_go_on(options(agent), trouble)).failed == []


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_token_that_is_revoked_loses_no_call_and_is_told(
    binary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(with_acl(binary)) as agent:
        secret, accessor = token(agent)

        async def trouble() -> None:
            agent.ask("DELETE", f"/v1/acl/token/{accessor}")
            await eventually(lambda: "refuses the token" in caplog.text, within=20)

        calls = await calls_go_on(options(agent, token=secret, wait=1.0), trouble)
    assert calls.failed == []
    assert secret not in caplog.text
