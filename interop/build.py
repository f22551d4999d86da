"""Builds the peers of the Go Micro releases into the cache, once: `python interop/build.py [RELEASE …]`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = HERE.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))

from golang import built  # noqa: E402
from processes import Failed  # noqa: E402

RELEASES = ("v1.1.0", "v1.18.0", "v2.9.1", "v4.11.0")


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


def main() -> int:
    """Prints where each is, or why it is not there."""
    missing = 0
    for release in sys.argv[1:] or RELEASES:
        try:
            print(peer(release), flush=True)
        except Failed as error:
            missing = 1
            print(f"{release}: {error}", file=sys.stderr, flush=True)
    return missing


if __name__ == "__main__":
    sys.exit(main())
