"""Programs written in Go, built once into the cache; whoever has no Go goes without them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from processes import Failed

PEERS = Path(__file__).parent / "peers"
NATS = "github.com/nats-io/nats-server/v2@v2.15.2"


def cache() -> Path:
    """The folder of programs that were built."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "micro-python"


def peer(name: str) -> Path:
    """The program of `peers/NAME`. Raises Failed where it cannot be had."""
    return built(f"bench-{name}", [PEERS / name, PEERS / "closedloop.go"])


def built(name: str, sources: Sequence[Path], prepare: Callable[[Path], None] = lambda folder: None) -> Path:
    """The program whose sources are these files, and what is in these folders, laid side by side.

    Args:
        name: of the program, beside a digest of its sources.
        sources: files and folders.
        prepare: given the folder before Go is.

    Raises:
        Failed: it cannot be had.
    """
    binary = cache() / f"{name}-{digest(sources)}" / name
    if not binary.exists():
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "source"
            folder.mkdir()
            for source in sources:
                if source.is_dir():
                    shutil.copytree(source, folder, dirs_exist_ok=True)
                else:
                    shutil.copy(source, folder)
            prepare(folder)
            go(["build", "-trimpath", "-o", str(Path(work) / name), "."], str(folder))
            keep(Path(work) / name, binary)
    return binary


def digest(sources: Sequence[Path]) -> str:
    """Of the names and contents of all files."""
    found = hashlib.sha256()
    for source in sources:
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file():
                found.update(f"{file.relative_to(source.parent)}\0{file.stat().st_size}\0".encode())
                found.update(file.read_bytes())
    return found.hexdigest()[:16]


def nats_server() -> Path:
    """A real nats-server. Raises Failed where it cannot be had."""
    binary = cache() / f"nats-server-{NATS.rpartition('@')[2]}" / "nats-server"
    if not binary.exists():
        with tempfile.TemporaryDirectory() as folder:
            go(["install", "-trimpath", NATS], folder, GOBIN=folder)
            keep(Path(folder) / "nats-server", binary)
    return binary


def go(arguments: list[str], folder: str, **environment: str) -> None:
    """Runs Go, without cgo. Raises Failed with its last line."""
    if shutil.which("go") is None:
        raise Failed("there is no Go here to build it")
    alone = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off", **environment}
    done = subprocess.run(
        ["go", *arguments], cwd=folder, env={**os.environ, **alone}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"go {arguments[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


def keep(built: Path, binary: Path) -> None:
    """Moves a program into the cache, at once or not at all."""
    binary.parent.mkdir(parents=True, exist_ok=True)
    half = binary.with_name(f"{binary.name}.{os.getpid()}")
    shutil.move(built, half)
    half.replace(binary)


def main() -> None:
    """Builds what can be had, for a run that may have no network."""
    peers = [partial(peer, folder.name) for folder in sorted(PEERS.iterdir()) if folder.is_dir()]
    builds: list[Callable[[], Path]] = [nats_server, *peers]
    for build in builds:
        with suppress(Failed):  # the benchmark says what it leaves out, and why
            build()


if __name__ == "__main__":
    main()
