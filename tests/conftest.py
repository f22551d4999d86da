from __future__ import annotations

import os
import secrets

import pytest


@pytest.fixture(autouse=True)
def own_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a mesh of its own: no variable of the caller, a fresh namespace, multicast on loopback alone."""
    for name in [name for name in os.environ if name.startswith("MICRO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MICRO_NAMESPACE", f"test-{secrets.token_hex(4)}")
    monkeypatch.setenv("MICRO_REGISTRY_MDNS_INTERFACES", "127.0.0.1")
