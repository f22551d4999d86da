"""How often Consul is asked while it fails: at most once a second, whoever asks.

Reads and writes have a gate each, open while requests succeed. Behind a closed gate one task at a time probes, and
probes of both gates take turns of a second and a bit. A probe that succeeds opens the gate, and all who waited go on.
"""

from __future__ import annotations

import random
from enum import Enum

import anyio
from micro_core import Clock

SPACING = 1.0
"""Seconds between turns, at least."""

JITTER = 0.25
"""Seconds by which a turn is later at random, so that the clients of an agent that returns do not come at once."""


BURST = 10
"""Requests without need that are let pass before they take turns, too; a second earns one."""


class Kind(Enum):
    """What a request is for."""

    READ = "read"
    WRITE = "write"


class Gate:
    """Whether requests of one kind succeed.

    Attributes:
        trouble: why the last one failed; empty while they succeed.
        silent: whether it failed for want of any answer.
        lock: held by the one that probes.
    """

    __slots__ = ("lock", "silent", "trouble")

    def __init__(self) -> None:
        self.trouble = ""
        self.silent = False
        self.lock = anyio.Lock()


class Pace:
    """The turns of one client, given in the order in which they are asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = clock()
        self._turns = anyio.Lock()
        self._spare = float(BURST)
        self._spared = clock()
        self.gates = {kind: Gate() for kind in Kind}

    async def enter(self, gate: Gate) -> bool:
        """Waits until a request may go; says whether the gate's lock is held, which the caller then releases."""
        if not gate.trouble:
            return False
        await gate.lock.acquire()
        try:
            if gate.trouble:
                await self.turn()
        except BaseException:
            gate.lock.release()
            raise
        return True

    async def turn(self) -> None:
        """Waits for the next turn."""
        async with self._turns:
            await anyio.sleep(max(0.0, self._next - self._clock()))
            self._next = self._clock() + SPACING + random.uniform(0.0, JITTER)  # noqa: S311 - jitter

    async def spare(self) -> None:
        """Waits for a turn only when this was asked for too often of late: for what may happen now and then."""
        now = self._clock()
        self._spare = min(float(BURST), self._spare + (now - self._spared) / SPACING)
        self._spared = now
        if self._spare < 1:
            await self.turn()
            self._spared = self._clock()
        else:
            self._spare -= 1

    def failed(self, gate: Gate, trouble: str, *, silent: bool) -> None:
        """Closes a gate."""
        gate.trouble, gate.silent = trouble, silent
        self._next = max(self._next, self._clock() + SPACING)

    def succeeded(self, gate: Gate) -> None:
        """Opens a gate, and those that were closed because nobody answered."""
        for each in self.gates.values():
            if each is gate or each.silent:
                each.trouble, each.silent = "", False
