"""Unary calls of 100 bytes: ours through the whole stack, beside grpc.aio and a raw echo, interleaved in one run.

    python benchmarks/unary.py [--seconds 3] [--rounds 3] [--callers 64 1]

Server and client are processes pinned to a core each. The figures of one machine say little; the ratios, whose two
sides were measured within seconds of each other, do.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
PEERS = {"micro": "micro_peer", "grpc.aio": "grpc_peer", "raw echo": "raw_peer"}
CORES = sorted(os.sched_getaffinity(0))
TICK = os.sysconf("SC_CLK_TCK")


def environment() -> dict[str, str]:
    """Discovery by multicast on loopback alone, in a namespace of this run."""
    own = {"MICRO_NAMESPACE": f"bench-{secrets.token_hex(3)}", "MICRO_REGISTRY_MDNS_INTERFACES": "127.0.0.1"}
    return {**os.environ, **own}


def start(peer: str, core: int, *arguments: str) -> subprocess.Popen[str]:
    """A peer's program on one core."""
    command = [sys.executable, str(HERE / "peers" / f"{PEERS[peer]}.py"), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )


def cpu_seconds(pid: int) -> float:
    """User and system seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(peer: str, callers: int, seconds: float, mode: str = "load") -> dict[str, Any]:
    """One run of one peer. `mode` is what its program calls the load."""
    server = start(peer, CORES[0], "serve")
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        before = cpu_seconds(server.pid)
        client = start(peer, CORES[-1], mode, port, str(callers), str(seconds))
        output, _ = client.communicate(timeout=seconds + 60)
        figures: dict[str, Any] = json.loads(output)
        warm = min(0.5, seconds) / seconds + 1
        figures["server_cpu"] = (cpu_seconds(server.pid) - before) / (figures["calls"] * warm)
        return figures
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


def middle(runs: list[dict[str, Any]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: median(run[name] for run in runs) for name in runs[0]}


def main() -> None:
    """Interleaves the peers and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load per run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each peer, interleaved")
    parser.add_argument("--callers", type=int, nargs="+", default=[64, 1], help="calls at once")
    arguments = parser.parse_args()
    for callers in arguments.callers:
        runs: dict[str, list[dict[str, Any]]] = {peer: [] for peer in PEERS}
        for _ in range(arguments.rounds):
            for peer in PEERS:
                runs[peer].append(measure(peer, callers, arguments.seconds))
        table({peer: middle(them) for peer, them in runs.items()}, callers)


def table(figures: dict[str, dict[str, float]], callers: int) -> None:
    """Prints one line a peer, with ratios to grpc.aio and the raw echo."""
    print(f"\n{callers} at once, 100 bytes, medians")
    print(f"{'peer':<10}{'calls/s':>10}{'p50 µs':>9}{'p99 µs':>9}{'CPU µs':>9}{'× grpc.aio':>12}{'CPU × raw':>11}")
    cpu = {peer: (row["client_cpu"] + row["server_cpu"]) * 1e6 for peer, row in figures.items()}
    for peer, row in figures.items():
        print(
            f"{peer:<10}{row['per_second']:>10,.0f}{row['p50'] * 1e6:>9.0f}{row['p99'] * 1e6:>9.0f}{cpu[peer]:>9.1f}"
            f"{row['per_second'] / figures['grpc.aio']['per_second']:>12.2f}{cpu[peer] / cpu['raw echo']:>11.2f}"
        )


ENVIRONMENT = environment()

if __name__ == "__main__":
    main()
