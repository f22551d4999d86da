from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from consul_agent import Agent
from forwarder import Forwarder
from micro_conformance.registry import RegistryConformance
from micro_core import Registry
from micro_registry_consul import ConsulRegistry


class TestConsulRegistry(RegistryConformance):
    plugin = ("registry", "consul")
    shortest_ttl = 0.5
    settles_within = 10.0
    expires_within = 20.0
    """Deadlines of waiting alone: an agent that has just started may take 3 s to tell the servers of a check."""

    @pytest.fixture
    def forwarder(self, agent: Agent) -> Iterator[Forwarder]:
        forwarder = Forwarder(agent.http)
        yield forwarder
        forwarder.cut()

    @pytest.fixture
    def make_registry(self, request: pytest.FixtureRequest, agent: Agent) -> Callable[[], ConsulRegistry]:
        silent = "outage" in request.fixturenames
        port = request.getfixturevalue("forwarder").port if silent else agent.http
        options = ConsulRegistry.Options(address=(f"127.0.0.1:{port}",))
        return lambda: ConsulRegistry(options)

    @pytest.fixture
    def outage(self, forwarder: Forwarder) -> Callable[[Registry], AbstractAsyncContextManager[None]]:
        @asynccontextmanager
        async def cut(registry: Registry) -> AsyncIterator[None]:
            forwarder.cut()
            yield
            forwarder.mend()

        return cut

    @pytest.fixture
    def plant_unreadable(self, agent: Agent) -> Callable[[Registry, str], Awaitable[None]]:
        async def plant(registry: Registry, name: str) -> None:
            body = {"ID": f"{name}-broken", "Name": name, "Tags": ["v-zz"], "Address": "127.0.0.1", "Port": 1}
            agent.ask("PUT", "/v1/agent/service/register", body)

        return plant
