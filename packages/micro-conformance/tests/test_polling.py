import time

import anyio
import pytest
from micro_conformance import eventually, steadily


@pytest.mark.anyio
async def test_eventually_returns_what_became_true():
    answers = iter([0, None, "there"])
    assert await eventually(lambda: next(answers), within=2) == "there"


@pytest.mark.anyio
async def test_eventually_says_what_was_last():
    async def check():
        assert not "nothing yet"

    with pytest.raises(AssertionError, match="not within"):
        await eventually(check, within=0.02)


@pytest.mark.anyio
async def test_eventually_lets_other_errors_through():
    with pytest.raises(ZeroDivisionError):
        await eventually(lambda: 1 // 0, within=1)


@pytest.mark.anyio
async def test_eventually_does_not_outlive_an_outer_scope():
    started = time.monotonic()
    with anyio.move_on_after(0.02) as scope:
        await eventually(lambda: False, within=5)
    assert scope.cancelled_caught
    assert time.monotonic() - started < 2


@pytest.mark.anyio
async def test_steadily_fails_when_it_was_false_once():
    answers = iter([True, True, False])
    with pytest.raises(AssertionError, match="not steadily"):
        await steadily(lambda: next(answers), during=2)
    await steadily(lambda: True, during=0.02)
