"""Calls cancelled at random points leave nothing behind; `nox -s cancelled` does the same at full length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "cancelled.py"


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_open_files_tasks_and_connections_are_as_before(backend: str) -> None:
    command = [sys.executable, str(SCRIPT), "--calls", "2000", "--backend", backend]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("as before") == 3
    assert not ran.stderr
