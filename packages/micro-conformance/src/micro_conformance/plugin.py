"""The pytest plugin: assertion texts in the suites, and the event loops to run them on."""

from __future__ import annotations

from pathlib import Path
from pkgutil import iter_modules

import pytest

# Module by module: the package itself is imported already, and pytest 8 warns of that.
pytest.register_assert_rewrite(
    *(
        f"{__package__}.{module.name}"
        for module in iter_modules([str(Path(__file__).parent)])
        if module.name != "plugin"
    )
)


def pytest_configure(config: pytest.Config) -> None:
    """Registered here, after anyio's own plugin, so that this `anyio_backend` is the one that counts."""
    from micro_conformance import backends

    config.pluginmanager.register(backends, "micro-conformance-backends")
