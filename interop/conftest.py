"""The matrix as tests: `nox -s interop`."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from consul_agent import Agent, binary_for_tests, running  # noqa: E402
from matrix import Cell  # noqa: E402
from meshes import Mesh, by_consul, by_mdns  # noqa: E402
from page import Results, write  # noqa: E402
from pairs import Pair, pair_of  # noqa: E402

RESULTS: Results = {}
CELL = "cell"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-page", action="store_true", help="write docs/interop.md when every cell was tried")


@pytest.fixture(scope="session", autouse=True)
def codec_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Installs a codec that no Go Micro process has. Plugins are read once per process, so it stays."""
    folder = tmp_path_factory.mktemp("plugin")
    about = folder / "only_python-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: only-python\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[micro.content_type]\napplication/x-python = only_python\n")
    sys.path.append(str(folder))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the caller."""
    for name in [name for name in os.environ if name.startswith("MICRO_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def agent() -> Iterator[Agent]:
    with running(Agent(binary_for_tests())) as agent:
        agent.warm()
        yield agent


@pytest.fixture
def multicast() -> None:
    """Only where it stays on the loopback interface."""
    if not os.environ.get("INTEROP_ALONE"):
        text = "multicast would leave this host: nox -s interop runs it in a network namespace, where one can be made"
        if os.environ.get("REQUIRE_GO"):
            pytest.fail(text)
        pytest.skip(text)


@pytest.fixture
def mesh(request: pytest.FixtureRequest, cell: Cell) -> Mesh:
    if cell.mesh == "Consul":
        return by_consul(request.getfixturevalue("agent"))
    request.getfixturevalue("multicast")
    return by_mdns()


@pytest.fixture
async def pair(cell: Cell) -> AsyncIterator[Pair]:
    async with pair_of(cell) as pair:
        yield pair


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    cell = item.callspec.params.get("cell") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    if isinstance(cell, Cell):
        report.user_properties.append((CELL, astuple(cell)))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Heard by the process that starts the others, too, where the tests run in several."""
    cell: Any = dict(report.user_properties).get(CELL)
    if cell and (report.when == "call" or report.outcome != "passed"):
        RESULTS.setdefault(Cell(*cell), []).append(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--write-page") and not hasattr(session.config, "workerinput"):
        write(RESULTS)
