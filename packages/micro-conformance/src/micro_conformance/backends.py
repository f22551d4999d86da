"""The event loops that every test marked `anyio` runs on: asyncio, asyncio on uvloop where it is installed, trio."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

BACKENDS: list[Any] = [pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio")]
if find_spec("uvloop"):
    BACKENDS.append(pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"))
BACKENDS.append(pytest.param(("trio", {}), id="trio"))


@pytest.fixture(scope="module", params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The back end as anyio's pytest plugin takes it: a name and its options."""
    return request.param
