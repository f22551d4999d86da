"""A watch of a store, from any event loop of the process."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import anyio
import anyio.lowlevel
from micro_core import Snapshot

from micro_registry_memory.store import Store

MAX_DEPARTED = 10_000
"""Goodbyes that a watch remembers; the oldest are forgotten first."""

MAX_SLEEP = 3600.0
"""Seconds; event loops refuse timers that lie centuries ahead."""


class Watcher:
    """An iterator of snapshots. It reads the store when it is asked, so changes in between are joined into one.

    `changed` may be called from any thread; it wakes the loop that the watcher was made in.
    """

    def __init__(self, store: Store, name: str | None) -> None:
        self.name = name
        self._store = store
        self._departed: dict[str, None] = {}
        self._dirty = True
        self._closed = False
        self._woken = anyio.Event()
        self._wake = _waker(self._set)

    def changed(self, departed: str | None, returned: str | None) -> None:
        """As `Observer.changed`."""
        if returned is not None:
            self._departed.pop(returned, None)
        if departed is not None:
            self._departed[departed] = None
            if len(self._departed) > MAX_DEPARTED:
                del self._departed[next(iter(self._departed))]
        if not self._dirty:
            self._dirty = True
            self._wake()

    def close(self) -> None:
        """Ends the iteration."""
        self._closed = True
        self._set()

    def _set(self) -> None:
        self._woken.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot:
        await anyio.lowlevel.checkpoint()
        while not self._closed:
            self._woken = anyio.Event()
            ends = self._store.next_end()
            if self._dirty:
                return self._read()
            await self._wait(ends)
        raise StopAsyncIteration

    def _read(self) -> Snapshot:
        with self._store.lock:
            self._dirty = False
            return Snapshot(self._store.records(self.name), frozenset(self._departed))

    async def _wait(self, ends: float) -> None:
        with anyio.move_on_after(None if ends == math.inf else min(max(0.0, ends - time.monotonic()), MAX_SLEEP)):
            await self._woken.wait()


def _waker(callback: Callable[[], None]) -> Callable[[], None]:
    """A function that runs the callback in the running loop, from any thread; nothing once the loop is over."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            token = trio.lowlevel.current_trio_token()

            def wake_trio() -> None:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(callback, idempotent=True)

            return wake_trio
    import asyncio

    loop = asyncio.get_running_loop()

    def wake_asyncio() -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(callback)

    return wake_asyncio
