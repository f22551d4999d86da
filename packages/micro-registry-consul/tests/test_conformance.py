from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from consul_agent import Agent
from micro_conformance.registry import RegistryConformance
from micro_core import Registry
from micro_registry_consul import ConsulRegistry


class TestConsulRegistry(RegistryConformance):
    plugin = ("registry", "consul")
    shortest_ttl = 0.5

    @pytest.fixture
    def make_registry(self, agent: Agent) -> Callable[[], ConsulRegistry]:
        options = ConsulRegistry.Options(address=(agent.address,))
        return lambda: ConsulRegistry(options)

    @pytest.fixture
    def plant_unreadable(self, agent: Agent) -> Callable[[Registry, str], Awaitable[None]]:
        async def plant(registry: Registry, name: str) -> None:
            body = {"ID": f"{name}-broken", "Name": name, "Tags": ["v-zz"], "Address": "127.0.0.1", "Port": 1}
            agent.ask("PUT", "/v1/agent/service/register", body)

        return plant
