"""Links: the sockets at one site, members of the multicast group there and nowhere else."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from micro_registry_mdns.sites import Site

GROUP = "224.0.0.251"
GROUP6 = "ff02::fb"
MAX_PACKET = 9000
BUFFER = 4 * 1024 * 1024
_IP_MULTICAST_ALL = 49
"""Linux: 0 keeps out what other sockets joined for; Python's socket module has no name for it, nor for the next."""
_IPV6_MULTICAST_ALL = 29
_SO_MEMINFO = 55
"""Linux: numbers about a socket's memory, the last of which counts the packets that were dropped for want of it."""
_DROPPED = struct.Struct("@32xI")
_MOST_HOPS = 255
DEAF = 3.0
"""Seconds of sending without hearing ourselves after which a link is opened anew."""


class Link:
    """An open link. Packets that we send to the group come back to us, which is how a dead interface is noticed.

    `asking` is a second socket on a port of its own, for questions that are answered by unicast: answers to the port
    of the protocol may be given to another process of this host.
    """

    def __init__(self, site: Site, port: int) -> None:
        """Opens it. Raises OSError."""
        self.site = site
        self.unheard_since: float | None = None
        self.heard = False
        self._dropped = 0
        if site.ipv6:
            self._group: tuple[str, int] | tuple[str, int, int, int] = (GROUP6, port, 0, site.index)
            _check_route(site, port)
        else:
            self._group = (GROUP, port)
        self.socket = _open(site, lambda sock: _join(sock, site, port))
        try:
            self.asking = _open(site, lambda sock: sock.bind(("" if site.ipv6 else site.name, 0)))
        except BaseException:
            self.socket.close()
            raise

    @property
    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """Both, to wait for."""
        return (self.socket, self.asking)

    def send(self, packet: bytes, now: float) -> None:
        """Sends to the group; a full buffer drops the packet, as the network may. Raises OSError."""
        if self.unheard_since is None:
            self.unheard_since = now
        _send(self.socket, packet, self._group)

    def ask(self, packet: bytes) -> None:
        """Sends to the group from the port for questions. Raises OSError."""
        _send(self.asking, packet, self._group)

    def reply(self, packet: bytes, to: tuple[str, int]) -> None:
        """Sends to one; that nobody is there, or can be reached, is no fault of the link."""
        host, scoped, _ = to[0].partition("%")
        with suppress(OSError):
            _send(self.socket, packet, (host, to[1], 0, self.site.index) if scoped else to)

    def receive(self, most: int) -> Iterator[tuple[bytes, tuple[str, int]]]:
        """Up to so many packets that have arrived at each socket, and whence. Raises OSError.

        A link-local address is given with the interface behind %: other interfaces may have neighbours of the same one.
        """
        for sock in self.sockets:
            for _ in range(most):
                try:
                    packet, (host, port, *scope) = sock.recvfrom(MAX_PACKET)
                except (BlockingIOError, InterruptedError):
                    break
                if host in self.site.addresses:
                    self.unheard_since, self.heard = None, True
                yield packet, (f"{host}%{self.site.interface}" if any(scope[1:]) else host, port)

    def overflowed(self) -> bool:
        """Whether packets came faster than they were read since this was last asked, as far as the system tells."""
        before, self._dropped = self._dropped, sum(map(_dropped, self.sockets))
        return self._dropped != before

    def is_deaf(self, now: float) -> bool:
        """Whether we have been sending for a while and nothing came back."""
        return self.unheard_since is not None and now - self.unheard_since > DEAF

    def close(self) -> None:
        """Closes the sockets."""
        for sock in self.sockets:
            sock.close()


def _dropped(sock: socket.socket) -> int:
    if sys.platform != "linux":
        return 0
    try:
        return int(_DROPPED.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _DROPPED.size))[0])
    except (OSError, struct.error):  # before 4.12
        return 0


def _send(sock: socket.socket, packet: bytes, to: tuple[str, int] | tuple[str, int, int, int]) -> None:
    try:
        sock.sendto(packet, to)
    except (BlockingIOError, InterruptedError):
        return


def _check_route(site: Site, port: int) -> None:
    """Whether packets could be sent to the group: an interface with IPv6 may have no route for them. Raises OSError."""
    if not site.index:
        raise OSError("this host has no such address")
    with _open(site, lambda sock: sock.connect((GROUP6, port, 0, site.index))):
        pass


def _open(site: Site, prepare: Callable[[socket.socket], None]) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if site.ipv6 else socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        if site.ipv6:
            _send_at_ipv6(sock, site)
        else:
            _send_at(sock, _packed(site.name))
        prepare(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _packed(address: str) -> bytes:
    try:
        return socket.inet_aton(address)
    except OSError:
        raise OSError("this host has no interface of that name with an address to use") from None


def _send_at(sock: socket.socket, interface: bytes) -> None:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _MOST_HOPS)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)


def _send_at_ipv6(sock: socket.socket, site: Site) -> None:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, site.index)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _MOST_HOPS)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)


def _join(sock: socket.socket, site: Site, port: int) -> None:
    """Makes it a member, at a port that is shared with other processes.

    Linux shares it by SO_REUSEADDR; by SO_REUSEPORT it would give what another host sends to one link at random.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform != "linux" and hasattr(socket, "SO_REUSEPORT"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if site.ipv6:
        _join_ipv6(sock, site.index, port)
    else:
        _join_ipv4(sock, _packed(site.name), port)


def _join_ipv4(sock: socket.socket, interface: bytes, port: int) -> None:
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface)
    sock.bind(("" if sys.platform == "win32" else GROUP, port))


def _join_ipv6(sock: socket.socket, index: int, port: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError):  # not before 4.20; being bound to the interface does nearly the same
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    member = socket.inet_pton(socket.AF_INET6, GROUP6) + struct.pack("@I", index)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    sock.bind(("::", port) if sys.platform == "win32" else (GROUP6, port, 0, index))
