"""Functions called at four moments of a service's life."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("micro.service")


class Hooks:
    """Sync or async functions by moment, called in the order they were added."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[Callable[[], Any]]] = {}

    def add(self, moment: str, hook: Callable[[], Any]) -> None:
        """Adds one."""
        self._hooks.setdefault(moment, []).append(hook)

    async def run(self, moment: str) -> None:
        """Calls them; the first that raises ends it."""
        for hook in self._hooks.get(moment, ()):
            await _called(hook)

    async def run_all(self, moment: str) -> None:
        """Calls them all; what one raises is logged, since stopping goes on."""
        for hook in self._hooks.get(moment, ()):
            try:
                await _called(hook)
            except Exception:
                log.exception("the %s hook %s failed", moment, getattr(hook, "__qualname__", hook))


async def _called(hook: Callable[[], Any]) -> None:
    result = hook()
    if inspect.isawaitable(result):
        await result
