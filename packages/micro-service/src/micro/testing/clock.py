"""Time that a test moves: deadlines and timeouts without waiting for them.

An event loop has one clock, and everything in it that waits goes by that: timeouts of calls, deadlines in handlers,
`anyio.sleep`. So it is the loop's clock that moves, for the test and for all it runs. asyncio's own loop can be given
another clock while it runs. trio takes its clock when it starts: a `trio.testing.MockClock`, that the `anyio_backend`
of a test names. uvloop keeps time in C, and cannot be moved.

What does not move is the time of the operating system, by which the memory plugins go, since several event loops may
share them: how long a registration lives, and the pauses before an event is delivered again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import anyio
import anyio.lowlevel
from micro_core import ConfigurationError

_TRIO = (
    "trio takes its clock when it starts; run the test on "
    '("trio", {"clock": trio.testing.MockClock(rate=1)}), as `anyio_backend`'
)


class Clock:
    """Moves the clock of the running event loop forward.

    Made by `micro.testing.run(…, clock=True)`; a ConfigurationError on uvloop, and on trio without a MockClock.
    """

    def __init__(self, jump: Callable[[float], None]) -> None:
        self._jump = jump

    async def advance(self, seconds: float) -> None:
        """Moves time on, and returns when everything that this woke waits again.

        Scopes of the test itself, such as `anyio.fail_after`, see the time pass, too. Raises ValueError below 0.
        """
        if not seconds >= 0:
            raise ValueError(f"time goes forward only, not by {seconds!r} s")
        await anyio.wait_all_tasks_blocked()
        self._jump(seconds)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()

    @classmethod
    @contextmanager
    def installed(cls) -> Iterator[Self]:
        """A clock for the event loop that runs here, until the block is left."""
        if "trio" in sys.modules:
            import trio.testing

            if trio.lowlevel.in_trio_run():
                clock = trio.lowlevel.current_clock()
                if not isinstance(clock, trio.testing.MockClock):
                    raise ConfigurationError(f"clock=True: {_TRIO}")
                yield cls(clock.jump)
                return
        with _moved_loop() as jump:
            yield cls(jump)


@contextmanager
def _moved_loop() -> Iterator[Callable[[float], None]]:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        raise ConfigurationError(
            f"clock=True: the clock of a {type(loop).__module__} event loop cannot be moved; use asyncio's own"
        )
    if "time" in vars(loop):
        raise ConfigurationError("clock=True: another run in this event loop has a clock already")
    real, ahead = loop.time, 0.0

    def jump(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    vars(loop)["time"] = lambda: real() + ahead
    try:
        yield jump
    finally:
        del vars(loop)["time"]
