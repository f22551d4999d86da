"""Holds connections to a server of ours open: `PLAIN|TLS|H2 PORT MANY`, with a call made on each that speaks HTTP/1.1.

Prints a line when all are open, and waits for one.
"""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import closedloop

BODY = b'{"text":"%s"}' % (b"x" * 89)
REQUEST = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nMicro-Service: bench\r\n"
    b"Micro-Endpoint: Echo.Echo\r\nMicro-Id: 0\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""With empty SETTINGS, as RFC 9113 §3.4 has it."""

AT_ONCE = 50


class Idle(asyncio.Protocol):
    """Settled when the server has answered."""

    def __init__(self, hello: bytes, expected: bytes) -> None:
        self._hello = hello
        self._expected = expected
        self._got = b""
        self.settled = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._expected in self._got and not self.settled.done():
            self.settled.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.settled.done():
            self.settled.set_exception(ConnectionError(f"closed by the server; it had said {self._got[:200]!r}"))
        else:
            sys.exit("the server closed a connection that was to be idle")


def context(protocol: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(Path(os.environ["BENCH_TLS"]) / "ca.pem"))
    made.set_alpn_protocols([protocol])
    return made


async def main(kind: str, port: int, many: int) -> None:
    loop = asyncio.get_running_loop()
    hello, expected = (PREFACE, b"\x04\x01\x00\x00\x00\x00") if kind == "H2" else (REQUEST, b'"}')
    security = None if kind == "PLAIN" else context("h2" if kind == "H2" else "http/1.1")
    kept = []
    slots = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with slots:
            name = None if security is None else "bench"
            made = await loop.create_connection(
                lambda: Idle(hello, expected), "127.0.0.1", port, ssl=security, server_hostname=name
            )
            kept.append(made)
            await made[1].settled

    await asyncio.gather(*(one() for _ in range(many)))
    closedloop.say("open")
    sys.stdin.readline()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    what, port, many = sys.argv[1:]
    closedloop.run(lambda: main(what, int(port), int(many)))
