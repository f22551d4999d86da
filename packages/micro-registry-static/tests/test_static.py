"""The file of registry `static`: what may stand in it, and what happens when it changes or breaks."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from micro_core import (
    ConfigurationError,
    Endpoint,
    Node,
    Reach,
    RegistryUnavailable,
    ServiceRecord,
    Snapshot,
)
from micro_core.loader import load
from micro_registry_static import StaticRegistry
from micro_registry_static.reading import read_services

pytestmark = pytest.mark.anyio

MUCP = {"protocol": "mucp"}
WHOLE = """
[[service]]
name = "greeter"
version = "1.4"
metadata = { team = "demo" }
endpoints = ["Say.Hello", { name = "Say.Count", metadata = { idempotent = "true" } }]
nodes = ["10.0.0.5:8080", { id = "big", address = "[2001:db8::6]:8080", metadata = { protocol = "grpc", zone = "a" } }]

[[service]]
name = "mail"
[[service.nodes]]
address = "mail.example.com:25"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "services.toml"


def make(path: Path) -> StaticRegistry:
    return StaticRegistry(StaticRegistry.Options(path, poll=0.05))


def greeter(*ports: int) -> str:
    return f'[[service]]\nname = "greeter"\nnodes = {[f"127.0.0.1:{port}" for port in ports]}\n'


def addresses(snapshot: Snapshot) -> set[str]:
    return {node.address for record in snapshot.services for node in record.nodes}


async def until(snapshots: AsyncIterator[Snapshot], wanted: set[str], within: float = 3.0) -> Snapshot:
    with anyio.fail_after(within):
        async for snapshot in snapshots:
            if addresses(snapshot) == wanted:
                return snapshot
    raise AssertionError("the watch ended")


def test_it_is_found_by_name() -> None:
    cls = load("registry", "static").cls
    assert cls is StaticRegistry
    assert (cls.reach, cls.read_only) == (Reach.NETWORK, True)


def test_everything_that_may_be_written() -> None:
    assert read_services(Path("f"), WHOLE.encode()) == (
        ServiceRecord(
            "greeter",
            "1.4",
            (
                Node("10.0.0.5:8080", "10.0.0.5:8080", MUCP),
                Node("big", "[2001:db8::6]:8080", {"protocol": "grpc", "zone": "a"}),
            ),
            (Endpoint("Say.Hello"), Endpoint("Say.Count", metadata={"idempotent": "true"})),
            {"team": "demo"},
        ),
        ServiceRecord("mail", "latest", (Node("mail.example.com:25", "mail.example.com:25", MUCP),)),
    )


