from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from micro_core import metadata

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Writes a distribution with modules and metadata onto the path, as an installer would."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def install(
        distribution: str,
        *,
        group: str = "micro.registry",
        name: str,
        module: str,
        code: str | None,
        requires: str = "",
    ) -> None:
        info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: micro-core{requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n{needs}")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
        if code is not None:
            (site / f"{module}.py").write_text(code)
        metadata.installed_plugins.cache_clear()

    yield install
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(site) in str(sys.modules[name].__file__):
            del sys.modules[name]
    metadata.installed_plugins.cache_clear()
