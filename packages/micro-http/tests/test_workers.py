"""Coroutines that share tasks without noticing it."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from micro_conformance import eventually
from micro_core.loan import borrow
from micro_http.loops import AsyncioLoop
from micro_http.workers import _APART, Workers

pytestmark = pytest.mark.anyio
seen: ContextVar[str] = ContextVar("seen", default="nothing")


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


def _own() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


class Log:
    """What coroutines did, in the order in which they did it."""

    def __init__(self) -> None:
        self.workers = Workers(asyncio.get_running_loop())
        self.lines: list[Any] = []
        self.tasks: list[asyncio.Task[Any]] = []

    async def brief(self, line: object = None) -> None:
        self.tasks.append(_own())
        self.lines.append(line)

    async def waits(self, event: anyio.Event) -> None:
        self.tasks.append(_own())
        await event.wait()
        assert _own() in self.tasks
        self.lines.append(seen.get())

    async def settle(self) -> None:
        """Work that waited is followed by work in tasks of its own, for a while; then all is as it was."""
        for _ in range(_APART):
            self.workers.spawn(self.brief())
        await self.until(len(self.lines) + _APART)
        del self.lines[-_APART:], self.tasks[-_APART:]

    async def until(self, count: int) -> None:
        await eventually(lambda: len(self.lines) >= count, within=5)


async def test_work_begins_in_order_and_what_does_not_wait_shares_a_task() -> None:
    log = Log()
    for number in range(200):
        assert log.workers.spawn(log.brief(number)) is not None
    await log.until(200)
    assert log.lines == list(range(200))
    assert len(set(log.tasks)) == 1


async def test_others_run_between_much_work() -> None:
    log = Log()
    for number in range(200):
        log.workers.spawn(log.brief(number))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < len(log.lines) < 200
    await log.until(200)


async def test_what_waits_has_a_task_that_nobody_else_is_given() -> None:
    log, event = Log(), anyio.Event()
    for _ in range(3):
        log.workers.spawn(log.waits(event))
        log.workers.spawn(log.brief())
    await log.until(3)
    event.set()
    await log.until(6)
    log.workers.spawn(log.brief())
    await log.until(7)
    for waited in (0, 2, 4):
        assert log.tasks[waited] not in log.tasks[waited + 1 :]


async def test_work_behind_some_that_waits_has_a_task_to_itself_for_a_while() -> None:
    log, event = Log(), anyio.Event()
    log.workers.spawn(log.waits(event))
    for number in range(5):
        log.workers.spawn(log.brief(number))
    await log.until(5)
    assert log.lines == list(range(5))
    assert len(set(log.tasks)) == 6
    await log.settle()
    for number in range(5, 10):
        log.workers.spawn(log.brief(number))
    await log.until(10)
    assert log.lines == list(range(10))
    assert len(set(log.tasks[6:])) == 1
    event.set()
    await log.until(11)


async def test_context_variables_are_those_of_the_beginning_and_stay_with_who_set_them() -> None:
    token = seen.set("before")
    log, event = Log(), anyio.Event()
    seen.reset(token)

    async def sets(value: str) -> None:
        log.lines.append(seen.get())
        seen.set(value)
        if value == "late":
            await event.wait()
            log.lines.append(seen.get())
            await asyncio.sleep(0)
            log.lines.append(seen.get())

    for value in ("one", "two", "late", "three"):
        log.workers.spawn(sets(value))
    await log.until(4)
    event.set()
    await log.until(6)
    assert log.lines == ["before"] * 4 + ["late"] * 2
    assert seen.get() == "nothing"


async def test_a_failure_is_logged_and_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()

    async def fails() -> None:
        raise KeyError("a bug")

    log.workers.spawn(fails())
    log.workers.spawn(log.brief("after"))
    with caplog.at_level(logging.ERROR, "micro.http"):
        await log.until(1)
    assert "a background task failed" in caplog.text


async def test_a_failure_behind_a_wait_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()

    async def fails() -> None:
        await asyncio.sleep(0)
        log.lines.append("failing")
        raise KeyError("a bug")

    with caplog.at_level(logging.ERROR, "micro.http"):
        log.workers.spawn(fails())
        await log.until(1)
        await eventually(lambda: "a background task failed" in caplog.text, within=5)


@pytest.mark.parametrize("lent", [False, True])
async def test_a_cancellation_that_comes_too_late_hits_nobody_else(lent: bool) -> None:
    log, event = Log(), anyio.Event()

    async def cancels() -> None:
        scope = borrow()
        assert scope is not None
        if lent:
            scope.cancel()
        else:
            _own().cancel()
        log.lines.append("cancelled")

    log.workers.spawn(cancels())
    log.workers.spawn(log.waits(event))
    await eventually(lambda: len(log.tasks) == 1, within=5)
    event.set()
    await log.until(2)
    assert log.lines == ["cancelled", "nothing"]


async def test_a_lent_scope_cancels_who_borrowed_it_and_is_not_lent_again() -> None:
    log = Log()
    scopes: list[Any] = []

    async def cancelled() -> None:
        scope = borrow()
        scopes.append(scope)
        assert scope is not None
        assert borrow() is None
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            log.lines.append("cancelled")

    log.workers.spawn(cancelled())
    await eventually(lambda: scopes, within=5)
    log.workers.spawn(log.brief("brief"))
    await log.until(1)
    scopes[0].cancel()
    await log.until(2)
    await log.settle()
    log.workers.spawn(cancelled())
    await eventually(lambda: len(scopes) == 2, within=5)
    assert scopes[1] is not scopes[0]
    scopes[1].cancel()
    await log.until(3)
    assert log.lines == ["brief", "cancelled", "cancelled"]


async def test_a_child_of_what_is_run_cannot_borrow() -> None:
    log = Log()

    async def child() -> None:
        log.lines.append(borrow())

    async def parent() -> None:
        await asyncio.create_task(child())

    log.workers.spawn(parent())
    await log.until(1)
    assert log.lines == [None]


async def test_the_task_that_sleeps_ends_after_a_while_and_at_once_when_nothing_is_accepted_any_more() -> None:
    log = Log()
    log.workers.spawn(log.brief())
    await log.until(1)
    await eventually(log.tasks[0].done, within=5)
    log.workers.spawn(log.brief())
    await log.until(2)
    log.workers.leave()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log.tasks[1].done()
    log.workers.spawn(log.brief())
    await log.until(3)
    assert log.tasks[2].done()


async def test_a_task_that_is_cancelled_from_outside_takes_its_own_work_alone() -> None:
    log = Log()
    log.workers.spawn(log.brief())
    await log.until(1)
    log.tasks[0].cancel()
    log.workers.spawn(log.brief())
    await log.until(2)
    assert log.tasks[0].cancelled()
    assert log.tasks[1] is not log.tasks[0]


async def test_the_loop_runs_its_work_like_this() -> None:
    loop, log = AsyncioLoop(), Log()
    for number in range(3):
        loop.spawn(log.brief(number))
    await log.until(3)
    assert len(set(log.tasks)) == 1


async def begun(log: Log, work: Any) -> Any:
    """What `begin` gives a callback of the loop while the task that takes work is asleep."""
    loop = asyncio.get_running_loop()
    log.workers.spawn(log.brief("first"))
    await log.until(len(log.lines) + 1)
    given: asyncio.Future[Any] = loop.create_future()
    loop.call_soon(lambda: given.set_result(log.workers.begin(work)))
    return await given


async def test_begun_work_that_waits_for_nothing_has_ended_in_the_task_that_takes_work() -> None:
    log = Log()
    assert await begun(log, log.brief("begun")) is None
    assert log.lines == ["first", "begun"]
    assert len(set(log.tasks)) == 1


async def test_begun_work_that_waits_goes_on_in_its_task_which_nobody_else_is_given() -> None:
    log, event = Log(), anyio.Event()
    assert await begun(log, log.waits(event)) is not None
    log.workers.spawn(log.brief("later"))
    await log.until(2)
    event.set()
    await log.until(3)
    assert log.lines == ["first", "later", "nothing"]
    assert log.tasks[0] is log.tasks[1] is not log.tasks[2]


@pytest.mark.parametrize("spawns", [False, True])
async def test_begun_work_that_cancels_its_own_task_is_told_where_it_waits(spawns: bool) -> None:
    log = Log()

    async def cancels() -> None:
        if spawns:
            log.workers.spawn(log.brief("spawned"))
        log.tasks.append(_own())
        _own().cancel()
        try:
            await anyio.sleep(5)
        except asyncio.CancelledError:
            log.lines.append(_own() is log.tasks[1])
            raise

    await begun(log, cancels())
    await log.until(2 + spawns)
    assert [line for line in log.lines if line not in ("first", "spawned")] == [True]


async def test_begun_work_may_spawn_more_and_still_has_its_task() -> None:
    log, event = Log(), anyio.Event()

    async def spawns() -> None:
        log.workers.spawn(log.brief("spawned"))
        await log.waits(event)

    await begun(log, spawns())
    await log.until(2)
    event.set()
    await log.until(3)
    assert log.lines == ["first", "spawned", "nothing"]


async def test_a_scope_that_begun_work_cancelled_is_not_lent_again() -> None:
    log = Log()

    async def cancels() -> None:
        scope = borrow()
        assert scope is not None
        scope.cancel()

    async def borrows() -> None:
        log.lines.append((loan := borrow()) is None or loan.cancelled)

    loop = asyncio.get_running_loop()
    log.workers.spawn(log.brief("first"))
    await log.until(1)
    loop.call_soon(lambda: (log.workers.begin(cancels()), log.workers.begin(borrows())))
    await log.until(2)
    assert log.lines == ["first", False]
