"""The how-to pages about Go Micro: what they show is run as it stands, beside the programs in Go that they hold."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from build import DOCS, PROGRAMS, page_program

ALONE = Path(__file__).with_name("alone.sh")
RUNNER = Path(__file__).parent.parent / "tests" / "docs_page.py"
PAGES = ("call-a-go-micro-service.md", "join-a-go-micro-mesh.md", "move-a-mesh-from-go.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_is_run(page: str, tmp_path: Path) -> None:
    if not os.environ.get("INTEROP_ALONE"):
        if os.environ.get("REQUIRE_GO"):
            pytest.fail("multicast would leave this host")
        pytest.skip("multicast would leave this host: nox -s interop runs it in a network namespace")
    for program in PROGRAMS:
        shutil.copy(page_program(program), tmp_path / f"go-{program}")
    # In a network of its own, since all pages speak of one greeter.
    run = ["sh", str(ALONE), sys.executable, "-W", "error", str(RUNNER), str(DOCS / page)]
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