HEAD = '[[service]]\nname = "a"\nnodes = []\n[[service]]\nname = "b"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = ", "line 1: it is not TOML: Invalid value"),
        ("x = 1\n\n[[service]", "line 3: it is not TOML"),
        ('x = """\n\n', "line 3: it is not TOML"),
        ("", "expected services, each below [[service]]"),
        ("service = 5", "line 1: expected services"),
        ("[service]\nname = 'a'", "line 1: expected services"),
        ("[[servise]]\nname = 'a'", "unknown key 'servise'; known is only service; did you mean 'service'"),
        ("service = [1]", "service[0]: expected a table, not 1"),
        (HEAD, "line 4: service[1]: expected nodes, as nodes = "),
        (HEAD + "nodes = 'x'", "line 6: service[1].nodes: expected a list, not 'x'"),
        (HEAD + "nodes = ['x']", "line 6: service[1].nodes[0]: expected an address that can be dialled"),
        (HEAD + "nodes = ['h:0']", "its port is 0"),
        (HEAD + "nodes = [{id = 'x'}]", "line 6: service[1].nodes[0]: expected an address"),
        (HEAD + "nodes = ['h:1', {address = 'h:2', id = 'h:1'}]", "line 6: service[1].nodes[1]: expected an id of its"),
        (HEAD + "nodes = [7]", "expected host:port, or a table with an address, not 7"),
        (HEAD + "nodes = [{adress = 'h:1'}]", "nodes[0].adress: unknown key 'adress'"),
        (HEAD + "nods = []", "line 6: service[1].nods: unknown key 'nods'"),
        (HEAD + "nodes = []\nversion = 1.4", "line 7: service[1].version: expected a text, not 1.4"),
        (HEAD + "nodes = []\nmetadata = 'x'", "line 7: service[1].metadata: expected a table of texts"),
        (
            HEAD + "nodes = []\nmetadata = {zone = 1}",
            "line 7: service[1].metadata: expected a text for 'zone', as zone =",
        ),
        (HEAD + "nodes = []\nendpoints = [1]", "line 7: service[1].endpoints[0]: expected a name such as Say.Hello"),
        (HEAD + "nodes = []\n[[service]]\nnodes = []", "line 7: service[2]: expected a name"),
        (HEAD + "nodes = []\n[[service]]\nname = 'b'\nnodes = []", "line 8: service[2].name: expected each version"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_key_and_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_services(Path("some/services.toml"), text.encode())
    assert str(caught.value).startswith("some/services.toml")
    assert expected in str(caught.value)


def test_a_file_that_is_not_text_is_said_with_its_line() -> None:
    with pytest.raises(ConfigurationError, match=r"f, line 2: expected UTF-8 text"):
        read_services(Path("f"), b"# fine\n\xff\n")


async def test_a_missing_file_stops_the_start(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"services\.toml: No such file.*MICRO_REGISTRY_STATIC_PATH"):
        async with make(path):
            pass


async def test_a_broken_file_stops_the_start(path: Path) -> None:
    path.write_text(HEAD)  # noqa: ASYNC240
    with pytest.raises(ConfigurationError, match=r"services\.toml, line 4: service\[1\]: expected nodes"):
        async with make(path):
            pass


async def test_a_registry_that_was_not_entered_says_so(path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="async with"):
        await make(path).get_service("greeter")


async def test_a_file_that_breaks_is_logged_once_and_the_last_good_one_stays(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = anyio.Path(path)
    await file.write_text(greeter(1, 2))
    with caplog.at_level(logging.INFO, "micro.registry.static"):
        async with make(path) as registry, registry.watch("greeter") as snapshots:
            await until(snapshots, {"127.0.0.1:1", "127.0.0.1:2"})
            await file.write_text(greeter(1) + "nodez = 1\n")
            stale = await anext(snapshots)
            assert stale.stale_since is not None
            assert not stale.departed
            assert len((await registry.get_service("greeter"))[0].nodes) == 2
            await anyio.sleep(0.3)
            await registry.list_services()
            errors = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert [record.getMessage() for record in errors] == [
                f"{path}, line 4: service[0].nodez: unknown key 'nodez'; known are endpoints, metadata, name, nodes, "
                "version; did you mean 'nodes'?; going on with the services that were read before"
            ]
            await file.write_text(greeter(1))
            back = await until(snapshots, {"127.0.0.1:1"})
            assert back.stale_since is None
            assert back.departed == {"127.0.0.1:2"}
    assert caplog.records[-1].getMessage() == f"{path} was read again: 1 services"


async def test_a_file_that_goes_away_and_comes_back_unchanged_is_in_force_again(path: Path) -> None:
    file = anyio.Path(path)
    await file.write_text(greeter(1))
    async with make(path) as registry, registry.watch("greeter") as snapshots:
        await until(snapshots, {"127.0.0.1:1"})
        await file.rename(path.with_suffix(".away"))
        assert (await anext(snapshots)).stale_since is not None
        await anyio.Path(path.with_suffix(".away")).rename(path)
        with anyio.fail_after(3):
            assert (await anext(snapshots)).stale_since is None


async def test_a_file_that_is_replaced_with_the_same_size_and_time_is_seen(path: Path) -> None:
    """As editors and deployment tools do: written beside, then renamed over it."""
    file, beside = anyio.Path(path), anyio.Path(path.with_suffix(".new"))
    await file.write_text(greeter(1))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    async with make(path) as registry, registry.watch("greeter") as snapshots:
        await until(snapshots, {"127.0.0.1:1"})
        await beside.write_text(greeter(2))
        os.utime(beside, (1_000_000_000, 1_000_000_000))
        await beside.rename(path)
        await until(snapshots, {"127.0.0.1:2"})


async def test_a_change_within_the_grain_of_time_is_seen(path: Path) -> None:
    """The same time, size and inode: only the recency of the time tells."""
    file = anyio.Path(path)
    await file.write_text(greeter(1))
    async with make(path) as registry, registry.watch("greeter") as snapshots:
        await until(snapshots, {"127.0.0.1:1"})
        stat = await file.stat()
        await file.write_text(greeter(2))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        await until(snapshots, {"127.0.0.1:2"})


async def test_a_file_that_is_being_written_is_not_read_until_it_stands_still(path: Path) -> None:
    file = anyio.Path(path)
    await file.write_text(greeter(1))
    seen: list[set[str]] = []
    async with make(path) as registry, anyio.create_task_group() as group:

        async def watch() -> None:
            async with registry.watch("greeter") as snapshots:
                async for snapshot in snapshots:
                    seen.append(addresses(snapshot))
                    if len(addresses(snapshot)) == 30:
                        return

        group.start_soon(watch)
        for count in range(1, 31):
            await file.write_text(greeter(*range(1, count + 1)))
            await anyio.sleep(0.02)
    assert len(seen) <= 8, "it was read while it was being written"


async def test_a_file_of_thousands_of_nodes_is_read(path: Path) -> None:
    file = anyio.Path(path)
    await file.write_text(greeter(*range(1, 5_001)))
    async with make(path) as registry:
        assert len((await registry.get_service("greeter"))[0].nodes) == 5_000
