"""How many handlers run at once, and who waits for a turn."""

from __future__ import annotations

from collections import deque

import anyio


class Slots:
    """At most `limit` at once; the others wait in the order in which they came, at most `most_waiting` of them."""

    __slots__ = ("_waiting", "limit", "most_waiting", "taken")

    def __init__(self, limit: int, most_waiting: int) -> None:
        self.limit = limit
        self.most_waiting = most_waiting
        self.taken = 0
        self._waiting: deque[anyio.Event] = deque()

    def take(self) -> bool:
        """Takes a slot if one is free; else `wait` for one."""
        if self.taken >= self.limit:
            return False
        self.taken += 1
        return True

    @property
    def full(self) -> bool:
        """Whether not even waiting is possible."""
        return self.taken >= self.limit and len(self._waiting) >= self.most_waiting

    async def wait(self) -> None:
        """Returns with a slot taken. Cancelled, it has taken none."""
        turn = anyio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.give_back()
            else:
                self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """The slot goes to whoever waits longest."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self.taken -= 1
