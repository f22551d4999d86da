"""Calls in a task that lends them its cancel scope: it is cancelled for them, and never behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from micro_conformance import eventually
from micro_core import Call, Message, Peer, Reset, UnaryCall
from micro_core.loan import Loan, lend
from rpc_rig import Rig, unary

pytestmark = pytest.mark.anyio
HEAD = {"micro-endpoint": "Say.Hello", "content-type": "application/json"}


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


class Lender:
    """Runs calls in a scope that it lends them."""

    def __init__(self, accept: Callable[[dict[str, str], Peer], Any]) -> None:
        self._accept = accept
        self.scope = anyio.CancelScope()
        self.reply: Message | None = None
        self.ran_on = False

    def accepted(self, **more: str) -> UnaryCall:
        call = self._accept({**HEAD, **more}, Peer("x"))
        assert isinstance(call, UnaryCall)
        return call

    async def run(self, *calls: UnaryCall) -> None:
        with self.scope:
            loan = Loan(self.scope)
            lend(loan)
            for call in calls:
                loan.open = True
                self.reply = await call.run(b"{}")
            self.ran_on = True

    @property
    def error(self) -> str:
        return "" if self.reply is None else self.reply.head.get("micro-error", "")


async def lender_of(rig: Rig, handle: Callable[[Call], Any]) -> Lender:
    listener: Any = await rig.serve(unary(handle))
    return Lender(listener._inner._accept)


async def forever(call: Call) -> None:
    await anyio.sleep_forever()


async def test_the_deadline_cancels_the_lent_scope_and_is_answered(rig: Rig) -> None:
    lender = await lender_of(rig, forever)
    with anyio.fail_after(5):
        await lender.run(lender.accepted(timeout="20000000"))
    assert '"code":408' in lender.error
    assert lender.scope.cancel_called
    assert lender.ran_on


async def test_a_group_of_cancellations_is_answered_as_one(rig: Rig) -> None:
    async def handle(call: Call) -> None:
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            raise BaseExceptionGroup("of one", [error]) from None

    lender = await lender_of(rig, handle)
    with anyio.fail_after(5):
        await lender.run(lender.accepted(timeout="20000000"))
    assert '"code":408' in lender.error


async def test_a_caller_that_left_is_not_answered(rig: Rig) -> None:
    lender = await lender_of(rig, forever)
    call = lender.accepted()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lender.run, call)
            await anyio.wait_all_tasks_blocked()
            call.cancel(Reset.GONE)
    assert lender.reply is None
    assert lender.ran_on


async def test_nothing_is_cancelled_behind_a_call(rig: Rig) -> None:
    lender = await lender_of(rig, lambda call: "done")
    first, second = lender.accepted(), lender.accepted(timeout="1000000000")
    await lender.run(first, second)
    first.cancel(Reset.GONE)
    second.cancel(Reset.DEADLINE)
    assert lender.reply is not None
    assert lender.reply.body == b'"done"'
    assert not lender.scope.cancel_called


async def test_a_future_that_someone_cancelled_is_an_error_of_the_handler(rig: Rig) -> None:
    async def handle(call: Call) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    lender = await lender_of(rig, handle)
    await lender.run(lender.accepted())
    assert '"code":500' in lender.error
    assert not lender.scope.cancel_called


async def test_a_task_that_is_cancelled_from_outside_is_cancelled(rig: Rig) -> None:
    lender = await lender_of(rig, forever)
    task = asyncio.create_task(lender.run(lender.accepted()))
    listener: Any = rig.listeners[0]
    await eventually(lambda: len(listener._served.sweep.running) == 1, within=5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lender.reply is None
    assert not lender.ran_on


async def test_a_call_that_waits_for_a_slot_is_cancelled_there(rig: Rig) -> None:
    listener: Any = await rig.serve(unary(forever), max_running=1)
    lender, other = Lender(listener._inner._accept), Lender(listener._inner._accept)
    first, second = lender.accepted(), other.accepted(timeout="20000000")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lender.run, first)
            await anyio.wait_all_tasks_blocked()
            await other.run(second)
            first.cancel(Reset.GONE)
    assert '"code":408' in other.error
    assert not other.scope.cancel_called
