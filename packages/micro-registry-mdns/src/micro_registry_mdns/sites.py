"""Sites: the interfaces of this host, each by each version of IP, and which of them are used.

IPv4 is spoken at every IPv4 address. IPv6 is spoken at every interface with an IPv6 address that others can call. A
link-local one is none: nearly every interface has one though nobody uses IPv6 there, every tunnel and every port of a
bridge among them. Nor is ::1, where the loopback interface has an IPv4 address: no other host shares it, so that all
meet there anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import ifaddr


@dataclass(frozen=True, slots=True)
class Site:
    """One interface by one version of IP.

    Attributes:
        name: the address that it is known by; of IPv6 the link-local one, if any, with the interface behind %.
        interface: the interface's name.
        index: the interface's number; 0 when this host has no such interface.
        addresses: those that packets of this host come from, without the interface.
        useful: whether it is used without having been chosen.
    """

    name: str
    interface: str = ""
    index: int = 0
    addresses: frozenset[str] = frozenset()
    useful: bool = True

    @property
    def ipv6(self) -> bool:
        """Whether it speaks IPv6."""
        return ":" in self.name

    def is_called(self, name: str) -> bool:
        """Whether that is one of its addresses, with the interface or without."""
        address, _, interface = name.partition("%")
        return address in self.addresses and interface in ("", self.interface, str(self.index))


def sites(chosen: Sequence[str] = ()) -> list[Site]:
    """What is chosen, by addresses or names of interfaces; else all that is of use.

    What this host does not have is among them, so that whoever opens it is told.
    """
    found = [site for adapter in ifaddr.get_adapters() for site in _of(adapter)]
    if not chosen:
        return [site for site in found if site.useful]
    return list({site.name: site for name in chosen for site in _chosen(name, found)}.values())


def _chosen(name: str, found: Iterable[Site]) -> list[Site]:
    address = _address(name)
    if address:
        return [site for site in found if site.is_called(address)] or [Site(address, addresses=frozenset([address]))]
    return [site for site in found if site.interface == name and site.useful] or [Site(name)]


def _address(name: str) -> str:
    """An address as the system writes it; empty for the name of an interface."""
    try:
        return str(ip_address(name))
    except ValueError:
        return ""


def _of(adapter: ifaddr.Adapter) -> Iterator[Site]:
    name, index = adapter.nice_name, adapter.index or 0
    ipv4 = [ip.ip for ip in adapter.ips if isinstance(ip.ip, str)]
    for address in ipv4:
        yield Site(address, name, index, frozenset([address]))
    ipv6 = [ip.ip[0] for ip in adapter.ips if not isinstance(ip.ip, str)]
    if ipv6:
        near = [address for address in ipv6 if ip_address(address).is_link_local]
        far = [address for address in ipv6 if address not in near and not (ipv4 and ip_address(address).is_loopback)]
        yield Site(f"{near[0]}%{name}" if near else ipv6[0], name, index, frozenset(ipv6), bool(far))
