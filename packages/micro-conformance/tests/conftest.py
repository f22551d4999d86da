"""Runs a suite against a double without pytest's machinery: hundreds of tests in seconds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from micro_conformance import Suite


def test_names(suite: type[Any]) -> set[str]:
    return {name for name in dir(suite) if name.startswith("test_")}


def run(suite: type[Any], fixtures: Callable[[], dict[str, Any]], *only: str) -> dict[str, BaseException]:
    """What failed, by the test's name; each test has fixtures of its own."""
    failures: dict[str, BaseException] = {}
    for name in only or sorted(test_names(suite)):
        test = getattr(suite(), name)
        given = fixtures()
        wanted = {key: given[key] for key in inspect.signature(test).parameters}
        try:
            if inspect.iscoroutinefunction(test):
                anyio.run(_call, test, wanted)
            else:
                test(**wanted)
        except pytest.skip.Exception:
            pass
        except BaseException as error:  # pytest's own failures are no Exceptions
            failures[name] = error
    return failures


async def _call(test: Callable[..., Any], wanted: dict[str, Any]) -> None:
    await test(**wanted)


@pytest.fixture(scope="session")
def run_suite() -> Callable[..., dict[str, BaseException]]:
    return run


@pytest.fixture(scope="session")
def sentences() -> Callable[[type[Any]], set[str]]:
    """The sentences of a suite, without those of every suite about its plugin."""
    return lambda suite: {name.removeprefix("test_") for name in test_names(suite) - test_names(Suite)}
