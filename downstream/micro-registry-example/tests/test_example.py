"""What is this registry's own: a file between processes, and what can stand in it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from micro_core import Endpoint, Node, RegistryUnavailable, ServiceRecord, Value
from micro_registry_example import ExampleRegistry
from micro_registry_example.store import Store
from micro_registry_example.text import from_text, to_text

HELLO = Endpoint("Say.Hello", Value("Request", "Request", (Value("name", "string"),)), None, {"idempotent": "true"})
ADA = ServiceRecord("greeter", "1", (Node("ada", "127.0.0.1:7001", {"zone": ""}),), (HELLO,), {"owner": "us"})

ELSEWHERE = """
import sys, anyio
from pathlib import Path
from micro_core import Node, ServiceRecord
from micro_registry_example import ExampleRegistry

async def main():
    path, action, id = sys.argv[1:]
    registry = ExampleRegistry(ExampleRegistry.Options(address=Path(path)))
    record = ServiceRecord("greeter", "1", (Node(id, "127.0.0.1:7001"),))
    await (registry.register(record, ttl=60) if action == "register" else registry.deregister(record))

anyio.run(main)
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[[str, str], None]:
    """Registers or deregisters a node of the greeter in another process."""

    def run(action: str, id: str) -> None:
        command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "registry.db"), action, id]
        subprocess.run(command, check=True, timeout=30)

    return run


@pytest.mark.anyio
async def test_processes_share_the_file(tmp_path: Path, elsewhere: Callable[[str, str], None]) -> None:
    registry = ExampleRegistry(ExampleRegistry.Options(address=tmp_path / "registry.db", interval=0.02))
    async with registry, registry.watch("greeter") as snapshots:
        assert (await anext(snapshots)).services == ()
        await anyio.to_thread.run_sync(elsewhere, "register", "ada")
        with anyio.fail_after(5):
            (record,) = (await anext(snapshots)).services
        assert [node.id for node in record.nodes] == ["ada"]
        await anyio.to_thread.run_sync(elsewhere, "deregister", "ada")
        with anyio.fail_after(5):
            assert (await anext(snapshots)).departed == {"ada"}


def test_processes_may_begin_at_once(tmp_path: Path, elsewhere: Callable[[str, str], None]) -> None:
    ids = {f"node-{at}" for at in range(6)}
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda id: elsewhere("register", id), ids))
    (record,) = Store(tmp_path / "registry.db").snapshot("greeter").services
    assert {node.id for node in record.nodes} == ids


def test_many_writers_wait_for_each_other(tmp_path: Path) -> None:
    def put(at: int) -> None:
        Store(tmp_path / "registry.db").put(ServiceRecord("greeter", "1", (Node(f"node-{at}", "127.0.0.1:7001"),)), 60)

    with ThreadPoolExecutor(30) as threads:
        list(threads.map(put, range(600)))
    (record,) = Store(tmp_path / "registry.db").snapshot("greeter").services
    assert len(record.nodes) == 600


def test_a_file_that_is_no_database_is_an_unavailable_registry(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_text("something else, and more than a header of it " * 20)
    with pytest.raises(RegistryUnavailable, match=r"registry\.db: file is not a database"):
        Store(tmp_path / "registry.db").snapshot(None)


def test_a_folder_that_is_not_there_is_an_unavailable_registry(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="unable to open"):
        Store(tmp_path / "nowhere" / "registry.db").put(ADA, 60)


def test_a_heartbeat_of_an_older_node_does_not_bring_back_its_endpoints(tmp_path: Path) -> None:
    store = Store(tmp_path / "registry.db")
    newer = ServiceRecord("greeter", "1", (Node("bob", "127.0.0.1:7002"),))
    for record in (ADA, newer, ADA):
        store.put(record, 60)
    assert store.snapshot("greeter").services == (ServiceRecord("greeter", "1", ADA.nodes + newer.nodes),)


def test_what_is_over_leaves_the_file_with_the_next_registration(tmp_path: Path) -> None:
    class Later(Store):
        def now(self) -> float:
            return super().now() + 4000

    path = tmp_path / "registry.db"
    Store(path).put(ADA, 60)
    Store(path).remove(ADA)
    Later(path).put(ServiceRecord("greeter", "1"), 60)
    assert Store(path).snapshot(None, since=0.0).departed == frozenset()


@pytest.mark.parametrize(
    "row",
    [
        "NULL, NULL, NULL, 9e9, 0",
        "'greeter', x'ff', 7, 'never', 0",
        "'greeter', 'bob', CAST(x'ff' AS TEXT), 9e9, 0",
        "CAST(x'ff' AS TEXT), 'bob', '{}', 9e9, NULL",
        "'greeter', 'bob', '{}', 9e9, 'yes'",
    ],
)
def test_whatever_stands_in_a_row_the_others_are_found(tmp_path: Path, row: str) -> None:
    store = Store(tmp_path / "registry.db")
    store.put(ADA, 60)
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection, connection:
        connection.execute(f"INSERT INTO nodes VALUES ({row})")
    assert store.snapshot("greeter").services == (ADA,)
    assert ADA in store.snapshot(None, since=0.0).services


@pytest.mark.parametrize("ttl", [-1.0, float("inf"), float("nan")])
def test_a_ttl_is_a_number_of_seconds(tmp_path: Path, ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        Store(tmp_path / "registry.db").put(ADA, ttl)


def test_a_record_survives_as_text() -> None:
    assert from_text("greeter", "ada", to_text(ADA)) == ADA


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "7", "{}", "[" * 100_000, '{"version": "1", "address": 7}', b"\xff", None]
    + [to_text(ADA).replace(good, bad) for good, bad in (('"1"', "1"), ('"us"', "null"), ('"Say.Hello"', '""'))],
)
def test_what_is_no_record_is_a_value_error(text: Any) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        from_text("greeter", "ada", text)
