"""What `micro doctor` is told: whether TCP works on this host, and whether it allows as many files as calls need."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from micro_core import ConfigurationError, Finding
from micro_http import TLS

PATIENCE = 2.0
"""Seconds for a connection on this host."""

SPARE = 128
"""Open files that a process needs beside one pool of connections."""


def findings(pool_size: int, tls: TLS | None = None) -> Iterator[Finding]:
    """One finding about TCP on the loopback interface, one about TLS, one about open files where there are too few."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            socket.create_connection(listening.getsockname(), timeout=PATIENCE).close()
        yield Finding("ok", "TCP works on 127.0.0.1")
    except OSError as error:
        yield Finding(
            "error",
            f"TCP does not work on 127.0.0.1: {error.strerror or error}",
            "bring the loopback interface up, or let local connections through the firewall",
        )
    yield from _of_tls(tls)
    allowed = _open_files()
    if allowed is not None and allowed < pool_size + SPARE:
        yield Finding(
            "warning",
            f"this process may open {allowed} files, and one pool may hold {pool_size} connections",
            f"raise it by `ulimit -n {8 * (pool_size + SPARE)}`, or set MICRO_TRANSPORT_HTTP_POOL_SIZE lower",
        )


def _of_tls(tls: TLS | None) -> Iterator[Finding]:
    if tls is None:
        return
    try:
        tls.open()
    except ConfigurationError as error:
        yield Finding("error", f"TLS cannot be used: {error}", "correct what it names")
        return
    serves = "serves and calls" if tls.serves else "calls, and has no certificate to serve with"
    yield Finding("ok", f"this process {serves}, by TLS alone; the files of its options can be used")


def _open_files() -> int | None:
    """How many files this process may open; None where that is unknown or unlimited."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
