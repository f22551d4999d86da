"""Waiting for what becomes true, with a deadline, and for what stays true."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

import anyio

PAUSE = 0.005


async def eventually(predicate: Callable[[], Any], *, within: float) -> Any:
    """What the predicate (sync or async) returns once that is true.

    Args:
        predicate: asked again and again; an AssertionError of its own counts as not yet.
        within: seconds.

    Raises:
        AssertionError: it never became true; the text holds what it was last.
    """
    last: Any = "nothing was returned in time"
    with anyio.move_on_after(within):
        while True:
            try:
                last = await _value(predicate)
                if last:
                    return last
            except AssertionError as error:
                last = error
            await anyio.sleep(PAUSE)
    raise AssertionError(f"not within {within} s; last: {last!r}")


async def steadily(predicate: Callable[[], Any], *, during: float) -> None:
    """Returns when the predicate (sync or async) was true each time it was asked, for so many seconds.

    Raises:
        AssertionError: it was false once.
    """
    until = anyio.current_time() + during
    while anyio.current_time() < until:
        value = await _value(predicate)
        assert value, f"not steadily: it became {value!r}"
        await anyio.sleep(PAUSE)


async def _value(predicate: Callable[[], Any]) -> Any:
    value = predicate()
    return await value if isawaitable(value) else value
