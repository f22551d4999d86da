"""What `micro doctor` is told by the registry."""

from __future__ import annotations

import socket

from micro_core.doctor import findings_of
from micro_core.loader import plugins
from micro_registry_mdns import MdnsRegistry


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def told(*interfaces: str) -> list[tuple[str, str]]:
    (plugin,) = [each for each in plugins("micro.registry") if each.name == "mdns"]
    options = MdnsRegistry.Options(interfaces, free_port())
    return [(finding.level, finding.text) for finding in findings_of(plugin, options)]


def test_what_is_sent_on_the_loopback_interface_comes_back_there_alone() -> None:
    (works, text), (narrow, why) = told("127.0.0.1")
    assert (works, narrow) == ("ok", "warning")
    assert "multicast works on 127.0.0.1" in text
    assert "only services of this host" in why


def test_an_interface_that_this_host_does_not_have_is_an_error() -> None:
    ((level, text),) = told("192.0.2.1")
    assert level == "error"
    assert "multicast cannot be used on 192.0.2.1" in text
