"""Registry `dns` under the conformance suite."""

from __future__ import annotations

from typing import Any

import pytest
from micro_conformance.read_only_registry import MakeRegistry, PlantRecords, ReadOnlyRegistryConformance, Switch
from micro_core import ServiceRecord
from micro_registry_dns import DnsRegistry


class TestDnsRegistry(ReadOnlyRegistryConformance):
    plugin = ("registry", "dns")
    settles_within = 3.0
    knows_versions = False
    exact_case = False
    lists = False

    @pytest.fixture
    def make_registry(self, server: Any) -> MakeRegistry:
        options = DnsRegistry.Options("example.test", resolver=(server.address,), minimum_ttl=0.1, timeout=0.4)
        return lambda: DnsRegistry(options)

    @pytest.fixture
    def plant(self, server: Any) -> PlantRecords:
        async def plant(*records: ServiceRecord) -> None:
            server.records = {("local", "A"): ["127.0.0.1"]} | {
                (f"_{record.name}._tcp", "SRV"): [
                    f"0 5 {node.address.rpartition(':')[2]} local.example.test." for node in record.nodes
                ]
                for record in records
            }
            server.silent = False

        return plant

    @pytest.fixture
    def silence(self, server: Any) -> Switch:
        async def silence() -> None:
            server.silent = True

        return silence
