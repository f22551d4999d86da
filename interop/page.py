"""Writes docs/interop.md from what the tests saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
from build import RELEASES
from matrix import FROM_GO, ROWS, WAYS, Cell

PAGE = Path(__file__).parent.parent / "docs" / "interop.md"

HEAD = """\
# Beside Go Micro

`nox -s interop` ran this project against unmodified Go Micro processes and wrote this page. One side of every cell is a
program of `interop/` that is linked against that release, the other is ours, in both directions:
**→ Py** is a Go client that calls a Python server (or a Go publisher and a Python subscriber), **→ Go** the reverse.

v1.1.0 is where this project set out from, v1.18.0 the last of v1, v2.9.1 speaks gRPC by default, and v4.11.0 has the
wire of v4.10 to v6.10.

What to do with it: [call a Go Micro service](how-to/call-a-go-micro-service.md),
[join a mesh](how-to/join-a-go-micro-mesh.md), [move one](how-to/move-a-mesh-from-go.md).

"""


Results: TypeAlias = dict[Cell, list[pytest.TestReport]]


class Notes:
    """Numbered as they come, each once."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def mark(self, text: str) -> str:
        """What stands in a cell for the text."""
        if text not in self._texts:
            self._texts.append(text)
        return f"<sup>{self._texts.index(text) + 1}</sup>"

    def __str__(self) -> str:
        return "\n".join(f"{number}. {text}." for number, text in enumerate(self._texts, 1))


def write(results: Results) -> None:
    """Writes the page. Raises ValueError where a cell was not tried."""
    missing = [cell for cell in every_cell() if cell not in results]
    if missing:
        raise ValueError(f"not tried: {'; '.join(map(str, missing))}")
    PAGE.write_text(page(results))


def every_cell() -> list[Cell]:
    """All of the matrix."""
    return [Cell(title, *column) for title, row in ROWS.items() for column in row.columns()]


def page(results: Mapping[Cell, Sequence[pytest.TestReport]]) -> str:
    """The text of the page."""
    notes = Notes()
    columns = [(release, way) for release in RELEASES for way in WAYS]
    names = [f"{release} {'→ Py' if way == FROM_GO else '→ Go'}" for release, way in columns]
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for title, row in ROWS.items():
        tried = set(row.columns())
        found = [
            word(Cell(title, *column), results[Cell(title, *column)], notes) if column in tried else "-"
            for column in columns
        ]
        lines.append(f"| {title} | {' | '.join(found)} |")
    return f"{HEAD}{chr(10).join(lines)}\n\n{notes}\n"


def word(cell: Cell, reports: Sequence[pytest.TestReport], notes: Notes) -> str:
    """What a cell says."""
    row, key = ROWS[cell.row], (cell.release, cell.direction)
    if any(report.outcome == "failed" for report in reports):
        return "**fails**"
    if key in row.cannot:
        return f"cannot{notes.mark(row.cannot[key])}"
    return f"works{notes.mark(row.notes[key])}" if key in row.notes else "works"
