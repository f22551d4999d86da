"""A cancel scope lent to a call by the task that runs it.

A scope of its own costs a call as much as everything else that a server does for it. A transport whose tasks run one
call after another opens a scope once in a task, around all of them, and lends it to each; a call that finds none opens
its own. The scope has no deadline and belongs to one call at a time, from the beginning of `run` to its end. Who has
borrowed it may cancel it, and takes the cancellation out of `run` by itself; the transport uses neither the scope nor
its task for another call then.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import anyio


class Loan:
    """What a task of asyncio lends. Made in that task.

    Attributes:
        scope: its scope.
        open: whether it can be borrowed; the lender opens it before a call begins, and closes it when that has waited
            or ended, since what the call has started by then runs in copies of its context.
    """

    __slots__ = ("open", "scope", "task")

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.scope = scope
        self.task = asyncio.current_task()
        self.open = False


_loan: ContextVar[Loan | None] = ContextVar("micro_loan", default=None)


def lend(loan: Loan) -> None:
    """Lends the scope to what is run in this context."""
    _loan.set(loan)


def borrow() -> anyio.CancelScope | None:
    """The scope that this call is lent, to whoever asks first; None where there is none, or it is another task's."""
    loan = _loan.get()
    if loan is None or not loan.open or asyncio.current_task() is not loan.task:
        return None
    loan.open = False
    return loan.scope
