"""How commands end and what terminals show: Ctrl-C, SIGTERM, readers that go away, narrow and plain terminals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from micro_cli.ending import run_to_code

Micro = Callable[..., Any]
Started = Callable[..., Any]

SLOTH = """
import anyio, micro
service = micro.Service("sloth")

@service.handler
class Say:
    async def word(self, text: str) -> str:
        open("asked", "a").close()
        await anyio.sleep_forever()
"""


def test_ctrl_c_in_the_middle_of_a_call_is_exit_code_130(start: Started, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SLOTH)
    service = start("run", "app:service")
    assert any("is registered" in line for line in service.stderr)
    for more in ([], ["--each"]):
        caller = start("call", "sloth", "Say.Word", "x", "--timeout", "1m", *more)
        deadline = time.monotonic() + 20
        while not (tmp_path / "asked").exists():
            assert time.monotonic() < deadline, "the call never arrived"
            time.sleep(0.01)
        (tmp_path / "asked").unlink()
        caller.send_signal(signal.SIGINT)
        assert caller.wait(10) == 130
        assert (caller.stdout.read(), caller.stderr.read()) == ("", "")


def test_ctrl_c_while_something_is_imported_is_exit_code_130() -> None:
    @click.command()
    def command() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:  # as Python does for a class that is being made
            raise RuntimeError("Error calling __set_name__") from error

    assert run_to_code(command, []) == 130


@pytest.mark.parametrize("command", [("list", "--watch"), ("subscribe", "users"), ("stream", "greeter", "Say.Up")])
def test_ctrl_c_is_exit_code_130_without_a_word(start: Started, greeters: list[int], command: tuple[str, ...]) -> None:
    process = start(*command)
    if command[0] == "list":
        assert "greeter" in process.stdout.readline()
    elif command[0] == "subscribe":
        assert "subscribed" in process.stderr.readline()
    else:
        process.stdin.write('"a"\n')
        process.stdin.flush()
        assert process.stdout.readline() == '"A"\n'
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert process.stderr.read() == ""


def test_sigterm_ends_in_good_order_also_where_ctrl_c_is_ignored(alone: None, greeters: list[int]) -> None:
    code = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    code += "os.execv(sys.executable, [sys.executable, '-m', 'micro', 'list', '--watch'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as it:
        assert it.stdout is not None
        assert "greeter" in it.stdout.readline()
        it.send_signal(signal.SIGTERM)
        _, err = it.communicate(timeout=10)
    assert (it.returncode, err) == (143, "")


@pytest.mark.parametrize("command", ["list --watch", "list --watch --json", "stream greeter Say.Up x --timeout 1m"])
def test_a_reader_that_goes_away_ends_what_waits(start: Started, greeters: list[int], command: str) -> None:
    process = start(*command.split())
    if command.startswith("list"):
        assert "greeter" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


def test_a_reader_of_events_that_goes_away_ends_the_subscription(start: Started) -> None:
    process = start("subscribe", "users")
    assert "subscribed" in process.stderr.readline()
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


@pytest.mark.parametrize("command", ["list --json", "config", "--help", "call greeter Say.Who x --each", "doctor"])
def test_a_reader_that_has_gone_is_no_error(start: Started, greeters: list[int], command: str) -> None:
    process = start(*command.split())
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("command", "out"),
    [("stream greeter Say.Up", ""), ("call greeter Say.Who --no-check", None), ("list --json", None)],
)
def test_a_standard_input_that_was_closed_is_an_empty_one(
    alone: None, greeters: list[int], command: str, out: str | None
) -> None:
    line = f'"{sys.executable}" -m micro {command} <&-'
    process = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert "should not have happened" not in process.stderr
    assert process.returncode == (1 if command.startswith("call") else 0)
    assert out is None or process.stdout == out


def test_an_output_that_takes_nothing_is_one_line(alone: None, greeters: list[int]) -> None:
    for command in ("list", "config"):
        line = f'"{sys.executable}" -m micro {command}'
        closed = subprocess.run(f"{line} >&-", shell=True, capture_output=True, text=True, check=False)
        assert (closed.returncode, closed.stderr) == (0, "")
        if Path("/dev/full").exists():
            full = subprocess.run(f"{line} > /dev/full", shell=True, capture_output=True, text=True, check=False)
            assert full.returncode == 2
            (told,) = full.stderr.splitlines()
            assert told.startswith("error: ")


def on_terminal(*arguments: str, **variables: str) -> str:
    """What the command writes to a terminal of 60 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm", **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "micro", *arguments], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    told = b""
    try:
        while chunk := os.read(ours, 4096):
            told += chunk
    except OSError:  # Linux: the other end has gone
        pass
    os.close(ours)
    assert process.wait(10) == 0
    return told.decode().replace("\r\n", "\n")


def test_a_table_of_many_columns_is_a_line_per_cell_on_a_narrow_terminal(alone: None, greeters: list[int]) -> None:
    told = on_terminal("stats", "greeter", NO_COLOR="1")
    assert max(map(len, told.splitlines())) <= 60
    first, second = told.split("\n\n")
    for block in (first, second):
        cells = dict(line.split(maxsplit=1) for line in block.splitlines())
        assert list(cells) == ["SERVICE", "NODE", "ADDRESS", "TIME", "UPTIME", "MEMORY", "THREADS", "GC"]
        assert cells["SERVICE"] == "greeter"


NEITHER = """
list;get greeter;call greeter Say.Hello name=x;health;stats;plugins;plugins --check;config;doctor;--help;call --help
"""


@pytest.mark.parametrize("command", NEITHER.strip().split(";"))
def test_no_command_overruns_a_narrow_terminal_that_has_neither_colours_nor_utf8(
    alone: None, greeters: list[int], command: str
) -> None:
    told = on_terminal(*command.split(), NO_COLOR="1", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert "\x1b" not in told
    assert told.isascii()
    assert max(map(len, told.splitlines())) <= (60 if not command.startswith("call greeter") else 80)


def test_there_are_colours_on_a_terminal_and_nowhere_else(alone: None, micro_: Micro) -> None:
    assert "\x1b[32m" in on_terminal("doctor")
    assert "\x1b" not in "\n".join(micro_("doctor").out)


def test_what_cannot_be_encoded_is_escaped(start: Started, greeters: list[int]) -> None:
    process = start("call", "greeter", "Say.Who", "caf\u00e9", PYTHONIOENCODING="ascii")
    out, err = process.communicate(timeout=10)
    assert (out, err) == ('"caf\\u00e9"\n', "")
