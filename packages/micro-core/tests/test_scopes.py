"""The quick answer to how long the scopes around last is anyio's own."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import pytest
from anyio._backends import _asyncio
from micro_core.scopes import capture_scopes

pytestmark = pytest.mark.anyio


async def test_without_a_scope_there_is_no_end() -> None:
    scopes = capture_scopes()
    assert scopes() == anyio.current_effective_deadline() == math.inf


async def test_the_least_deadline_counts_unless_a_shield_is_in_between() -> None:
    scopes, now = capture_scopes(), anyio.current_time()
    with anyio.CancelScope(deadline=now + 50):
        assert scopes() == now + 50
        with anyio.CancelScope(deadline=now + 60):
            assert scopes() == now + 50
            with anyio.CancelScope(deadline=now + 70, shield=True):
                assert scopes() == anyio.current_effective_deadline() == now + 70
                await anyio.lowlevel.checkpoint()
    assert scopes() == math.inf


async def test_a_cancelled_scope_has_ended_already() -> None:
    scopes = capture_scopes()
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert scopes() == -math.inf
        await anyio.sleep(5)
    assert scope.cancelled_caught


async def test_each_task_has_its_own() -> None:
    scopes, seen = capture_scopes(), []

    async def child() -> None:
        seen.append(scopes())

    now = anyio.current_time()
    with anyio.CancelScope(deadline=now + 50):
        async with anyio.create_task_group() as group:
            group.start_soon(child)
    assert seen == [now + 50]


async def test_where_anyio_keeps_no_such_list_it_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    states = _asyncio._task_states
    monkeypatch.delattr(_asyncio, "_task_states")
    captured = capture_scopes()
    monkeypatch.setattr(_asyncio, "_task_states", states, raising=False)
    assert captured == anyio.lowlevel.current_token().backend_class.current_effective_deadline


class Elsewhere(WeakKeyDictionary[Any, Any]):
    """Keeps what it holds in another place; where one looks, it seems empty."""

    def __init__(self, held: WeakKeyDictionary[Any, Any]) -> None:
        super().__init__(held)
        vars(self)["data"] = {}

    @property
    def data(self) -> dict[Any, Any]:
        return self._held

    @data.setter
    def data(self, held: dict[Any, Any]) -> None:
        self._held = held


async def test_a_list_that_means_something_else_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_asyncio, "_task_states", Elsewhere(_asyncio._task_states))
    assert capture_scopes() == anyio.lowlevel.current_token().backend_class.current_effective_deadline
