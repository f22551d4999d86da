"""The suites that hold every plugin to the sentences of its interface.

One class per interface. A plugin's whole test file:

    class TestMemoryRegistry(RegistryConformance):
        plugin = ("registry", "memory")

        @pytest.fixture
        def make_registry(self):
            return lambda: MemoryRegistry(MemoryRegistry.Options(address="test"))

Fixtures are factories, so that a suite can open two and show that one sees the other. Differences are declared by class
attributes, such as `settles_within = 5.0`. Every test runs on asyncio, uvloop and trio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micro_conformance.broker import BrokerConformance
    from micro_conformance.client_server import ClientServerConformance
    from micro_conformance.codec import CodecConformance
    from micro_conformance.pair import Pair
    from micro_conformance.polling import eventually, steadily
    from micro_conformance.read_only_registry import ReadOnlyRegistryConformance
    from micro_conformance.registry import RegistryConformance
    from micro_conformance.selector import SelectorConformance
    from micro_conformance.suite import Suite
    from micro_conformance.transport import TransportConformance

__all__ = [
    "BrokerConformance",
    "ClientServerConformance",
    "CodecConformance",
    "Pair",
    "ReadOnlyRegistryConformance",
    "RegistryConformance",
    "SelectorConformance",
    "Suite",
    "TransportConformance",
    "eventually",
    "steadily",
]

_MODULES = {
    "BrokerConformance": "broker",
    "ClientServerConformance": "client_server",
    "CodecConformance": "codec",
    "Pair": "pair",
    "ReadOnlyRegistryConformance": "read_only_registry",
    "RegistryConformance": "registry",
    "SelectorConformance": "selector",
    "Suite": "suite",
    "TransportConformance": "transport",
    "eventually": "polling",
    "steadily": "polling",
}


def __getattr__(name: str) -> Any:
    """Imports a suite when it is first asked for: after pytest has been told to rewrite its assertions."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
