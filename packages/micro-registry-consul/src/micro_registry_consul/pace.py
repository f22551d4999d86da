"""How often Consul is asked: at most once a second while it fails, whoever asks, and not without end while it changes.

Reads and writes have a gate each, open while requests succeed. Behind a closed gate one task at a time probes, and
probes of both gates take turns of a second and a bit. A probe that succeeds opens the gate, and all who waited go on.

A watch that gets an answer that no healthy agent gives (`feed.py` says which) is doubted: it asks in those turns, too,
until a query of its was held for a second, so that no server that changes its mind at once is asked more often. A watch
that is not doubted follows news at once, so many of them; after that five times a second, for as long as they come.
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


BURST, EARNED = 50, 0.2
"""News that one watch follows at once, as of a deployment of fifty nodes, and the seconds that earn one more."""

NOTHING_NEW = 5
"""What being woken for nothing costs of that; when it is used up, such queries take turns."""

JOIN = 0.01
"""Seconds between a change and the next query, in which changes are joined."""


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

    def postpone(self, until: float) -> None:
        """Lets no turn begin before a time."""
        self._next = max(self._next, until)

    def failed(self, gate: Gate, trouble: str, *, silent: bool) -> None:
        """Closes a gate."""
        gate.trouble, gate.silent = trouble, silent
        self.postpone(self._clock() + SPACING)

    def succeeded(self, gate: Gate) -> None:
        """Opens a gate, and those that were closed because nobody answered."""
        for each in self.gates.values():
            if each is gate or each.silent:
                each.trouble, each.silent = "", False


class Trust:
    """How soon one watch may ask again.

    Attributes:
        doubted: whether it asks in its turn alone, as after an answer that no healthy agent gives.
    """

    __slots__ = ("_clock", "_credit", "_pace", "_paid", "doubted")

    def __init__(self, pace: Pace, clock: Clock) -> None:
        self._pace = pace
        self._clock = clock
        self._credit = float(BURST)
        self._paid = clock()
        self.doubted = False

    def doubt(self, asked: float) -> None:
        """Takes turns from now on, the first a second after the query of that time."""
        self.doubted = True
        self._pace.postpone(asked + SPACING)

    def waited(self, asked: float) -> None:
        """Ends the doubt when a query of that time was held for longer than turns are apart."""
        if self._clock() - asked >= SPACING:
            self.doubted = False

    async def spend(self, *, news: bool) -> None:
        """Sleeps a little after an answer that came early, and longer when they do not end."""
        now, cost = self._clock(), 1 if news else NOTHING_NEW
        self._credit = min(float(BURST), self._credit + (now - self._paid) / EARNED)
        self._paid = now
        if self._credit >= cost:
            self._credit -= cost
            await anyio.sleep(JOIN)
            return
        await (anyio.sleep(EARNED) if news else self._pace.turn())
        self._paid = self._clock()
