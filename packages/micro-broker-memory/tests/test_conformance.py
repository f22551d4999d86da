"""Broker `memory` under the conformance suite."""

from __future__ import annotations

import pytest
from micro_broker_memory import MemoryBroker
from micro_conformance import BrokerConformance
from micro_conformance.broker import MakeBroker
from micro_core.loader import load


class TestMemoryBroker(BrokerConformance):
    plugin = ("broker", "memory")
    settles_within = 1.0
    redelivers_within = 1.0

    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        registry = load("registry", "memory").cls
        options = MemoryBroker.Options(address="conformance")
        return lambda: MemoryBroker(registry(registry.Options()), options)
