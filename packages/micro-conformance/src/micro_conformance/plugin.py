"""The pytest plugin: assertion texts in the suites, and the event loops to run them on."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("micro_conformance")


def pytest_configure(config: pytest.Config) -> None:
    """Registered here, after anyio's own plugin, so that this `anyio_backend` is the one that counts."""
    from micro_conformance import backends

    config.pluginmanager.register(backends, "micro-conformance-backends")
