"""Addresses: which ones of strangers may be dialled, and which one of ours to tell.

A registry record is untrusted input. What is dialled is `host:port` and nothing else: an ASCII host name, an IPv4
address or an IPv6 address in brackets, and a port from 1 to 65535. Numbers that resolvers read as an IPv4 address
(`127.1`, `0x7f.1`) count as that address, so that none of them hides a loopback.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

from micro_core import ConfigurationError

MAX_ADDRESS = 255
"""Characters, which are bytes here."""

# Labels are bounded because Python's resolver raises a UnicodeError for others.
_NAME = r"(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?"
_ADDRESS = re.compile(rf"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|({_NAME}|)):([0-9]{{1,5}})", re.ASCII)
_HOST = re.compile(_NAME, re.ASCII)

# In Go Micro's order of preference (WIRE §9); Python's own idea of "private" is wider.
_PRIVATE = tuple(IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
_LINK_LOCAL = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))


def split_address(address: str) -> tuple[str, int] | None:
    """Host, without brackets and perhaps empty, and port; None for what is not `host:port`."""
    match = _ADDRESS.fullmatch(address) if len(address) <= MAX_ADDRESS else None
    if match is None or int(match[3]) > 65535:
        return None
    if match[1] and not isinstance(_ip(match[1]), IPv6Address):
        return None
    return match[1] or match[2], int(match[3])


def unusable(address: str) -> str:
    """Why an address from a record cannot be dialled; empty when it can."""
    parts = split_address(address)
    if parts is None:
        return "its address is not host:port"
    host, port = parts
    if not host:
        return "its address has no host"
    return "" if port else "its port is 0"


def local(address: str) -> bool:
    """Whether a usable address means a different machine to everyone who dials it: loopback, or a wildcard."""
    parts = split_address(address)
    if parts is None:
        return False
    found = _ip(parts[0])
    if found is None:
        name = parts[0].rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return any(each.is_loopback or each.is_unspecified for each in (found, mapped) if each is not None)


def reachable_address(bound: str, advertise: str = "") -> str:
    """What a server registers: `advertise` (a host, or `host:port`) when there is one, else the bound address.

    A wildcard host (empty, `0.0.0.0`, `[::]`) becomes an address of this machine as Go Micro chooses it (WIRE §9): the
    first private IPv4 address, else another IPv4 address, else an IPv6 address. Interfaces are only listed; no packet
    is sent.

    Raises:
        ConfigurationError: `advertise` or `bound` cannot be read, or no interface has an address that others reach.
    """
    parts = split_address(bound)
    if parts is None:
        raise ConfigurationError(f"the address {bound!r} is not host:port; write for example 127.0.0.1:8080 or :0")
    host, port = _advertised(advertise, parts[1]) if advertise else parts
    if not port:
        raise ConfigurationError(f"the address {advertise or bound!r} has no port that others could call")
    found = _ip(host) if host else None
    if not host or (found is not None and found.is_unspecified):
        host = str(choose(interface_addresses()))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _advertised(advertise: str, port: int) -> tuple[str, int]:
    bare = advertise.removeprefix("[").removesuffix("]")
    if _HOST.fullmatch(bare) or isinstance(_ip(bare), IPv6Address):
        return bare, port
    parts = split_address(advertise)
    if parts is None:
        raise ConfigurationError(
            f"the advertised address {advertise!r} is neither a host nor host:port; "
            f"write for example 10.0.0.5, greeter.example.com:8080 or [2001:db8::5]:8080 (MICRO_SERVER_ADVERTISE)"
        )
    return parts


def choose(addresses: Iterable[IPv4Address | IPv6Address]) -> IPv4Address | IPv6Address:
    """The address to tell others, of those that this machine has. Raises ConfigurationError when none will do."""
    usable = [each for each in addresses if not (each.is_loopback or each.is_unspecified or each.is_multicast)]
    ranked = sorted(usable, key=_rank)  # stable: the first interface wins
    if not ranked or (ranked[0].version == 6 and _is_link_local(ranked[0])):
        raise ConfigurationError(
            "no network interface of this machine has an address that others could reach; name one by "
            "MICRO_SERVER_ADVERTISE=host, or stay on this machine by MICRO_SERVER_ADDRESS=127.0.0.1:0"
        )
    return ranked[0]


def _rank(address: IPv4Address | IPv6Address) -> int:
    private = isinstance(address, IPv4Address) and any(address in network for network in _PRIVATE)
    return 0 if private else 1 + (address.version == 6) + 2 * _is_link_local(address)


def _is_link_local(address: IPv4Address | IPv6Address) -> bool:
    return any(address.version == network.version and address in network for network in _LINK_LOCAL)


def interface_addresses() -> list[IPv4Address | IPv6Address]:
    """Every address of every interface, in the system's order."""
    import ifaddr  # only servers that bind a wildcard need it

    texts = [each.ip for adapter in ifaddr.get_adapters() for each in adapter.ips]
    return [ip_address(text if isinstance(text, str) else text[0].partition("%")[0]) for text in texts]


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None
