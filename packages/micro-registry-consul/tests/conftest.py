from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from consul_agent import Agent, binary_for_tests, running
from micro_registry_consul import ConsulRegistry

Make: TypeAlias = Callable[..., ConsulRegistry]


@pytest.fixture(scope="session")
def binary() -> Path:
    """The consul command, or a skip that says where it comes from."""
    return binary_for_tests()


@pytest.fixture(scope="session")
def agent(binary: Path) -> Iterator[Agent]:
    """An agent that all tests share, and none disturbs."""
    with running(Agent(binary)) as agent:
        agent.warm()
        yield agent


@pytest.fixture
def own_agent(binary: Path) -> Iterator[Agent]:
    """An agent for one test to treat badly."""
    with running(Agent(binary)) as agent:
        yield agent


@pytest.fixture
def make(agent: Agent) -> Make:
    """Makes registries at the shared agent; options as keywords."""

    def make(**options: Any) -> ConsulRegistry:
        return ConsulRegistry(ConsulRegistry.Options(**{"address": (agent.address,), **options}))

    return make
