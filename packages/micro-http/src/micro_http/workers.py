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
from collections.abc import Callable, Coroutine, Generator
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
_Begun: TypeAlias = tuple[Work, Context, Any]
"""Work that waits, its context, and what it waits for."""


class Workers:
    """The tasks of one loop."""

    __slots__ = (
        "_apart",
        "_asleep",
        "_context",
        "_lending",
        "_loan",
        "_loop",
        "_staying",
        "_taken",
        "_taking",
        "_tasks",
        "_timer",
        "_work",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = copy_context()
        self._work: deque[Work] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._taking: asyncio.Task[None] | None = None
        self._asleep: asyncio.Future[_Begun | None] | None = None
        self._loan: Loan | None = None
        self._lending = self._context
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
        if self._asleep is not None:
            self._wake(self._asleep)
        elif self._taking is None:
            self._begin()
        return work

    def begin(self, work: Work) -> object:
        """As `spawn`, but at once where that can be: None for work that has ended. For callbacks of the loop."""
        asleep, task, loan = self._asleep, self._taking, self._loan
        if asleep is None or task is None or loan is None or asleep.done() or self._work or self._apart:
            return self.spawn(work)
        try:
            _enter_task(self._loop, task)
        except RuntimeError:  # a task runs
            return self.spawn(work)
        self._taken += 1
        own = self._lending.copy()
        loan.open = True
        try:
            awaited = own.run(work.send, None)
        except StopIteration:
            return None
        except Exception:
            _log.exception("a background task failed")
            return None
        finally:
            loan.open = False
            _leave_task(self._loop, task)
        if asleep.done():  # cancelled by the work, which then has its own task
            return self._loop.create_task(_go_on(work, own, awaited), context=self._context.copy())
        self._part()
        asleep.set_result((work, own, awaited))
        return work

    def leave(self) -> None:
        """From now on no task sleeps where there is no work."""
        self._staying = False
        if self._asleep is not None:
            self._wake(self._asleep)

    def _begin(self) -> None:
        self._taking = self._loop.create_task(self._run())
        self._tasks.add(self._taking)

    def _wake(self, asleep: asyncio.Future[_Begun | None]) -> None:
        self._asleep = None
        if not asleep.done():
            asleep.set_result(None)

    async def _run(self) -> None:
        task = self._taking
        assert task is not None
        try:
            with anyio.CancelScope() as scope:
                loan = Loan(scope)
                context = self._context.copy()
                context.run(lend, loan)
                self._loan, self._lending = loan, context
                await self._take(task, loan, context)
        finally:
            self._tasks.discard(task)
            self._hand_over(task)

    async def _take(self, task: asyncio.Task[None], loan: Loan, context: Context) -> None:
        while not (loan.scope.cancel_called or task.cancelling()):
            if not self._work:
                if (begun := await self._more()) is not None:
                    await _go_on(*begun)
                    return
                if not self._work:
                    return
            self._taken += 1
            if self._taken % AT_ONCE == 0:
                await asyncio.sleep(0)
            work = self._work.popleft()
            own = context.copy()
            try:
                loan.open = True
                awaited = own.run(work.send, None)
                loan.open = False
                self._part()
                await _go_on(work, own, awaited)
            except StopIteration:
                continue
            except Exception:
                _log.exception("a background task failed")
            return

    def _part(self) -> None:
        """The work that was begun waits, and what comes next may well do, too."""
        self._taking = self._asleep = None
        self._apart = _APART
        while self._work:
            task = self._loop.create_task(self._work.popleft(), context=self._context.copy())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _hand_over(self, task: asyncio.Task[None]) -> None:
        """That task takes no more work."""
        if self._taking is task:
            self._taking = self._asleep = None
            if self._work and not self._loop.is_closed():
                self._begin()

    async def _more(self) -> _Begun | None:
        """Waits until there is work, and for a while if there is none; work that was begun is returned."""
        if not self._staying:
            return None
        self._asleep = asleep = self._loop.create_future()
        if self._timer is None:
            self._timer = self._loop.call_later(_IDLE, self._look, self._taken)
        begun: _Begun | None = await asleep
        return begun

    def _look(self, taken: int) -> None:
        self._timer = None
        if self._asleep is None:
            return
        if self._taken == taken:
            self._wake(self._asleep)
        else:
            self._timer = self._loop.call_later(_IDLE, self._look, self._taken)


@coroutine
def _go_on(work: Work, context: Context, awaited: Any) -> Generator[Any, Any, None]:
    """Runs to its end, in its context, what has begun and waits."""
    step: Callable[[Any], Any]
    while True:
        try:
            value = yield awaited
        except BaseException as error:
            step, value = work.throw, error
        else:
            step = work.send
        try:
            awaited = context.run(step, value)
        except StopIteration:
            return
