"""What `micro doctor` is told: on each interface, whether what is sent to the multicast group comes back."""

from __future__ import annotations

import secrets
import select
import time
from collections.abc import Iterator, Sequence

from micro_core import Finding

from micro_registry_mdns.links import GROUP, GROUP6, Link
from micro_registry_mdns.packets import is_loopback
from micro_registry_mdns.sites import Site, sites

ECHO = 1.0
"""Seconds in which a packet comes back to its own host, if it does at all."""

MOST = 64
"""Packets looked at between two waits."""

_ELSEWHERE = "name the interfaces to use by MICRO_REGISTRY_MDNS_INTERFACES, or choose another registry"


def findings(interfaces: Sequence[str], port: int) -> Iterator[Finding]:
    """One finding per interface that fails, one for those that work, a warning where they reach this host alone."""
    found = sites(interfaces)
    if not found:
        yield Finding("error", "this host has no interface with an address to use", "bring one up; loopback will do")
    working = []
    for site in found:
        trouble = _trouble(site, port)
        if trouble is None:
            working.append(site.name)
        else:
            yield trouble
    if working:
        yield Finding("ok", f"multicast works on {', '.join(working)} (UDP port {port})")
    if working and all(map(is_loopback, working)):
        yield Finding("warning", "only services of this host can be found: no other interface is used", _ELSEWHERE)


def _trouble(site: Site, port: int) -> Finding | None:
    try:
        link = Link(site, port)
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding("error", f"multicast cannot be used on {site.name}, UDP port {port}: {reason}", _ELSEWHERE)
    try:
        if _echoes(link):
            return None
        text = f"multicast is blocked on {site.name}: nothing of what was sent came back"
    except OSError as error:
        text = f"multicast cannot be sent on {site.name}: {error.strerror or error}"
    finally:
        link.close()
    group = GROUP6 if site.ipv6 else GROUP
    return Finding("error", text, f"let UDP port {port} to {group} through the firewall; or {_ELSEWHERE}")


def _echoes(link: Link) -> bool:
    """Sends a query without a question, which nobody answers, and waits for it. Raises OSError."""
    packet = secrets.token_bytes(2) + bytes(10)
    link.send(packet, 0.0)
    deadline = time.monotonic() + ECHO
    while (left := deadline - time.monotonic()) > 0:
        if select.select([link.socket], [], [], left)[0] and any(got == packet for got, _ in link.receive(MOST)):
            return True
    return False
