"""Fixtures for pytest, there wherever micro-service and pytest are installed.

    @pytest.fixture
    def micro_service() -> micro.Service:
        return users.service

    @pytest.fixture
    def micro_fakes() -> dict[str, object]:
        return {"mail": FakeMail()}

    @pytest.mark.anyio
    async def test_creating(micro_app: micro.testing.App) -> None: ...

They run on anyio's own pytest plugin, once per back end that the test's `anyio_backend` names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from micro.service import Service
    from micro.testing.app import App


@pytest.fixture
def micro_service() -> Service:
    """The service under test: to be overridden by the test's module or conftest.py."""
    pytest.fail("the fixture micro_app needs a fixture `micro_service` that returns the service under test", False)


@pytest.fixture
def micro_fakes() -> Mapping[str, object]:
    """What stands for other services, as `fakes` of `micro.testing.run`: to be overridden; none by default."""
    return {}


@pytest.fixture
async def micro_app(
    anyio_backend: Any, micro_service: Service, micro_fakes: Mapping[str, object]
) -> AsyncIterator[App]:
    """The service under test, running in memory with its fakes."""
    from micro.testing.app import run

    async with run(micro_service, fakes=micro_fakes) as app:
        yield app
