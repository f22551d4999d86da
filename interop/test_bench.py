"""The rows of the benchmark whose ends are Go Micro's and ours run."""

from __future__ import annotations

import subprocess
import sys

import pytest
from build import BENCHMARKS


@pytest.mark.usefixtures("multicast")
def test_mixed_pairs_are_measured() -> None:
    rows, cases = ["go-micro-to-micro", "micro-to-go-micro"], ["unary-1", "oneway-8"]
    command = [sys.executable, "bench.py", "--quick", "--rows", *rows, "--cases", *cases]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\nGo Micro → ours ") == done.stdout.count("\nours → Go Micro ") == len(cases)
