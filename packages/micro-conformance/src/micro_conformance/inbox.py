"""What the suite of brokers subscribes with: handlers that keep, fail, or take their time."""

from __future__ import annotations

import anyio
from micro_core import Event

from micro_conformance.polling import eventually


class Inbox:
    """A handler that keeps what it got, and fails as often as it is told."""

    def __init__(self, *, failures: int = 0, manual: str = "", delay: float = 0.0) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []
        self._failures = failures
        self._manual = manual
        self._delay = delay

    async def __call__(self, event: Event) -> None:
        """Keeps it; `manual` is how the first delivery is acknowledged, each letter a call: a, n."""
        self.events.append(event)
        self.times.append(anyio.current_time())
        if self._failures:
            self._failures -= 1
            raise LookupError("the handler failed")
        for letter in self._manual if event.attempt == 1 else self._manual and "a":
            await (event.ack() if letter == "a" else event.nack(self._delay))

    @property
    def bodies(self) -> list[bytes]:
        """The bodies in the order of their arrival."""
        return [event.message.body for event in self.events]

    async def has(self, *bodies: bytes, within: float) -> None:
        """Waits until it holds these, in any order, perhaps among others."""

        def check() -> bool:
            assert set(self.bodies) >= set(bodies)
            return True

        await eventually(check, within=within)


class Most:
    """A handler that takes its time and counts how many of it run at once."""

    def __init__(self, seconds: float = 0.03) -> None:
        self.running = 0
        self.most = 0
        self.done = 0
        self._seconds = seconds

    async def has_done(self, count: int, *, within: float) -> None:
        """Waits until so many are done."""
        await eventually(lambda: self.done == count, within=within)

    async def __call__(self, event: Event) -> None:
        """Takes its time."""
        self.running += 1
        self.most = max(self.most, self.running)
        await anyio.sleep(self._seconds)
        self.running -= 1
        self.done += 1
