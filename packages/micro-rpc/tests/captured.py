"""What unmodified Go Micro programs wrote: see `vectors/README.md`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from micro_core import Message
from micro_http.limits import Limits
from micro_http.parse import Parser
from micro_http.tables import Tables

CASES = sorted(path.stem for path in (Path(__file__).parent / "vectors").glob("*.json"))


@dataclass
class Step:
    """What one side wrote, and the messages that were complete with it."""

    side: str
    raw: bytes = b""
    event: str = ""
    messages: list[Message] = field(default_factory=list)


def steps_of(case: str) -> list[Step]:
    """The one connection of a case."""
    connections = json.loads((Path(__file__).parent / "vectors" / f"{case}.json").read_text())["connections"]
    assert len(connections) == 1
    parsers = {side: Parser(Limits(), Tables(), replies=side == "server") for side in ("client", "server")}
    steps = []
    for written in connections[0]["steps"]:
        raw = bytes.fromhex(written["hex"]) if "hex" in written else written.get("text", "").encode()
        step = Step(written["from"], raw, written.get("event", ""))
        parsers[step.side].feed(raw)
        while (message := parsers[step.side].poll()) is not None:
            step.messages.append(message)
        steps.append(step)
    return steps


def messages(case: str, side: str) -> list[Message]:
    """What one side of a case sent."""
    return [message for step in steps_of(case) if step.side == side for message in step.messages]
