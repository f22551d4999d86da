"""When a failed delivery is tried again, and when no more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Redelivery:
    """Exponential backoff with jitter.

    Attributes:
        attempts: how often a message is handed to a subscriber before it is a dead letter, at least 1.
        first: seconds before the second attempt; each further wait is twice as long.
        longest: seconds that no wait exceeds.
    """

    attempts: int = 10
    first: float = 0.1
    longest: float = 30.0

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds to wait after failed attempt number `attempt`; `draw` in 0..1 chooses from the upper half."""
        doublings = min(attempt - 1, 60)
        return min(self.longest, self.first * 2.0**doublings) * (0.5 + 0.5 * draw)
