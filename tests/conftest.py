from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a mesh of its own: no variable of the caller, a fresh namespace, multicast on loopback alone."""
    for name in [name for name in os.environ if name.startswith("MICRO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MICRO_NAMESPACE", f"test-{secrets.token_hex(4)}")
    monkeypatch.setenv("MICRO_REGISTRY_MDNS_INTERFACES", "127.0.0.1")


@pytest.fixture
def surroundings() -> dict[str, str]:
    """What a reader has: no namespace, the command on the path. A mesh of its own is made by another port of mDNS."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if name != "MICRO_NAMESPACE"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**inherited, "PATH": path, "MICRO_REGISTRY_MDNS_PORT": str(port)}
