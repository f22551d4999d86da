"""`micro run`: from a module to a service that serves, again and again with --reload."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Micro = Callable[..., Any]
Started = Callable[..., Any]

SAYS = """
import micro
service = micro.Service("parrot")

@service.handler
class Say:
    async def word(self, text: str) -> str:
        return "{}"
"""


def wait_for(micro_: Micro, word: str) -> None:
    """Asks until that is what the service says."""
    deadline = time.monotonic() + 20
    while micro_("call", "parrot", "Say.Word", "x", "--timeout", "1s").out != [json.dumps(word)]:
        assert time.monotonic() < deadline, f"{word!r} was never said"


def test_reload_begins_anew_when_a_file_changes_and_ends_with_the_signal(
    micro_: Micro, start: Started, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(SAYS.format("one"))
    process = start("run", "app", "--reload")
    wait_for(micro_, "one")
    (tmp_path / "app.py").write_text(SAYS.format("two or more"))
    wait_for(micro_, "two or more")
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0


def test_options_of_the_command_line_reach_the_service(start: Started, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SAYS.format("one"))
    process = start("run", "app.py", "--registry", "memory", "-o", "server.version=7", "-o", "log=info")
    for line in process.stderr:
        if "serves at" in line:
            assert "parrot 7 serves at 127.0.0.1:" in line
            break
        assert "registry mdns" not in line
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


def test_a_new_service_runs(micro_: Micro, start: Started, tmp_path: Path) -> None:
    told = micro_("new", "service", "my-greeter")
    assert told.code == 0
    assert (tmp_path / "my_greeter.py").exists()
    process = start("run", "my_greeter")
    assert any("is registered" in line for line in process.stderr)
    assert micro_("call", "my-greeter", "Say.Hello", "name=Ada").out == ['{"text": "Hello Ada"}']
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_a_new_service_overwrites_nothing(micro_: Micro) -> None:
    assert micro_("new", "service", "greeter").code == 0
    assert micro_("new", "service", "greeter").err == ["error: greeter.py is there already"]
    assert micro_("new", "service", "9").code == 2
