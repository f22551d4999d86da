"""The HTTP/1.1 parser over a Go peer's reply, in one piece and in many, beside two other parsers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TypedDict

from processes import CLIENT_CORE, Failed, running
from report import aligned

PROGRAM = Path(__file__).parent / "peers" / "fragments_peer.py"
_SHARE = 0.25


class Parsed(TypedDict):
    """CPU seconds that a parser takes for a reply in so many pieces."""

    parser: str
    pieces: int
    seconds: float


def run(seconds: float, rounds: int) -> list[Parsed]:
    """Measures and prints; nothing where a parser cannot be had."""
    command = [sys.executable, str(PROGRAM), str(seconds * _SHARE), str(rounds)]
    try:
        with running(command, {}, CLIENT_CORE) as program:
            found: list[Parsed] = json.loads(program.line(60 + 10 * seconds * rounds))
    except Failed as failed:
        print(f"the parsers are left out: {failed}", file=sys.stderr)
        return []
    print(f"\nA reply of Go Micro to the parser, CPU µs\n{aligned(cells(found))}")
    return found


def cells(found: list[Parsed]) -> list[list[str]]:
    """The table as text, its header first."""
    many = sorted({each["pieces"] for each in found})
    by_name: dict[str, dict[int, float]] = {}
    for each in found:
        by_name.setdefault(each["parser"], {})[each["pieces"]] = each["seconds"]
    header = ["", *(f"{pieces} piece{'s' if pieces > 1 else ''}" for pieces in many)]
    return [header, *([name, *(f"{taken[pieces] * 1e6:.1f}" for pieces in many)] for name, taken in by_name.items())]
