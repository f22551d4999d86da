"""The benchmarks run: a moment each of two rows, and the page that they write."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def ran(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def test_two_rows_run_and_write_their_page(tmp_path: Path) -> None:
    told = ran("bench.py", "--quick", "--rows", "micro raw", "--cases", "unary-1", "oneway-8", "--write", str(tmp_path))
    assert [line.split()[0] for line in told.splitlines() if "1.00" in line] == ["raw", "raw"]
    assert told.count("\nours ") == 2
    page = (tmp_path / "benchmarks.md").read_text()
    assert page.count("| ours |") == 2
    assert "| p50 one at a time, beside the raw echo | ≤ 1.4 |" in page
    drawing = (tmp_path / "benchmarks.svg").read_text()
    assert "messages a second" in drawing
    assert drawing.count("<rect ") == 2


def test_a_row_that_cannot_be_had_is_a_line_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rows, bench = importlib.import_module("rows"), importlib.import_module("bench")
    broken = rows.Row("broken", "broken", lambda: [sys.executable, "-c", "import nobody_wrote_this"], "is not there")
    raw = next(row for row in rows.ROWS if row.name == "raw")
    first, second = bench.run([broken, raw], rows.CASES[1:3], 0.05, 1)
    assert "nobody_wrote_this" in first.left_out["broken"]
    assert second.left_out == first.left_out
    assert [row.name for row in first.measured()] == ["raw"]


def test_memory_is_measured() -> None:
    told = ran("endurance.py", "--connections", "20", "--kinds", "PLAIN", "--calls", "1000", "--rows", "micro")
    assert "plain, HTTP/1.1" in told
    assert "KiB each" in told


def table(*figures: tuple[float, float]) -> Any:
    rows, report = importlib.import_module("rows"), importlib.import_module("report")
    chosen = [row for row in rows.ROWS if row.name in ("micro", "grpc-uvloop")]
    made = report.Table(rows.CASES[0], chosen)
    for ours, theirs in figures:
        for row, speed in zip(chosen, (ours, theirs), strict=True):
            made.add(row, report.Figures(speed, 0.001, 0.002, 0.00003))
    return made


def test_a_ratio_is_the_median_of_those_of_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    report = importlib.import_module("report")
    made = table((800, 100), (200, 20), (900, 300))
    assert made.ratio("micro", "grpc-uvloop", report.rate) == 8
    assert made.ratio("micro", "raw", report.rate) is None
    goal = next(line for line in report.goals([made]) if "grpc.aio on uvloop" in line[0])
    assert goal[1:] == ["≥ 8", "8.00", "yes", *[report.NONE] * 2]
