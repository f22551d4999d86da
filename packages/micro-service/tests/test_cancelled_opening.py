"""Who is cancelled while a service or client opens is told of that, and of nothing else."""

from __future__ import annotations

from typing import Any

import anyio
import micro
import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", [micro.Client, lambda **chosen: micro.Service("greeter", **chosen)])
async def test_who_is_cancelled_while_it_opens_is_cancelled_and_nothing_else(memory: dict[str, Any], kind: Any) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with kind(**memory):
            raise AssertionError("it opened all the same")
    assert scope.cancelled_caught
