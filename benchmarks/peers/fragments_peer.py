"""A Go peer's reply, which comes in many TCP pieces, read by HTTP/1.1 parsers: microseconds of CPU a reply."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop
import h11
import httptools
from micro_http.limits import Limits
from micro_http.parse import Parser
from micro_http.tables import Tables

REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
    b"Micro-Endpoint: Say.Hello\r\nMicro-Id: %d\r\nMicro-Method: Say.Hello\r\nMicro-Service: go.micro.srv.greeter\r\n"
    b"Timeout: 5000000000\r\nUser-Agent: Go-http-client/1.1\r\n\r\n" + b"x" * 100
)
"""As Go Micro v4.11.0 writes it; the id of every call is another."""

KEPT = 64
Take = Callable[[list[bytes]], int]
"""Reads one reply and returns the length of its body."""


def pieces(reply: bytes, many: int) -> list[bytes]:
    """The reply in that many pieces, about equally long."""
    cuts = [len(reply) * at // many for at in range(many + 1)]
    return [reply[start:end] for start, end in pairwise(cuts)]


def own() -> Take:
    parser = Parser(Limits(), Tables(), replies=True)

    def take(parts: list[bytes]) -> int:
        message = None
        for part in parts:
            parser.feed(part)
            message = parser.poll()
        assert message is not None
        return len(message.body)

    return take


class Collected:
    """What a user of httptools has to keep."""

    def on_message_begin(self) -> None:
        self.head: dict[str, str] = {}
        self.body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body


def with_httptools() -> Take:
    collected = Collected()
    parser = httptools.HttpResponseParser(collected)

    def take(parts: list[bytes]) -> int:
        for part in parts:
            parser.feed_data(part)
        return len(collected.body)

    return take


def with_h11() -> Take:
    def take(parts: list[bytes]) -> int:
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="POST", target="/", headers=[("host", "a"), ("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        size = 0
        for part in parts:
            connection.receive_data(part)
            while (event := connection.next_event()) is not h11.NEED_DATA and type(event) is not h11.EndOfMessage:
                size += len(event.data) if isinstance(event, h11.Data) else 0
        return size

    return take


PARSERS: dict[str, Callable[[], Take]] = {"ours": own, "httptools": with_httptools, "h11": with_h11}


def timed(take: Take, replies: list[list[bytes]], seconds: float) -> float:
    """CPU seconds a reply."""
    done = 0
    started = now = time.process_time()
    while now - started < seconds:
        for parts in replies:
            assert take(parts) == 100
        done += len(replies)
        now = time.process_time()
    return (now - started) / done


def main(seconds: float, rounds: int) -> None:
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for many in (1, 28, 57):
            replies = [pieces(REPLY % at, many) for at in range(KEPT)]
            for name, make in PARSERS.items():
                found.setdefault((name, many), []).append(timed(make(), replies, seconds))
    told: list[dict[str, Any]] = [
        {"parser": name, "pieces": many, "seconds": median(values)} for (name, many), values in found.items()
    ]
    closedloop.say(json.dumps(told))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
