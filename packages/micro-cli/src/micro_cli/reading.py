"""Whether anybody reads what a command prints: `micro list --watch | head -1` must not wait for the next change."""

from __future__ import annotations

import math
import select
import sys
from collections.abc import Awaitable, Callable

import anyio

POLL = 0.2
"""Seconds between looks."""


async def reader_gone() -> None:
    """Returns when the other end of standard output has been closed; never where that cannot be seen."""
    gone = _looker()
    while gone is None or not gone():  # noqa: ASYNC110  # nothing else tells of it in every event loop
        await anyio.sleep(POLL if gone else math.inf)


def _looker() -> Callable[[], bool] | None:
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # nothing is waited for but what is always told: error and hang-up
    except (AttributeError, OSError, ValueError):  # Windows; no file
        return None
    return lambda: bool(poll.poll(0))


async def while_read(work: Callable[[], Awaitable[None]]) -> None:
    """Does what prints for ever. Raises what it raises, and BrokenPipeError when nobody reads it any more."""
    failed: list[Exception] = []

    async def look() -> None:
        await reader_gone()
        failed.append(BrokenPipeError())
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        try:
            await work()
        except Exception as error:  # not from here: the task group would wrap it
            failed.append(error)
        tasks.cancel_scope.cancel()
    if failed:
        raise failed[0]
