"""Services over a real Consul agent: the demo, and what a lost agent or a revoked token costs (nothing)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import micro
import pytest
from consul_agent import REQUIRED, Agent, find_binary, running, with_acl

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def binary() -> Path:
    found = find_binary()
    if found is None:
        text = "no Consul agent: nox -s consul builds one (4 minutes, once), MICRO_CONSUL_BINARY names another"
        pytest.fail(text) if REQUIRED else pytest.skip(text)
    return found


@pytest.fixture
def agent(binary: Path) -> Iterator[Agent]:
    with running(Agent(binary)) as agent:
        yield agent


@pytest.mark.parametrize("variable", ["MICRO_REGISTRY_ADDRESS", "CONSUL_HTTP_ADDR"])
def test_the_demo_tells_its_story_over_consul_by_a_variable_alone(variable: str, agent: Agent) -> None:
    demo = subprocess.run(
        [sys.executable, EXAMPLES / "greeter" / "demo.py"],
        env={**os.environ, "MICRO_REGISTRY": "consul", variable: agent.address},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout + demo.stderr
    lines = demo.stdout.splitlines()
    assert lines[-1].startswith("All of it happened")
    assert sum("0 failed" in line for line in lines) == 3


class Say:
    async def hello(self, name: str) -> str:
        return f"Hello {name}"


class Calls:
    """Calls without a pause, and what failed."""

    def __init__(self) -> None:
        self.count = 0
        self.failed: list[str] = []

    async def run(self, client: micro.Client) -> None:
        while True:
            try:
                await client.call("greeter", "Say.Hello", "Ada", str, timeout=2)
                self.count += 1
            except micro.errors.RPCError as error:
                self.failed.append(str(error))
            await anyio.sleep(0.002)


def options(agent: Agent, **more: Any) -> dict[str, Any]:
    given = {"address": agent.address, **more}
    return {"registry": "consul", **{f"registry.consul.{key}": value for key, value in given.items()}}
