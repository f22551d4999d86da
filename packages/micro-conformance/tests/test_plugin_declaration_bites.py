"""What every suite asks of the plugin that it declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from micro_conformance import Suite
from micro_core import Component, ConfigurationError, NoOptions, option


def declared(answer: type[Any]) -> type[Suite]:
    class Declared(Suite):
        def load_plugin(self) -> type[Any]:
            return answer

    return Declared


class Whole(Component):
    @dataclass(frozen=True, slots=True)
    class Options:
        wait: float = option(1.0, help="seconds to wait", minimum=0.0)


class Helpless(Component):
    @dataclass(frozen=True, slots=True)
    class Options:
        wait: float = option(1.0, help="")


class OutOfBounds(Component):
    @dataclass(frozen=True, slots=True)
    class Options:
        wait: float = option(-1.0, help="seconds to wait", minimum=0.0)


class Thawed(Component):
    @dataclass
    class Options:
        wait: float = 1.0


class AsyncioOnly(Component):
    Options = NoOptions
    backends = frozenset({"asyncio"})


HOOK = "test_the_hook_answers_with_a_whole_class"
OPTIONS = "test_every_option_is_declared_with_a_help_text_and_a_valid_default"


def test_a_whole_plugin_passes(run_suite):
    assert run_suite(declared(Whole), dict) == {}


@pytest.mark.parametrize(
    ("cls", "test"), [(Helpless, OPTIONS), (OutOfBounds, OPTIONS), (Thawed, OPTIONS), (AsyncioOnly, HOOK)]
)
def test_a_broken_declaration_is_caught(run_suite, cls, test):
    assert set(run_suite(declared(cls), dict)) == {test}


def test_a_plugin_that_is_not_there_is_caught(run_suite):
    class Missing(Suite):
        plugin = ("registry", "nowhere")

    failures = run_suite(Missing, dict)
    assert set(failures) == {HOOK, OPTIONS}
    assert all(isinstance(error, ConfigurationError) for error in failures.values())
