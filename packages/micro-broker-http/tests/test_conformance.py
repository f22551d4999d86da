"""Broker `http` under the conformance suite."""

from __future__ import annotations

from typing import Any

import pytest
from micro_broker_http import HTTPBroker
from micro_conformance import BrokerConformance
from micro_conformance.broker import MakeBroker
from micro_core import Registry


class TestHTTPBroker(BrokerConformance):
    plugin = ("broker", "http")
    settles_within = 2.0
    redelivers_within = 1.0

    @pytest.fixture
    def make_broker(self, make: Any) -> MakeBroker:
        return make  # type: ignore[no-any-return]

    @pytest.fixture
    def make_unreachable_broker(self, registry: Registry) -> MakeBroker:
        class Silent(type(registry)):  # type: ignore[misc]
            def watch(self, name: str | None) -> Any:
                raise ConnectionError("away")

        return lambda: HTTPBroker(Silent(Silent.Options(address="silent")), HTTPBroker.Options())
