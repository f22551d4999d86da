"""What a shell asks when Tab is pressed: the words so far, and which one is being written.

Speed is everything here, so nothing that takes long is imported: services and endpoints come from a file (see
`remembered`). When that file is old, a process of its own looks again; it is waited for until LIMIT and no longer, and
what it finds too late is there at the next Tab. Whatever goes wrong is silent.

Names in records come from strangers, and end up in a shell: only those made of harmless characters are offered.

The exit code is FILES where the name of a file may be meant, so that the shell completes those; where a service is
meant it must not, when none is known.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from micro_cli.remembered import FRESH, recall

LIMIT = 0.2
"""Seconds after the start of this process, at which the answer is given."""

FILES = 1

_SAFE = re.compile(r"[\w.:@%+,/=-]+", re.ASCII)
_WITH_SERVICE = frozenset({"call", "client", "get", "health", "openapi", "stats", "stream"})
_TAKE_VALUE = frozenset(
    {"--registry", "-o", "--config", "--timeout", "--address", "--version", "--where", "-m", "--metadata", "--json"}
    | {"--content-type", "--output", "--queue", "--count", "--key", "--into", "--backend"}
)
_TAKE_FILE = frozenset({"--config", "--into"})


def complete(environment: Mapping[str, str]) -> bool:
    """Prints what the word may become, one a line; True where it may also be the name of a file."""
    words = environment.get("COMP_WORDS", "").split("\n")
    try:
        at = int(environment.get("COMP_CWORD", ""))
    except ValueError:
        return False
    words = [*words, ""] if at == len(words) else words
    if not 0 < at < len(words):
        return False
    before, current = words[1:at], words[at]
    offered = sorted({word for word in _offered(before, current, environment) if word.startswith(current)})
    sys.stdout.write("".join(f"{word}\n" for word in offered if _SAFE.fullmatch(word)))
    return _file_meant(before, current)


def _file_meant(before: Sequence[str], current: str) -> bool:
    if before and before[-1] in _TAKE_VALUE:
        return before[-1] in _TAKE_FILE
    return not current.startswith("-") and next(_arguments(before), "") == "run"


def _offered(before: Sequence[str], current: str, environment: Mapping[str, str]) -> Iterator[str]:
    names = list(_arguments(before))
    command = names[0] if names else ""
    if before and before[-1] == "--registry":
        yield from _installed("micro.registry")
    elif names[:2] == ["plugins", "inspect"]:
        yield from _installed("micro.")
    elif current.startswith("-") or command not in _WITH_SERVICE or before[-1] in _TAKE_VALUE:
        yield from _of_click(before, current)
    elif len(names) == 1:
        yield from _services(environment)
    elif len(names) == 2 and command in ("call", "stream"):
        endpoints = _services(environment).get(names[1], {})
        for name, details in endpoints.items():
            if details["stream"] is (command == "stream"):
                yield name
    elif command in ("call", "stream"):
        given = {word.partition("=")[0] for word in names[3:]}
        fields = _services(environment).get(names[1], {}).get(names[2], {}).get("fields", [])
        yield from (f"{field}=" for field in fields if field not in given)


def _installed(group: str) -> Iterator[str]:
    """Names of plugins, of every group whose name begins so."""
    from importlib.metadata import distributions

    for distribution in distributions():
        for each in distribution.entry_points:
            if each.group.startswith(group):
                yield each.name


def _arguments(words: Sequence[str]) -> Iterator[str]:
    """Without options and their values."""
    value = False
    for word in words:
        if not value and not word.startswith("-"):
            yield word
        value = not value and word in _TAKE_VALUE


def _services(environment: Mapping[str, str]) -> dict[str, dict[str, dict[str, Any]]]:
    found, age = recall(environment)
    if age > FRESH:
        _look_again()
        found, _ = recall(environment)
    return found


def _look_again() -> None:
    """Starts a process that looks, with an end of its own, and waits for it as long as there is time."""
    looking = subprocess.Popen(
        [sys.executable, "-m", "micro_cli.looking"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + LIMIT - _age()
    while looking.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    looking.returncode = looking.returncode or 0  # it lives on; Python need not warn of that


def _age() -> float:
    """Seconds of processor time so far: what importing has cost."""
    return time.process_time()


def _of_click(before: Sequence[str], current: str) -> Iterator[str]:
    """Commands, options and choices, as click knows them."""
    from click.shell_completion import ShellComplete

    from micro_cli.program import micro

    completer = ShellComplete(micro, {}, "micro", "_MICRO_COMPLETE")
    yield from (item.value for item in completer.get_completions(list(before), current) if item.type == "plain")


def main() -> None:
    """Answers, and ends without a word whatever happens."""
    try:
        code = FILES if complete(os.environ) else 0
        sys.stdout.flush()
    except Exception:  # a person is typing; there is nobody to tell
        os._exit(0)
    raise SystemExit(code)
