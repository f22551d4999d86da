"""What is measured: the rows, each a server and a client, and the cases, each a load that they are put to."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import golang
from closedloop import MESSAGES
from processes import Failed, Program, free_port, running, wait_for_port

HERE = Path(__file__).parent
OVERLAY = HERE.parent / "dist" / "compiled" / "overlay"
UNARY = frozenset({"unary"})
ALL = frozenset({"unary", "oneway", "pingpong"})
BASE = "grpc-uvloop"
LIMIT = "raw"


@dataclass(frozen=True)
class Case:
    """One load: `callers` at once, payloads of `size` bytes; a call counts for `messages`."""

    name: str
    title: str
    load: str
    callers: int
    size: int = 100
    messages: int = 1

    @property
    def unit(self) -> str:
        """What is counted."""
        return {"unary": "calls", "oneway": "messages", "pingpong": "round trips"}[self.load]


CASES = [
    Case("unary-64", "Unary, 100 bytes, 64 at once", "unary", 64),
    Case("unary-1", "Unary, 100 bytes, one at a time", "unary", 1),
    Case("unary-10k-64", "Unary, 10 KB, 64 at once", "unary", 64, 10_000),
    Case("unary-10k-1", "Unary, 10 KB, one at a time", "unary", 1, 10_000),
    Case("oneway-8", "Stream one way, 8 at once, messages of 100 bytes", "oneway", 8, messages=MESSAGES),
    Case("oneway-1", "Stream one way, one at a time, messages of 100 bytes", "oneway", 1, messages=MESSAGES),
    Case("pingpong-64", "Ping-pong on 64 open streams, 100 bytes", "pingpong", 64),
    Case("pingpong-1", "Ping-pong on one open stream, 100 bytes", "pingpong", 1),
]


@dataclass(frozen=True)
class Row:
    """One peer.

    Attributes:
        program: makes the command, without what `closedloop` says about arguments; may raise Failed.
        client: makes that of the client, where it is another program.
        what: a sentence for the page.
        loads: those that it takes part in.
        environment: of both programs.
        broker: makes the command of a broker between them, which listens at the port it is given.
    """

    name: str
    title: str
    program: Callable[[], list[str]]
    what: str
    loads: frozenset[str] = ALL
    environment: Mapping[str, str] = field(default_factory=dict)
    broker: Callable[[int], list[str]] | None = None
    tls: bool = False
    client: Callable[[], list[str]] | None = None


def python(name: str) -> Callable[[], list[str]]:
    """A peer written in Python."""
    return lambda: [sys.executable, str(HERE / "peers" / f"{name}_peer.py")]


def compiled(name: str) -> Callable[[], list[str]]:
    """A peer written in Python whose environment is COMPILED."""

    def command() -> list[str]:
        if not OVERLAY.is_dir():
            raise Failed("there are no compiled modules; nox -s compiled makes them")
        return python(name)()

    return command


def built(name: str) -> Callable[[], list[str]]:
    """A peer written in Go."""
    return lambda: [str(golang.peer(name))]


def nats_server(port: int) -> list[str]:
    """The broker of nats-py."""
    return [str(golang.nats_server()), "-a", "127.0.0.1", "-p", str(port)]


ASYNCIO = {"BENCH_LOOP": "asyncio"}
TRIO = {"BENCH_LOOP": "trio"}
HTTP1 = {"MICRO_TRANSPORT_HTTP_HTTP2": "never"}
COMPILED = {"PYTHONPATH": str(OVERLAY)}

ROWS = [
    Row(
        "micro",
        "ours",
        python("micro"),
        "this project on uvloop as it comes: mDNS registry behind its cache, selector, typed JSON into a dataclass, a "
        "middleware of the server, metadata with every call, a deadline; without TLS, where calls alone go over "
        "HTTP/1.1 and several at once over one connection of HTTP/2",
    ),
    Row("micro-http1", "ours, HTTP/1.1", python("micro"), "`micro` over HTTP/1.1 alone", environment=HTTP1),
    Row("micro-tls", "ours, TLS HTTP/2", python("micro"), "`micro` over TLS 1.3 and HTTP/2", tls=True),
    Row("micro-asyncio", "ours, asyncio", python("micro"), "`micro` without uvloop", environment=ASYNCIO),
    Row("micro-trio", "ours, trio", python("micro"), "`micro` on trio", environment=TRIO),
    Row(
        "micro-compiled",
        "ours, compiled",
        compiled("micro"),
        "`micro` with the modules of a call compiled by mypyc (`nox -s compiled`)",
        environment=COMPILED,
    ),
    Row(
        "micro-tls-compiled",
        "ours, compiled, TLS",
        compiled("micro"),
        "the same over TLS 1.3 and HTTP/2",
        environment=COMPILED,
        tls=True,
    ),
    Row(
        "micro-trio-compiled",
        "ours, compiled, trio",
        compiled("micro"),
        "the same on trio",
        environment={**COMPILED, **TRIO},
    ),
    Row("grpc-uvloop", "grpc.aio, uvloop", python("grpc"), "grpcio's asyncio interface, generic handlers: bytes"),
    Row("grpc", "grpc.aio", python("grpc"), "the same without uvloop", environment=ASYNCIO),
    Row("grpclib", "grpclib", python("grpclib"), "gRPC in pure Python on uvloop, over the h2 package: bytes"),
    Row(
        "fastapi",
        "FastAPI + httpx",
        python("fastapi"),
        "FastAPI on uvicorn with uvloop and httptools, called by httpx; JSON into a pydantic model at both ends",
        UNARY,
    ),
    Row("aiohttp", "aiohttp", python("aiohttp"), "aiohttp's server and client on uvloop: bytes", UNARY),
    Row(
        "granian",
        "granian + pyreqwest",
        python("granian"),
        "a server (RSGI, one worker, uvloop) and a client whose HTTP is written in Rust: bytes",
        UNARY,
    ),
    Row(
        "nats",
        "nats-py",
        python("nats"),
        "request and reply of nats-py on uvloop through a real nats-server, which is pinned nowhere and whose CPU is "
        "not counted: bytes",
        UNARY,
        broker=nats_server,
    ),
    Row("go-http", "Go net/http", built("gohttp"), "a bare echo of the Go standard library, server and client", UNARY),
    Row(
        "go-micro",
        "Go Micro v4.11.0",
        built("gomicro"),
        "Go Micro itself, server and client: mDNS, its selector with its cache, protobuf",
    ),
    Row(
        "go-micro-to-micro",
        "Go Micro → ours",
        python("micro_messages"),
        "the client of `go-micro` and the server of `micro`, with messages of protobuf",
        client=built("gomicro"),
    ),
    Row(
        "micro-to-go-micro",
        "ours → Go Micro",
        built("gomicro"),
        "the client of `micro`, which speaks HTTP/1.1 here, and the server of `go-micro`",
        client=python("micro_messages"),
    ),
    Row(
        "raw",
        "raw echo",
        python("raw"),
        "the limit: bytes echoed by an asyncio Protocol on uvloop, a connection per caller and no framing; a stream "
        "one way is a write per message",
    ),
]


def environment_of(row: Row, certificates: Path | None) -> dict[str, str]:
    """Of one run: discovery by multicast on loopback alone, in a namespace of its own."""
    own = {"MICRO_NAMESPACE": f"bench-{secrets.token_hex(3)}", "MICRO_REGISTRY_MDNS_INTERFACES": "127.0.0.1"}
    tls = {"BENCH_TLS": str(certificates)} if row.tls else {}
    return {**own, **tls, **row.environment}


@contextmanager
def broker_of(row: Row, environment: dict[str, str]) -> Iterator[Program | None]:
    """The broker of a row that has one; the environment is told its port. Raises Failed."""
    if row.broker is None:
        yield None
        return
    port = free_port()
    with running(row.broker(port), os.environ) as broker:
        wait_for_port(port)
        environment["BENCH_BROKER"] = str(port)
        yield broker
