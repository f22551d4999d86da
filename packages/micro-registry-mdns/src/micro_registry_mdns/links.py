"""Links: one UDP socket per interface, a member of the multicast group there and nowhere else."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import suppress

import ifaddr

GROUP = "224.0.0.251"
MAX_PACKET = 9000
BUFFER = 4 * 1024 * 1024
_IP_MULTICAST_ALL = 49
"""Linux: 0 keeps out what other sockets joined for; Python's socket module has no name for it."""
DEAF = 3.0
"""Seconds of sending without hearing ourselves after which a link is opened anew."""


class Link:
    """An open link. Packets that we send to the group come back to us, which is how a dead interface is noticed.

    `asking` is a second socket on a port of its own, for questions that are answered by unicast: answers to the port
    of the protocol may be given to another process of this host.
    """

    def __init__(self, address: str, port: int) -> None:
        """Opens it. Raises OSError."""
        self.address = address
        self.port = port
        self.unheard_since: float | None = None
        self.socket = _open(address, port)
        try:
            self.asking = _open_asking(address)
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
        _send(self.socket, packet, (GROUP, self.port))

    def ask(self, packet: bytes) -> None:
        """Sends to the group from the port for questions. Raises OSError."""
        _send(self.asking, packet, (GROUP, self.port))

    def reply(self, packet: bytes, to: tuple[str, int]) -> None:
        """Sends to one; that nobody is there, or can be reached, is no fault of the link."""
        with suppress(OSError):
            _send(self.socket, packet, to)

    def receive(self, most: int) -> Iterator[tuple[bytes, tuple[str, int]]]:
        """Up to so many packets that have arrived at each socket. Raises OSError."""
        for sock in self.sockets:
            for _ in range(most):
                try:
                    packet, source = sock.recvfrom(MAX_PACKET)
                except (BlockingIOError, InterruptedError):
                    break
                if source[0] == self.address:
                    self.unheard_since = None
                yield packet, (source[0], source[1])

    def is_deaf(self, now: float) -> bool:
        """Whether we have been sending for a while and nothing came back."""
        return self.unheard_since is not None and now - self.unheard_since > DEAF

    def close(self) -> None:
        """Closes the sockets."""
        for sock in self.sockets:
            sock.close()


def _open(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    try:
        _configure(sock, _packed(address))
        sock.bind(("" if sys.platform == "win32" else GROUP, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _open_asking(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        _send_at(sock, _packed(address))
        sock.bind((address, 0))
    except BaseException:
        sock.close()
        raise
    return sock


def _send(sock: socket.socket, packet: bytes, to: tuple[str, int]) -> None:
    try:
        sock.sendto(packet, to)
    except (BlockingIOError, InterruptedError):
        return


def _packed(address: str) -> bytes:
    try:
        return socket.inet_aton(address)
    except OSError:
        raise OSError("it is not named by its IPv4 address") from None


def _configure(sock: socket.socket, interface: bytes) -> None:
    sock.setblocking(False)
    # Linux shares the port by SO_REUSEADDR; by SO_REUSEPORT it gives what another host sends to one link at random.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform != "linux" and hasattr(socket, "SO_REUSEPORT"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface)
    _send_at(sock, interface)


def _send_at(sock: socket.socket, interface: bytes) -> None:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)


def interface_addresses() -> list[str]:
    """The IPv4 addresses of this host, loopback among them."""
    return [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
