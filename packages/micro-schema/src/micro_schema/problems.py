"""What msgspec, pydantic and we say of a value, as one line: `users[3].email: Field required; age: …`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from micro_schema.misfit import Misfit, located

MOST = 1000
"""Problems that are listed one by one; of more, the number is told."""

_AT = re.compile(r"(?P<text>.*) - at `(?P<path>.*)`", re.DOTALL)
_KEY = re.compile(r"key` in `(?P<path>.*)")
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")


def problems(error: Exception) -> str:
    """Every problem that the library reports, each with the path to it. Msgspec reports one, the others many.

    What was wrong is told, not the values: they may be secrets.
    """
    if hasattr(error, "error_count"):
        return _of_pydantic(error, "")
    misfit = error if isinstance(error, Misfit) else error.__cause__
    if isinstance(misfit, Misfit):  # alone, or inside of something else
        return misfit.at(_of_msgspec(str(error).removeprefix(str(misfit)))[0])
    path, text = _of_msgspec(str(error))
    if hasattr(error.__cause__, "error_count"):  # a model inside of something else
        return _of_pydantic(error.__cause__, path)
    return located(path, text) or type(error).__name__


def _of_pydantic(error: Any, base: str) -> str:
    if error.error_count() > MOST:
        return located(base, f"{error.error_count():,} problems, too many to list")
    listed = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(located(_joined(base, each["loc"]), each["msg"]) for each in listed)


def _of_msgspec(text: str) -> tuple[str, str]:
    found = _AT.fullmatch(text)
    path, text = (found["path"], found["text"]) if found else ("$", text)
    key = _KEY.fullmatch(path)
    if key:
        path, text = key["path"], f"a key: {text}"
    missing = _MISSING.fullmatch(text)
    return _joined(path.removeprefix("$").removeprefix("."), [missing["field"]] if missing else ()), text


def _joined(base: str, parts: Iterable[int | str]) -> str:
    path = base + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.removeprefix(".")
