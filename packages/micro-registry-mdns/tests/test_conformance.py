from __future__ import annotations

import socket
import zlib
from collections.abc import Awaitable, Callable

import pytest
from micro_conformance.registry import RegistryConformance
from micro_core import Registry
from micro_registry_mdns import MdnsRegistry
from micro_registry_mdns.links import GROUP
from micro_registry_mdns.packets import Announced, Beat, answer
from micro_registry_mdns.record_text import fingerprint, to_strings


class TestMdnsRegistry(RegistryConformance):
    plugin = ("registry", "mdns")
    shortest_ttl = 0.5

    @pytest.fixture
    def make_registry(self, port: int) -> Callable[[], MdnsRegistry]:
        options = MdnsRegistry.Options(interfaces=("127.0.0.1",), port=port)
        return lambda: MdnsRegistry(options)

    def options_for_doctor(self, cls: type[MdnsRegistry]) -> list[MdnsRegistry.Options]:
        """Another address than one of this host's, too."""
        return [cls.Options(interfaces=(address,)) for address in ("127.0.0.1", "192.0.2.1")]

    @pytest.fixture
    def plant_unreadable(self, port: int) -> Callable[[Registry, str], Awaitable[None]]:
        async def plant(registry: Registry, name: str) -> None:
            text = to_strings(zlib.compress(b'{"Service": "%s", "Version": 7}' % name.encode()))
            beat = Beat("00" * 8, 5, 1, frozenset([fingerprint(text)]), frozenset())
            for packet in answer([Announced("broken", text, "127.0.0.1", 1)], beat):
                send_from(port, packet)

        return plant


def send_from(port: int, packet: bytes) -> None:
    """Multicasts from the protocol's own port, as answers must be."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sock.bind(("127.0.0.1", port))
        sock.sendto(packet, (GROUP, port))
