"""The page of the matrix is of the matrix as it stands; the matrix itself is run by `nox -s interop`."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_page_has_a_row_for_every_feature_and_a_column_for_every_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "interop"))
    matrix = importlib.import_module("matrix")
    page = (ROOT / "docs" / "interop.md").read_text()
    head, _, *rows = [line for line in page.splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in rows] == list(matrix.ROWS)
    releases = [release for release in matrix.RELEASES for _ in matrix.WAYS]
    assert re.findall(r"\| (v\S+)", head) == releases
    assert "**fails**" not in page
