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

_loan: ContextVar[tuple[anyio.CancelScope, object] | None] = ContextVar("micro_loan", default=None)


def lend(scope: anyio.CancelScope) -> None:
    """Lends the scope to what is run in a copy of this context, in this task of asyncio."""
    _loan.set((scope, asyncio.current_task()))


def borrow() -> anyio.CancelScope | None:
    """The scope that this call is lent, to whoever asks first; None where there is none, or it is another task's."""
    loan = _loan.get()
    if loan is None:
        return None
    _loan.set(None)
    scope, task = loan
    return scope if asyncio.current_task() is task else None
