"""What a shell is told at Tab: commands, options, services, endpoints, fields; quickly, and silently when it cannot."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from micro_cli.completing import _SAFE, FILES
from micro_cli.remembered import path_of, recall
from micro_conformance.polling import eventually

Micro = Callable[..., Any]


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self._told = ""
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def send(self, text: str) -> None:
        self._told = ""
        os.write(self._ours, text.encode())

    def wait_for(self, text: str) -> None:
        """Until the shell has shown it, whatever it draws in between."""
        deadline = time.monotonic() + 20
        while text.replace(" ", "") not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\s\x07]|.\x08", "", self._told):
            assert time.monotonic() < deadline, self._told
            if select.select([self._ours], [], [], 0.1)[0]:
                self._told += os.read(self._ours, 65536).decode(errors="replace")


def complete(*words: str, files: bool = False, **variables: str) -> list[str]:
    """What is offered for the last word."""
    asked = {"_MICRO_COMPLETE": "bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    process = subprocess.run(
        [sys.executable, "-m", "micro_cli"], capture_output=True, text=True, check=False,
        env={**os.environ, **asked, **variables},
    )  # fmt: skip
    assert process.stderr == ""
    assert process.returncode == (FILES if files else 0)
    return process.stdout.splitlines()


@pytest.fixture
def remembered(micro_: Micro, greeters: list[int]) -> None:
    assert micro_("list").code == 0


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["micro", "li"], ["list"]),
        (["micro", "call", "gre"], ["greeter"]),
        (["micro", "health", ""], ["greeter"]),
        (["micro", "call", "--timeout", "2s", "greeter", "Say.H"], ["Say.Hello"]),
        (["micro", "call", "greeter", "Say."], ["Say.Fail", "Say.Hello", "Say.Who"]),
        (["micro", "stream", "greeter", ""], ["Say.Up"]),
        (["micro", "call", "greeter", "Say.Hello", "name=Ada", ""], ["address.city=", "at=", "tags=", "times="]),
        (["micro", "client", "gre"], ["greeter"]),
        (["micro", "openapi", ""], ["greeter"]),
        (["micro", "call", "greeter", "Say.Hello", "--no"], ["--no-check"]),
        (["micro", "call", "greeter", "Say.Hello", "--ea"], ["--each"]),
        (["micro", "completion", ""], ["bash", "fish", "zsh"]),
        (["micro", "call", "nobody", ""], []),
        (["micro", "list", "--registry", "m"], ["mdns", "memory"]),
        (["micro", "plugins", "inspect", "access"], ["accesslog"]),
        (["micro", "call", "--output", ""], ["json", "text"]),
        (["micro"], []),
    ],
)
def test_what_is_offered(words: list[str], offered: list[str]) -> None:
    assert complete(*words) == offered


@pytest.mark.parametrize("words", [["micro", "run", ""], ["micro", "call", "--config", ""]])
def test_files_are_left_to_the_shell(alone: None, words: list[str]) -> None:
    assert complete(*words, files=True) == []


@pytest.mark.anyio
async def test_what_was_found_too_late_is_there_at_the_next_tab(alone: None, greeters: list[int]) -> None:
    complete("micro", "call", "")
    await eventually(lambda: recall(os.environ)[0].keys() == {"greeter"}, within=10)
    assert complete("micro", "call", "") == ["greeter"]


def test_a_registry_that_is_not_there_costs_no_word(alone: None) -> None:
    assert complete("micro", "call", "", MICRO_REGISTRY_MDNS_INTERFACES="192.0.2.1") == []


def test_a_broken_configuration_is_silent(alone: None, tmp_path: Path) -> None:
    (tmp_path / "micro.toml").write_text("nonsense")
    assert complete("micro", "call", "") == []
    assert complete("micro", "call", "", XDG_CACHE_HOME="/dev/null") == []


def test_names_that_a_shell_would_obey_are_not_offered(alone: None) -> None:
    path = path_of(os.environ)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"$(reboot)": {}, "a;b": {}, "a b": {}, "good.name-1": {}}))
    assert complete("micro", "call", "") == ["good.name-1"]
    assert not _SAFE.fullmatch("`x`")


@pytest.mark.usefixtures("remembered")
def test_what_a_command_line_option_chose_is_not_remembered(micro_: Micro) -> None:
    assert micro_("list", "-o", "namespace=nobody").code == 0
    assert recall(os.environ)[0].keys() == {"greeter"}


SHELLS = {
    "bash": (["--norc"], 'PS1="> "; eval "$(micro completion bash)"'),
    "zsh": (["-f"], 'PS1="> "; autoload -U compinit; compinit -D; eval "$(micro completion zsh)"'),
    "fish": (["--no-config"], "micro completion fish | source"),
}
LINES = [
    ("micro heal", "micro health"),
    ("micro call gre", "micro call greeter"),
    ("micro call greeter Say.He", "micro call greeter Say.Hello"),
    ("micro call greeter Say.Hello na", "micro call greeter Say.Hello name="),
    ("micro list --config un", "micro list --config unusual.toml"),
    ("micro run un", "micro run unusual.toml"),
]


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_works_in_its_shell(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "unusual.toml").touch()
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    options, setup = SHELLS[shell]
    with Terminal(shell, *options) as terminal:
        terminal.send(f"{setup}; echo rea''dy\r")
        terminal.wait_for("ready")
        for typed, wanted in LINES:
            terminal.send(f"{typed}\t")
            terminal.wait_for(wanted)
            terminal.send("\x15\r")  # Ctrl-U: the line is not run


def test_the_script_is_chosen_by_the_shell_that_runs(micro_: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert micro_("completion").out[1] == "#compdef micro"
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert micro_("completion").code == 2
