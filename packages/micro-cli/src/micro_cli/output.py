"""What people and programs read: tables for the first, one JSON value a line for the second."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def clean(text: str) -> str:
    """Without control characters: names come from registries and errors from peers, and a terminal obeys them."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


def emit(value: Any) -> None:
    """One JSON value on a line of its own, at once."""
    sys.stdout.write(as_json(value) + "\n")
    sys.stdout.flush()


def show(value: Any) -> None:
    """A JSON value for a person: indented on a terminal, else a line."""
    indent = 2 if sys.stdout.isatty() and isinstance(value, dict | list) else None
    sys.stdout.write(as_json(value, indent) + "\n")
    sys.stdout.flush()


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON in the characters that standard output can write."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return json.dumps(value, ensure_ascii=encoding != "utf8", indent=indent, default=str)


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(clean(text) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line on standard error: for the person who looks on, not for what reads the output."""
    sys.stderr.write(clean(text) + "\n")
    sys.stderr.flush()


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns: folded to the width of a terminal, as wide as they are for everything else."""
    cells = [[clean(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _on_terminal(headers, cells)
        return
    widths = [max(len(row[at]) for row in (headers, *cells)) for at in range(len(headers))]
    for row in (headers, *cells):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    sys.stdout.flush()


def _on_terminal(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(color_system="auto" if coloured() else None)
    widths = [max(len(row[at]) for row in (headers, *rows)) for at in range(len(headers))]
    whole = _whole_columns(widths, console.width)
    if not whole and sum(widths) + 2 * len(widths) > console.width:
        _one_below_another(headers, rows, console.width)
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for at, header in enumerate(headers):
        drawn.add_column(header, overflow="fold", no_wrap=at in whole)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn)


def _one_below_another(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> None:
    """A line per cell, for a terminal on which columns would be narrower than their headers."""
    import textwrap

    label = max(map(len, headers)) + 2
    for at, row in enumerate(rows):
        sys.stdout.write("\n" if at else "")
        for header, cell in zip(headers, row, strict=True):
            lines = textwrap.wrap(cell, max(20, width - label), break_on_hyphens=False) or ["-"]
            sys.stdout.write(f"{header.ljust(label)}{lines[0]}\n")
            sys.stdout.writelines(f"{' ' * label}{line}\n" for line in lines[1:])
    sys.stdout.flush()


NARROW, LEAST = 22, 12
"""Characters: columns up to NARROW are not folded, if LEAST are left to each of the others."""


def _whole_columns(widths: Sequence[int], width: int) -> frozenset[int]:
    """The columns that are not folded; none where there is no room for them."""
    narrow = frozenset(at for at, each in enumerate(widths) if each <= NARROW)
    needed = sum(widths[at] for at in narrow) + LEAST * (len(widths) - len(narrow)) + 2 * len(widths)
    return narrow if needed <= width else frozenset()


def coloured() -> bool:
    """Whether standard output is a terminal that shows colours to a person who wants them (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
