"""Deadlines, swept: one task looks over everything that runs, every 20 ms, and sleeps when nothing does.

A scope with a deadline for each call would cost three times as much as the set that is kept here.
"""

from __future__ import annotations

import logging
import math
from typing import Protocol

import anyio
from micro_core import Clock, Reset

log = logging.getLogger("micro.rpc")

INTERVAL = 0.02
"""Seconds between two looks: how late a deadline may be noticed."""


class Timed(Protocol):
    """Something that runs until a deadline (clock seconds; infinite for none)."""

    deadline: float

    def cancel(self, reason: Reset) -> None:
        """Ends it."""

    def stop(self) -> None:
        """Ends it because the server closes."""


class Sweep:
    """What runs, and the task that ends what has run too long."""

    __slots__ = ("_awake", "_clock", "running")

    def __init__(self, clock: Clock) -> None:
        self.running: set[Timed] = set()
        self._clock = clock
        self._awake: anyio.Event | None = None

    def add(self, work: Timed) -> None:
        """From now on its deadline is held; `running.discard` ends that."""
        self.running.add(work)
        if self._awake is not None and work.deadline < math.inf:
            self._awake.set()
            self._awake = None

    async def run(self) -> None:
        """Sweeps until cancelled; a failure is logged and costs one round."""
        while True:
            try:
                waiting = self.look()
            except Exception:
                log.exception("the sweep of deadlines failed; it goes on")
                waiting = True
            if not waiting:
                self._awake = awake = anyio.Event()
                await awake.wait()
            await anyio.sleep(INTERVAL)  # also after waking, or each short call would wake it once

    def look(self) -> bool:
        """Cancels what is over its deadline; says whether anything still has one."""
        now = self._clock()
        waiting = False
        for work in tuple(self.running):
            if work.deadline <= now:
                work.cancel(Reset.DEADLINE)
            waiting = waiting or work.deadline < math.inf
        return waiting
