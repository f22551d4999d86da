"""What a shell is told at Tab: commands, options, services, endpoints, fields; quickly, and silently when it cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from micro_cli.completing import _SAFE
from micro_cli.remembered import path_of, recall
from micro_conformance.polling import eventually

Micro = Callable[..., Any]


def complete(*words: str, **variables: str) -> list[str]:
    """What is offered for the last word."""
    asked = {"_MICRO_COMPLETE": "bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    process = subprocess.run(
        [sys.executable, "-m", "micro_cli"], capture_output=True, text=True, check=True,
        env={**os.environ, **asked, **variables},
    )  # fmt: skip
    assert process.stderr == ""
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
        (["micro", "call", "greeter", "Say.Hello", "name=Ada", ""], ["tags=", "times="]),
        (["micro", "call", "greeter", "Say.Hello", "--ea"], ["--each"]),
        (["micro", "completion", ""], ["bash", "fish", "zsh"]),
        (["micro", "call", "nobody", ""], []),
        (["micro", "list", "--registry", "m"], ["mdns", "memory"]),
        (["micro", "plugins", "inspect", "access"], ["accesslog"]),
        (["micro"], []),
    ],
)
def test_what_is_offered(words: list[str], offered: list[str]) -> None:
    assert complete(*words) == offered


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


SHELLS = {
    "bash": 'eval "$(micro completion bash)"; COMP_WORDS=(micro call gre); COMP_CWORD=2; _micro_completion; '
    'printf "%s\\n" "${COMPREPLY[@]}"',
    "fish": 'micro completion fish | source; complete --do-complete "micro call gre"',
}


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_works_in_its_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        [shell, "-c", SHELLS[shell]], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    assert process.stdout.split() == ["greeter"]


def test_the_script_is_chosen_by_the_shell_that_runs(micro_: Micro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert micro_("completion").out[1] == "#compdef micro"
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert micro_("completion").code == 2
