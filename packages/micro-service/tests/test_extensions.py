"""Extensions that are installed take part; one that is broken says how to go without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXTENSION = """
from contextlib import asynccontextmanager
from micro_core import hookimpl

@hookimpl
@asynccontextmanager
async def micro_lifespan(service):
    print("lifespan of", service.name or "client", service.version)
    yield
    print("lifespan over")

@hookimpl
def micro_client_middleware(service):
    return noting("client")

@hookimpl
def micro_server_middleware(service):
    return noting("server")

@hookimpl
def micro_subscriber_middleware(service):
    async def around(event, call_next):
        print("event", event.topic)
        await call_next(event)
    return around

def noting(side):
    async def around(call, call_next):
        print(side, call.endpoint)
        return await call_next(call)
    return around
"""

PROGRAM = """
import anyio, micro

KINDS = {"registry": "memory", "transport": "memory", "broker": "memory"}
done = anyio.Event()
service = micro.Service("greeter", version="2", **KINDS)

@service.handler
class Echo:
    async def echo(self, text: str) -> str:
        return text

@service.subscriber("topic")
async def on_topic(event: int) -> None:
    done.set()

async def main() -> None:
    async with service:
        await service.client.call("greeter", "Echo.Echo", "a", str)
        await service.client.publish("topic", 1)
        await done.wait()

anyio.run(main)
"""


def installed(folder: Path, code: str) -> Path:
    """A distribution as pip would leave it."""
    info = folder / "noisy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[micro.extension]\nnoisy = noisy_extension\n")
    (folder / "noisy_extension.py").write_text(code)
    return folder


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MICRO_")}
    env = {**clean, "PYTHONPATH": str(folder), **environment}
    program = [sys.executable, "-c", PROGRAM]
    return subprocess.run(program, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=30)


def test_an_installed_extension_takes_part_in_everything(tmp_path: Path) -> None:
    result = run(installed(tmp_path, EXTENSION))
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "lifespan of greeter 2", "client Echo.Echo", "server Echo.Echo", "event topic", "lifespan over",
    ]  # fmt: skip


def test_an_extension_can_be_switched_off(tmp_path: Path) -> None:
    assert run(installed(tmp_path, EXTENSION), MICRO_EXTENSIONS_DISABLED="noisy").stdout == ""


def test_a_broken_extension_says_how_to_go_without_it(tmp_path: Path) -> None:
    result = run(installed(tmp_path, "import nowhere"))
    assert "needs the module 'nowhere'" in result.stderr
    assert "MICRO_EXTENSIONS_DISABLED=noisy" in result.stderr
