"""Runs coroutines in tasks of asyncio, one after another in the same task as long as none of them waits.

    spawn ─▶ queue ─▶ the task that takes work begins the next ─▶ it ends at once: the task begins the next
                                                               └▶ it waits: the task is its own
    begin ─▶ that task is asleep: the caller begins the work as that task, there and then

A task and a cancel scope for each call cost three times as much as this. A task whose call waited for something is not
used again: a timeout, a scope or a cancellation may have been left behind in it, and someone may know it as that
call's. So calls share a task where each but the last ended before anything else could happen. Each runs in a context
of its own, a copy of the one in which the loop was asked for.

Where calls wait, nothing is gained: after one that did, so many get tasks of their own, before it is tried again.

The task that takes work sleeps when there is none, and ends when there was none for a while. While it does, a callback
of the loop may begin work in its name (`asyncio.tasks._enter_task` is documented for that): a call that waits for
nothing is answered in the turn in which it arrived, and the task wakes only for one that waits.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import Any, TypeAlias

import anyio
from micro_core.loan import Loan, lend

_log = logging.getLogger("micro.http")
AT_ONCE = 8
"""Calls in one turn of the loop, whose replies are written at its end: more, and both ends wait for each other."""

_APART = 64
_IDLE = 0.2
Work: TypeAlias = Coroutine[Any, Any, None]
_DONE: Any = object()
"""For what a coroutine waits for: it has ended. (mypyc compiles no `continue` out of a `try` with `finally`.)"""


class _Taker:
    """The task that takes work.

    Attributes:
        task: itself.
        loan: what it lends to each call.
        context: each runs in a copy of it.
        asleep: what it waits for; None while it works.
        begun: work that a callback began in its name and that waits: its context, and what it waits for.
    """

    __slots__ = ("asleep", "begun", "context", "loan", "task")

    def __init__(self, task: asyncio.Task[Any], scope: anyio.CancelScope, context: Context) -> None:
        self.task = task
        self.loan = Loan(scope)
        self.context = context
        self.asleep: asyncio.Future[None] | None = None
        self.begun: tuple[Work, Context, Any] | None = None
        context.run(lend, self.loan)

    @property
    def spent(self) -> bool:
        """Whether a cancellation was left behind in it."""
        return self.loan.cancelled or self.task.cancelling() > 0

    def wake(self) -> None:
        """There is work, or there will be none."""
        asleep, self.asleep = self.asleep, None
        if asleep is not None and not asleep.done():
            asleep.set_result(None)


class Workers:
    """The tasks of one loop."""

    __slots__ = (
        "_apart",
        "_beginning",
        "_context",
        "_loop",
        "_staying",
        "_taken",
        "_taker",
        "_tasks",
        "_timer",
        "_work",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = copy_context()
        self._work: deque[Work] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._taker: _Taker | None = None
        self._beginning = False
        self._timer: asyncio.TimerHandle | None = None
        self._taken = 0
        self._apart = 0
        self._staying = True

    def spawn(self, work: Work) -> object:
        """Runs a coroutine, which must not raise, soon. The caller keeps what is returned."""
        if self._apart:
            self._apart -= 1
            return self._loop.create_task(work, context=self._context.copy())
        self._work.append(work)
        if self._taker is not None:
            self._taker.wake()
        elif not self._beginning:
            self._begin()
        return work

    def begin(self, work: Work) -> object:
        """As `spawn`, but at once where that can be: None for work that has ended. For callbacks of the loop."""
        taker = self._taker
        if (
            taker is None
            or taker.asleep is None
            or self._work
            or self._apart
            or taker.loan.cancelled
            or taker.task.cancelling()
        ):
            return self.spawn(work)
        try:
            _enter_task(self._loop, taker.task)
        except RuntimeError:  # a task runs
            return self.spawn(work)
        self._taken += 1
        own = taker.context.copy()
        taker.loan.open = True
        try:
            awaited = own.run(work.send, None)
        except StopIteration:
            return None
        except Exception:
            _log.exception("a background task failed")
            return None
        finally:
            taker.loan.open = False
            _leave_task(self._loop, taker.task)
        taker.begun = work, own, awaited
        self._part()
        taker.wake()
        return work

    def leave(self) -> None:
        """From now on no task sleeps where there is no work."""
        self._staying = False
        if self._taker is not None:
            self._taker.wake()

    def _begin(self) -> None:
        self._beginning = True
        self._tasks.add(self._loop.create_task(self._run()))

    async def _run(self) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._beginning = False
        try:
            with anyio.CancelScope() as scope:
                self._taker = taker = _Taker(task, scope, self._context.copy())
                await self._take(taker)
        except Exception:
            _log.exception("a background task failed")
        finally:
            self._tasks.discard(task)
            self._hand_over(task)

    async def _take(self, taker: _Taker) -> None:
        while not taker.spent:
            if not self._work:
                if not await self._more(taker):
                    return
                continue
            self._taken += 1
            if self._taken % AT_ONCE == 0:
                await asyncio.sleep(0)
            work = self._work.popleft()
            own = taker.context.copy()
            taker.loan.open = True
            try:
                awaited = own.run(work.send, None)
            except StopIteration:
                awaited = _DONE
            finally:
                taker.loan.open = False
            if awaited is _DONE:
                continue
            self._part()
            await _go_on(work, own, awaited)
            return

    def _part(self) -> None:
        """The work that was begun waits, and what comes next may well do, too."""
        self._taker = None
        self._apart = _APART
        while self._work:
            task = self._loop.create_task(self._work.popleft(), context=self._context.copy())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _hand_over(self, task: asyncio.Task[Any]) -> None:
        """That task takes no more work."""
        if self._taker is not None and self._taker.task is task:
            self._taker = None
            if self._work and not self._loop.is_closed():
                self._begin()

    async def _more(self, taker: _Taker) -> bool:
        """Waits for work; False where there was none for a while, or some had been begun, which has ended now."""
        if not self._staying:
            return False
        taker.asleep = asleep = self._loop.create_future()
        if self._timer is None:
            self._timer = self._loop.call_later(_IDLE, self._look, self._taken)
        try:
            await asleep
        except asyncio.CancelledError as error:
            if taker.begun is None:
                raise
            await _go_on(*taker.begun, error)  # which asked for it before it waited
            return False
        if taker.begun is not None:
            await _go_on(*taker.begun)
            return False
        return bool(self._work)

    def _look(self, taken: int) -> None:
        self._timer = None
        if self._taker is None or self._taker.asleep is None:
            return
        if self._taken == taken:
            self._taker.wake()
        else:
            self._timer = self._loop.call_later(_IDLE, self._look, self._taken)


@coroutine
def _go_on(work: Work, context: Context, awaited: Any, error: BaseException | None = None) -> Generator[Any, Any, None]:
    """Runs to its end, in its context, what has begun and waits; or is given an error instead of what it waits for."""
    value = None
    while True:
        if error is None:
            try:
                value = yield awaited
            except BaseException as thrown:
                error = thrown
        try:
            awaited = context.run(work.send, value) if error is None else context.run(work.throw, error)
        except StopIteration:
            return
        error = None
