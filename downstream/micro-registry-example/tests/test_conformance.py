"""Registry `example` under the conformance suite."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
from micro_conformance import RegistryConformance
from micro_conformance.registry import MakeRegistry, Outage, Plant
from micro_core import Registry
from micro_registry_example import ExampleRegistry


class TestExampleRegistry(RegistryConformance):
    plugin = ("registry", "example")

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "registry.db"

    @pytest.fixture
    def make_registry(self, file: Path) -> MakeRegistry:
        return lambda: ExampleRegistry(ExampleRegistry.Options(address=file, interval=0.02))

    @pytest.fixture
    def plant_unreadable(self, file: Path) -> Plant:
        async def plant(registry: Registry, name: str) -> None:
            with closing(sqlite3.connect(file)) as connection, connection:
                row = (name, "broken", '{"version": 7}', 1e12)
                connection.execute("REPLACE INTO nodes (name, id, record, ends) VALUES (?, ?, ?, ?)", row)

        return plant

    @pytest.fixture
    def outage(self, file: Path) -> Outage:
        @asynccontextmanager
        async def away(registry: Registry) -> AsyncIterator[None]:
            with folder_instead_of(file):
                yield

        return away


@contextmanager
def folder_instead_of(file: Path) -> Iterator[None]:
    file.touch()
    aside = file.rename(file.with_suffix(".away"))
    file.mkdir()
    try:
        yield
    finally:
        file.rmdir()
        aside.rename(file)
