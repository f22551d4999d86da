"""One-way streams, server to client, of 1,000 messages of 100 bytes: ours through the whole stack, beside grpc.aio.

    python benchmarks/stream.py [--seconds 3] [--rounds 3] [--streams 8 1]

As `unary.py`: processes pinned to a core each, interleaved, and it is the ratios that say something.
"""

from __future__ import annotations

import argparse

from closedloop import MESSAGES
from unary import measure, middle

PEERS = ("micro", "grpc.aio")


def main() -> None:
    """Interleaves the peers and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load per run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each peer, interleaved")
    parser.add_argument("--streams", type=int, nargs="+", default=[8, 1], help="streams at once")
    arguments = parser.parse_args()
    for streams in arguments.streams:
        runs = [
            (peer, measure(peer, streams, arguments.seconds, "stream"))
            for _ in range(arguments.rounds)
            for peer in PEERS
        ]
        table({peer: middle([run for name, run in runs if name == peer]) for peer in PEERS}, streams)


def table(figures: dict[str, dict[str, float]], streams: int) -> None:
    """Prints one line a peer, per message, with the ratio to grpc.aio."""
    print(f"\n{streams} at once, {MESSAGES} messages of 100 bytes each, medians")
    print(f"{'peer':<10}{'messages/s':>12}{'client CPU µs':>15}{'server CPU µs':>15}{'× grpc.aio':>12}")
    for peer, row in figures.items():
        print(
            f"{peer:<10}{row['per_second'] * MESSAGES:>12,.0f}{row['client_cpu'] * 1e6 / MESSAGES:>15.1f}"
            f"{row['server_cpu'] * 1e6 / MESSAGES:>15.1f}{row['per_second'] / figures['grpc.aio']['per_second']:>12.2f}"
        )


if __name__ == "__main__":
    main()
