"""Builds the peers of the Go Micro releases into the cache, once, and the programs of the how-to pages:
`python interop/build.py [RELEASE …]`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = HERE.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))

from golang import built  # noqa: E402
from processes import Failed  # noqa: E402

RELEASES = ("v1.1.0", "v1.18.0", "v2.9.1", "v4.11.0")

DOCS = HERE.parent / "docs" / "how-to"
PROGRAMS = {"greeter": "call-a-go-micro-service.md", "caller": "join-a-go-micro-mesh.md"}
"""The programs in Go of the pages, by the folder that their page writes them to. All are of v4.11.0."""


def peer(release: str) -> Path:
    """The program of a release. Raises Failed where it cannot be had."""
    sources = [BENCHMARKS / "peers" / "closedloop.go", HERE / "peer", HERE / release]  # the last of a name counts
    return built(f"interop-{release}", sources, prepare)


def prepare(folder: Path) -> None:
    """Names the module of the release in the sources that all share, and fetches what go.mod alone cannot."""
    module = re.search(r"^require (\S+) v", (folder / "go.mod").read_text(), re.MULTILINE)
    assert module is not None
    shared = folder / "micro.go"
    shared.write_text(shared.read_text().replace('"go-micro/', f'"{module[1]}/'))
    fetch = folder / "fetch-plugin.sh"
    if fetch.exists():
        done = subprocess.run(["sh", str(fetch)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{fetch.name}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


def page_program(name: str) -> Path:
    """A program as its page has it. Raises Failed where it cannot be had."""
    page = (DOCS / PROGRAMS[name]).read_text(encoding="utf-8")
    block = re.search(rf"^```{{code-block}} go\n:caption: {name}/main.go\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "main.go"
        source.write_text(block[1])
        module = HERE / RELEASES[-1]
        return built(f"page-{name}", [source, module / "go.mod", module / "go.sum"])


def main() -> int:
    """Prints where each is, or why it is not there."""
    missing = 0
    for name in sys.argv[1:] or (*RELEASES, *PROGRAMS):
        try:
            print(page_program(name) if name in PROGRAMS else peer(name), flush=True)
        except Failed as error:
            missing = 1
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    return missing


if __name__ == "__main__":
    sys.exit(main())
