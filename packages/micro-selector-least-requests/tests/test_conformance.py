"""Selector `least-requests` under the conformance suite."""

from __future__ import annotations

import pytest
from micro_conformance import SelectorConformance
from micro_conformance.selector import MakeSelector
from micro_core.component import NoOptions
from micro_selector_least_requests import LeastRequestsSelector


class TestLeastRequestsSelector(SelectorConformance):
    plugin = ("selector", "least-requests")

    @pytest.fixture
    def make_selector(self) -> MakeSelector:
        return lambda: LeastRequestsSelector(NoOptions())
