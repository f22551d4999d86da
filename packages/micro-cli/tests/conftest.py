"""A namespace of its own for every test: multicast DNS on the loopback interface, on a private port."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from micro_cli.ending import run_to_code
from micro_cli.program import micro
from micro_core import metadata

GREETER = """
import datetime as dt
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import micro

@dataclass
class Address:
    city: str

@dataclass
class HelloRequest:
    name: str
    times: int = 1
    tags: list[str] = field(default_factory=list)
    address: Address | None = None
    at: dt.datetime | None = None

@dataclass
class HelloReply:
    text: str
    process: int

service = micro.Service("greeter", metadata={"zone": os.environ.get("ZONE", "a")})

@service.handler
class Say:
    async def hello(self, request: HelloRequest) -> HelloReply:
        where = f" of {request.address.city}" if request.address else ""
        return HelloReply(f"Hello {request.name}{where}" * request.times + "".join(request.tags), os.getpid())

    async def who(self, text: str) -> str:
        return text

    async def fail(self, text: str) -> int:
        raise micro.errors.Conflict("no such luck")

    async def up(self, texts: AsyncIterator[str]) -> AsyncIterator[str]:
        async for text in texts:
            yield text.upper()
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended: lines of its outputs."""

    code: int
    out: list[str]
    err: list[str]


Micro = Callable[..., Ended]
Started = Callable[..., "subprocess.Popen[str]"]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(autouse=True)
def level_of_the_log() -> Iterator[None]:
    """A command silences the log of its process, which here is the tests'."""
    logger = logging.getLogger("micro")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture(scope="session")
def private() -> dict[str, str]:
    return {"MICRO_REGISTRY_MDNS_INTERFACES": "127.0.0.1", "MICRO_REGISTRY_MDNS_PORT": str(free_port())}


@pytest.fixture
def alone(private: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This test's own working directory and cache."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MICRO_")]:
        monkeypatch.delenv(name)
    for name, value in {**private, "XDG_CACHE_HOME": str(tmp_path / "cache"), "MICRO_STOP_PROPAGATION": "0"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def micro_(alone: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Micro:
    """Runs a command in this process, through everything but the ending of the process."""

    def run(*arguments: str, stdin: str | None = None) -> Ended:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = run_to_code(micro, list(arguments))
        told = capsys.readouterr()
        return Ended(code, told.out.splitlines(), told.err.splitlines())

    return run


@pytest.fixture
def start(alone: None) -> Iterator[Started]:
    """Starts the command as a process."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "micro", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **variables}, start_new_session=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield begin
    for process in running:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what `run --reload` started, too: it holds the pipes
        process.communicate()


@pytest.fixture(scope="session")
def greeters(private: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """Two nodes of `greeter`, in zones a and b; their process ids."""
    folder = tmp_path_factory.mktemp("greeters")
    (folder / "greeter.py").write_text(GREETER)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MICRO_")}
    running = []
    for zone in ("a", "b"):
        variables = {**environment, **private, "ZONE": zone, "MICRO_STOP_PROPAGATION": "0"}
        command = [sys.executable, "-m", "micro", "run", "greeter:service"]
        running.append(subprocess.Popen(command, cwd=folder, env=variables, stderr=subprocess.PIPE, text=True))
    for process in running:
        assert process.stderr is not None
        assert any("is registered" in line for line in process.stderr), "it never registered"
    yield [process.pid for process in running]
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        process.communicate(timeout=10)
        assert process.returncode == 0


@pytest.fixture
def line_with() -> Callable[..., str]:
    """The first line of a process's output that holds the text."""

    def read(process: subprocess.Popen[str], text: str) -> str:
        assert process.stdout is not None
        for line in process.stdout:
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came")

    return read


@pytest.fixture
def install(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Writes a distribution onto the path of this process and of those it starts."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))

    def install(group: str, name: str, module: str, code: str) -> None:
        info = site / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
        (site / f"{module}.py").write_text(code)
        metadata.installed_plugins.cache_clear()

    yield install
    metadata.installed_plugins.cache_clear()
    for name in [name for name, module in sys.modules.items() if str(site) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]
