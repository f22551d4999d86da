"""`micro doctor`: what was selected, whether it works, and what to do."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Any

import click

from micro_cli.options import as_json, configured

KIND, INDENT = 11, 20
"""Columns."""

COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command("doctor")
@as_json
@configured
def command(overrides: dict[str, object], programs: bool) -> int:
    """What was selected and from where, whether it loads and answers, and what to do about what does not.

    Registers a service for a moment, looks it up, calls it, and sends an event round. The exit code is 0 when nothing
    is an error, 2 when what was written must be corrected, 4 when something does not answer.
    """
    from micro_cli.connection import Connection, configure, run_connected
    from micro_cli.diagnosis import Diagnosis, Life, Selected
    from micro_cli.ending import OK, USAGE
    from micro_cli.output import emit

    codes = set()

    def tell(found: Diagnosis) -> None:
        codes.add(found.code)
        if programs:
            emit({"kind": found.kind, "level": found.level, "text": found.text, "cure": found.cure or None})
        else:
            _print(found)

    async def work(connection: Connection) -> None:
        await Life(connection, overrides, tell).examine()

    config = configure(overrides, warn=False)
    selected = Selected(config)
    for found in selected.findings():
        tell(found)
    if not selected.broken:
        run_connected(config, work)
    return USAGE if USAGE in codes else max(codes, default=OK)


def _print(found: Any) -> None:
    from micro_cli.output import clean

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    level = found.level.ljust(9)
    _wrapped(f"{found.kind.ljust(KIND)}{level}", found.text, width, found.level, clean)
    if found.cure:
        _wrapped(" " * INDENT, f"what to do: {found.cure}", width, "", clean)
    sys.stdout.flush()


def _wrapped(head: str, text: str, width: int, level: str, clean: Any) -> None:
    lines = textwrap.wrap(clean(text), max(20, width - len(head)), break_on_hyphens=False) or [""]
    from micro_cli.output import coloured

    if level and coloured():
        start = KIND
        head = head[:start] + click.style(head[start:], fg=COLOURS[level])
    sys.stdout.write(f"{head}{lines[0]}\n")
    for line in lines[1:]:
        sys.stdout.write(f"{' ' * INDENT}{line}\n")
