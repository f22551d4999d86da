"""Services of one test see each other and nobody else."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> dict[str, Any]:
    """What to choose so that everything stays in this test."""
    monkeypatch.chdir(tmp_path)
    store = request.node.nodeid
    return {
        "registry": "memory",
        "transport": "memory",
        "broker": "memory",
        "options": {f"{kind}.memory.address": store for kind in ("registry", "transport", "broker")},
    }
