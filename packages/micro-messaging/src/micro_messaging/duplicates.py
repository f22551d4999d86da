"""Which messages were dealt with already."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class DuplicateFilter:
    """Remembers at most `capacity` keys, each for `window` seconds; the oldest are forgotten first."""

    __slots__ = ("_capacity", "_seen", "_window")

    def __init__(self, capacity: int = 10_000, window: float = 300.0) -> None:
        self._capacity = capacity
        self._window = window
        self._seen: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, key: Hashable, now: float) -> None:
        """Remembers the key from now on."""
        self._seen[key] = now
        self._seen.move_to_end(key)
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)

    def seen(self, key: Hashable, now: float) -> bool:
        """Whether the key was added within the window."""
        while self._seen:
            oldest, added = next(iter(self._seen.items()))
            if now - added < self._window:
                break
            del self._seen[oldest]
        return key in self._seen
