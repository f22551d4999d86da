"""Registry `memory` under the conformance suite."""

from __future__ import annotations

import pytest
from micro_conformance import RegistryConformance
from micro_conformance.registry import MakeRegistry
from micro_registry_memory import MemoryRegistry


class TestMemoryRegistry(RegistryConformance):
    plugin = ("registry", "memory")
    settles_within = 0.5
    expires_within = 0.5

    @pytest.fixture
    def make_registry(self) -> MakeRegistry:
        return lambda: MemoryRegistry(MemoryRegistry.Options(address="conformance"))
