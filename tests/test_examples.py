"""Every example is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_demo_tells_its_story_in_eighty_columns_without_a_line_of_log() -> None:
    demo = subprocess.run(
        [sys.executable, EXAMPLES / "greeter" / "demo.py"], capture_output=True, text=True, timeout=60
    )
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout + demo.stderr
    lines = demo.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].startswith("All of it happened")
    assert sum("0 failed" in line for line in lines) == 3
