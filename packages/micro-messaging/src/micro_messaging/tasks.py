"""Background tasks that survive their failures, and waking a task from any thread."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from random import random
from threading import get_ident

import anyio


class Waker:
    """Wakes one task, from any thread and event loop. Made inside the event loop of the task that waits.

    A wake while nobody waits is kept for the next `wait`.
    """

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._thread = get_ident()
        self._soon = _call_soon_threadsafe()

    def wake(self) -> None:
        """Ends the `wait` under way, or the next one. Does nothing once the loop is closed."""
        if get_ident() == self._thread:
            self._event.set()
            return
        try:
            self._soon(self._wake_here)
        except RuntimeError:  # the loop is over: asyncio's, and trio's RunFinishedError
            return

    def _wake_here(self) -> None:
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Returns when woken, or after so many seconds."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        self._event = anyio.Event()


def _call_soon_threadsafe() -> Callable[[Callable[[], None]], object]:
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            return trio.lowlevel.current_trio_token().run_sync_soon
    import asyncio

    return asyncio.get_running_loop().call_soon_threadsafe


async def supervise(what: str, work: Callable[[], Awaitable[None]], log: logging.Logger) -> None:
    """Runs `work` until it returns; when it raises, logs it and starts it again after a growing pause, at most 30 s."""
    pause = 0.1
    while True:
        try:
            await work()
        except Exception:
            log.exception("%s failed; it starts again in %.1f s", what, pause)
        else:
            return
        await anyio.sleep(pause * (0.5 + 0.5 * random()))  # noqa: S311
        pause = min(30.0, pause * 2)
