"""A cancel scope lent to a call by the task that runs it.

A scope of its own costs a call as much as everything else that a server does for it. A transport whose tasks run one
call after another opens a scope once in a task, around all of them, and lends it to each; a call that finds none opens
its own. The scope has no deadline and belongs to one call at a time, from the beginning of `run` to its end. Who has
borrowed it may cancel it, and takes the cancellation out of `run` by itself; the transport uses neither the scope nor
its task for another call then.
"""

from __future__ import annotations

from contextvars import ContextVar

import anyio


class Loan:
    """What a task of asyncio lends: its scope.

    Attributes:
        open: whether it can be borrowed. The lender opens it before a call begins, and closes it when that has waited
            or ended, since what the call has started by then runs in copies of its context; whoever borrows closes it.
        cancelled: whether a borrower has cancelled it.
    """

    __slots__ = ("_scope", "cancelled", "open")

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self.cancelled = False
        self.open = False

    def cancel(self) -> None:
        """Cancels the scope, for its borrower."""
        self.cancelled = True
        self._scope.cancel()


_loan: ContextVar[Loan | None] = ContextVar("micro_loan", default=None)


def lend(loan: Loan) -> None:
    """Lends the scope to what is run in this context."""
    _loan.set(loan)


def borrow() -> Loan | None:
    """What this call is lent, to whoever asks first, before the call waits; None where there is nothing."""
    loan = _loan.get()
    if loan is None or not loan.open:
        return None
    loan.open = False
    return loan
