"""Memory: of connections that do nothing, and of a service and a client that do a great deal.

    python benchmarks/endurance.py [--connections 10000] [--calls 1000000]

Bytes are what the system holds resident for the process (RSS). The connections are opened by another process, and each
has had a call before it goes quiet.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import certificates
from processes import CLIENT_CORE, SERVER_CORE, Failed, Program, running
from report import aligned
from rows import ROWS, environment_of

PEERS = Path(__file__).parent / "peers"
ROWS_OF_OURS = ["micro", "micro-http1", "micro-tls"]
BY_NAME = {row.name: row for row in ROWS}
KINDS = {
    "PLAIN": ("micro", "plain, HTTP/1.1", 8),
    "TLS": ("micro-tls", "TLS, HTTP/1.1", 48),
    "H2": ("micro-tls", "TLS, HTTP/2", 48),
}
STEPS = 10
WARM_STEPS = 2
CALLERS = 64
FEW = 100
_SETTLE = 0.5


def idle(kind: str, connections: int, folder: Path) -> list[str]:
    """KiB of the server for each idle connection. Raises Failed."""
    name, title, reach = KINDS[kind]
    row = BY_NAME[name]
    environment = environment_of(row, folder)
    holder = [sys.executable, str(PEERS / "idle_peer.py"), kind]
    with running([*row.program(), "serve"], environment, SERVER_CORE) as server:
        port = server.line()
        with running([*holder, port, str(FEW)], environment, CLIENT_CORE) as few:
            few.line(60)
        time.sleep(_SETTLE)
        before = server.resident()
        with running([*holder, port, str(connections)], environment, CLIENT_CORE) as many:
            many.line(300)
            time.sleep(_SETTLE)
            if server.sockets() < connections:
                raise Failed(f"the server holds {server.sockets():,} sockets alone")
            each = (server.resident() - before) / connections / 1024
    return [title, f"{connections:,}", f"{each:.1f}", f"≤ {reach}"]


def endurance(name: str, calls: int, folder: Path) -> list[str]:
    """Growth of both processes between a fifth of the calls and all of them. Raises Failed."""
    row = BY_NAME[name]
    environment = environment_of(row, folder)
    with running([*row.program(), "serve"], environment, SERVER_CORE) as server:
        load = ["million", server.line(), str(CALLERS), str(calls // STEPS), "100"]
        with running([*row.program(), *load], environment, CLIENT_CORE) as client:
            found = [sample(server, client) for _ in range(STEPS)]
    print(f"\n{row.title}: MiB after every {calls // STEPS:,} calls, server and client")
    print("  ".join(f"{mib(ours)} {mib(theirs)}" for ours, theirs in found), flush=True)
    grown = [kib(last - first) for first, last in zip(found[WARM_STEPS - 1], found[-1], strict=True)]
    return [row.title, f"{calls:,}", *grown]


def sample(server: Program, client: Program) -> tuple[int, int]:
    """Both processes' bytes after the next calls."""
    client.line(300)
    found = server.resident(), client.resident()
    client.tell("on")
    return found


def mib(size: int) -> str:
    """Bytes in MiB."""
    return f"{size / 2**20:.1f}"


def kib(size: int) -> str:
    """A difference of bytes in KiB."""
    return f"{size / 1024:+,.0f}"


def told(header: list[str], lines: list[list[str]]) -> None:
    """Prints a table."""
    if lines:
        print(f"\n{aligned([header, *lines])}", flush=True)


def main() -> None:
    """Measures both; what cannot be is one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--rows", nargs="+", choices=ROWS_OF_OURS, default=ROWS_OF_OURS)
    asked = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates.make(folder)
        held = [line for kind in asked.kinds if (line := attempt(kind, partial(idle, kind, asked.connections, folder)))]
        told(["idle connections", "many", "KiB each", "to reach"], held)
        grown = [line for row in asked.rows if (line := attempt(row, partial(endurance, row, asked.calls, folder)))]
        told(["calls", "many", "server KiB", "client KiB"], grown)


def attempt(what: str, measure: Callable[[], list[str]]) -> list[str]:
    """What it measures; nothing, and a line, where it fails."""
    try:
        return measure()
    except Failed as failed:
        print(f"{what} is left out: {failed}", file=sys.stderr, flush=True)
        return []


if __name__ == "__main__":
    main()
