"""Selector `rendezvous` under the conformance suite."""

from __future__ import annotations

import pytest
from micro_conformance import SelectorConformance
from micro_conformance.selector import MakeSelector
from micro_core.component import NoOptions
from micro_selector_rendezvous import RendezvousSelector


class TestRendezvousSelector(SelectorConformance):
    plugin = ("selector", "rendezvous")
    affinity = True

    @pytest.fixture
    def make_selector(self) -> MakeSelector:
        return lambda: RendezvousSelector(NoOptions())
