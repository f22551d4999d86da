"""Lets tests import the helpers beside them, and gives them `authority`: a CA and the files that it signs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tls_files import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA of its own for each test."""
    return Authority(tmp_path)
