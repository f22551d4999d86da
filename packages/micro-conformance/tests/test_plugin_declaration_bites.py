"""What every suite asks of the plugin that it declares."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest
from micro_conformance import Suite
from micro_core import Component, ConfigurationError, Finding, NoOptions, option


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
DOCTOR = "test_what_micro_doctor_is_told_is_findings_in_time"
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
    assert set(failures) == {DOCTOR, HOOK, OPTIONS}
    assert all(isinstance(error, ConfigurationError) for error in failures.values())


def leaves_a_thread():
    threading.Thread(target=lambda: time.sleep(1), name="left", daemon=True).start()
    return ()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (lambda: [Finding("ok", "somebody listens")], ""),
        (lambda: [Finding("error", "nobody listens", "start it")], ""),
        (lambda: [Finding("ok", "")], "says what was found"),
        (lambda: [Finding("error", "nobody\nlistens", "start it")], "in one line"),
        (lambda: 1 / 0, "division by zero"),
        (lambda: time.sleep(1) or (), "still not done after 0.2 s"),
        (leaves_a_thread, "threads behind: ['left']"),
    ],
)
def test_what_micro_doctor_is_told_is_looked_at(run_suite, told, said):
    class Declared(Suite):
        plugin = ("registry", "whole")
        patience = 0.2

        def load_plugin(self) -> type[Any]:
            return Whole

        def ask_doctor(self, options: Any) -> Any:
            assert options == Whole.Options()
            return told()

    failures = run_suite(Declared, dict)
    assert set(failures) == ({DOCTOR} if said else set())
    assert not said or said in str(failures[DOCTOR])
