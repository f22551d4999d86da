"""Services in processes of their own: multicast DNS on the loopback interface, HTTP, and whatever ends them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import micro
import pytest
from micro_conformance.polling import eventually

pytestmark = pytest.mark.anyio

PROGRAM = """
import os, micro

service = micro.Service("greeter")

@service.handler
class Say:
    async def who(self, text: str) -> int:
        return os.getpid()

if __name__ == "__main__":
    service.run()
"""

Start = Callable[[], "subprocess.Popen[str]"]


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A multicast group of this test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MICRO_REGISTRY_MDNS_INTERFACES", "127.0.0.1")
    monkeypatch.setenv("MICRO_REGISTRY_MDNS_PORT", str(free_port(socket.SOCK_DGRAM)))
    monkeypatch.setenv("MICRO_STOP_PROPAGATION", "500ms")
    monkeypatch.setenv("MICRO_LOG", "warning")


@pytest.fixture
def start(loopback: None, tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []
    (tmp_path / "greeter.py").write_text(PROGRAM)

    def begin() -> subprocess.Popen[str]:
        with (tmp_path / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "greeter.py"], cwd=tmp_path, stderr=log, text=True, env=dict(os.environ)
            )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()


class Load:
    """Eight callers that call without a pause."""

    def __init__(self, client: micro.Client) -> None:
        self.client = client
        self.answered: Counter[int] = Counter()
        self.failed: list[str] = []
        self.over = False

    async def caller(self) -> None:
        while not self.over:
            try:
                self.answered[await self.client.call("greeter", "Say.Who", "me", int, timeout=5)] += 1
            except micro.errors.RPCError as error:
                self.failed.append(str(error))
                await anyio.sleep(0.01)

    async def answers_of(self, *processes: subprocess.Popen[str]) -> None:
        """Returns when each has answered anew."""
        before = self.answered.copy()
        await eventually(lambda: all(self.answered[p.pid] > before[p.pid] + 20 for p in processes), within=10)


async def test_a_service_that_is_told_to_stop_under_load_loses_no_call(start: Start) -> None:
    staying, going = start(), start()
    async with micro.Client() as client, anyio.create_task_group() as tasks:
        await eventually(lambda: nodes(client, 2), within=10)
        load = Load(client)
        for _ in range(8):
            tasks.start_soon(load.caller)
        await load.answers_of(staying, going)
        going.send_signal(signal.SIGTERM)
        await eventually(lambda: going.poll() is not None, within=10)
        await load.answers_of(staying)
        load.over = True
    assert load.failed == []
    assert going.returncode == 0
    assert logged() == []


async def nodes(client: micro.Client, count: int) -> bool:
    return sum(len(record.nodes) for record in await client.list_services() if record.name == "greeter") == count


def logged() -> list[str]:
    return Path("log").read_text().splitlines()


def test_a_port_in_use_is_one_line_and_exit_code_2(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MICRO_SERVER_ADDRESS", address)
        process = start()
        assert process.wait(10) == 2
    (line,) = logged()
    assert line.startswith("error: ")
    assert address in line
