"""Registry `static` under the conformance suite."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from micro_conformance.read_only_registry import MakeRegistry, PlantRecords, ReadOnlyRegistryConformance, Switch
from micro_core import ServiceRecord
from micro_registry_static import StaticRegistry


def as_toml(*records: ServiceRecord) -> str:
    sections = [
        f"[[service]]\nname = {json.dumps(record.name)}\nversion = {json.dumps(record.version)}\n"
        f"nodes = {json.dumps([node.address for node in record.nodes])}\n"
        for record in records
    ]
    return "\n".join(sections) or "service = []\n"


class TestStaticRegistry(ReadOnlyRegistryConformance):
    plugin = ("registry", "static")
    says_goodbye = True

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "services.toml"
        path.write_text("service = []\n")
        return path

    @pytest.fixture
    def make_registry(self, path: Path) -> MakeRegistry:
        return lambda: StaticRegistry(StaticRegistry.Options(path, poll=0.05))

    @pytest.fixture
    def plant(self, path: Path) -> PlantRecords:
        async def plant(*records: ServiceRecord) -> None:
            await anyio.Path(path).write_text(as_toml(*records))

        return plant

    @pytest.fixture
    def silence(self, path: Path) -> Switch:
        async def silence() -> None:
            await anyio.Path(path).write_text("[[service]\n")

        return silence
