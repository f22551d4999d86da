"""A namespace is a registry: the conformance suite, seen through one."""

from __future__ import annotations

import pytest
from micro_conformance import RegistryConformance
from micro_conformance.registry import MakeRegistry
from micro_core.loader import load
from micro_discovery import Namespaced


class TestNamespaced(RegistryConformance):
    @pytest.fixture
    def make_registry(self) -> MakeRegistry:
        cls = load("registry", "memory").cls
        return lambda: Namespaced(cls(cls.Options(address="namespaced-conformance")), "ada")
