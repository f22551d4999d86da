"""Addresses: `host:port`, with brackets around an IPv6 host."""

from __future__ import annotations


def parse_address(address: str) -> tuple[str, int]:
    """Host and port; the host may be empty. Raises ValueError that says what was expected."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not colon or not 0 <= number <= 65535 or (":" in host) != bracketed or not _plain(host):
        raise ValueError(f"{address!r} is not an address: expected host:port, for example 127.0.0.1:8080 or [::1]:8080")
    return host, number


def _plain(host: str) -> bool:
    return host.isascii() and not any(char <= " " or char in "/@\x7f[]" for char in host)


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets where the host holds colons."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
