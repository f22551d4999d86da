"""Programs written in Go, built once into the cache; whoever has no Go goes without them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
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
    return program(f"bench-{name}", [*sorted((PEERS / name).iterdir()), PEERS / "closedloop.go"])


def program(name: str, sources: list[Path]) -> Path:
    """The program that these files are, go.mod and go.sum among them. Raises Failed where it cannot be had."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    binary = cache() / f"{name}-{digest}" / name
    if not binary.exists():
        with tempfile.TemporaryDirectory() as folder:
            for source in sources:
                shutil.copy(source, folder)
            built = Path(folder) / name
            go(["build", "-trimpath", "-o", str(built), "."], folder)
            keep(built, binary)
    return binary


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
