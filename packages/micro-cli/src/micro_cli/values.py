"""From what a person writes to the value that is sent: `name=Ada`, `times:=3`, JSON, or standard input.

An endpoint's registered shape (WIRE §9) says how `name=Ada` is read: a text, a number, true or false. Without one, what
is JSON is read as JSON, and everything else is a text.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Sequence
from typing import Any

from micro_core import Value
from micro_core.suggest import did_you_mean

from micro_cli.ending import Misused

STANDARD_INPUT = "-"


def request_of(shape: Value | None, words: Sequence[str], text: str | None) -> Any:
    """The request. Raises Misused for what cannot be read."""
    if words and text is not None:
        raise Misused("write either name=value arguments or --json, not both")
    if text is None and not words and piped():
        text = STANDARD_INPUT
    if text is not None:
        return _from_json(sys.stdin.read() if text == STANDARD_INPUT else text)
    if shape is not None and len(words) == 1 and _is_scalar(shape):
        return _read(words[0], shape.type, shape.name)
    made: dict[str, Any] = {}
    for word in words:
        _put(made, word, shape)
    return made


def parsed(text: str) -> Any:
    """JSON, for a line of a stream. Raises Misused."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise Misused(f"this is not JSON: {_short(text)} ({error})") from None
    except RecursionError:
        raise Misused(f"this is nested too deeply: {_short(text)}") from None


def piped() -> bool:
    """Whether standard input is a pipe or a file, and not a terminal or nothing."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _from_json(text: str) -> Any:
    return parsed(text) if text.strip() else {}


def _is_scalar(shape: Value) -> bool:
    return not shape.values and not shape.type.startswith("map[") and _kind(shape.type) != ""


def _put(made: dict[str, Any], word: str, shape: Value | None) -> None:
    name, separator, text = word.partition("=")
    if not separator or not name:
        raise Misused(f"{word!r} is not name=value; write the whole request with --json")
    raw = name.endswith(":")
    path = name.removesuffix(":").split(".")
    field: Value | None = shape
    for part in path:
        field = _field(field, part)
    inner = made
    for part in path[:-1]:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise Misused(f"{word!r}: {part!r} was given as a value before")
    value = parsed(text) if raw else _read(text, field.type if field else "", name)
    _add(inner, path[-1], value, many=field is not None and field.type.startswith("[]") and field.type != "[]uint8")


def _add(made: dict[str, Any], name: str, value: Any, *, many: bool) -> None:
    if many and not isinstance(value, list):
        made.setdefault(name, []).append(value)
    elif name in made and not many:
        raise Misused(f"{name!r} was given twice")
    else:
        made[name] = value


def _field(shape: Value | None, name: str) -> Value | None:
    """The field of that name; None where the shape does not say."""
    if shape is None or not shape.values:
        return None
    fields = {field.name: field for field in shape.values}
    if name not in fields:
        raise Misused(f"{shape.type} has no field {name!r}; {did_you_mean(name, fields)}")
    return fields[name]


def _kind(go_type: str) -> str:
    bare = go_type.lstrip("*")
    if bare in ("string", "[]uint8"):
        return "text"
    if bare.startswith(("int", "uint")) and not bare.startswith("interface"):
        return "whole number"
    if bare.startswith("float"):
        return "number"
    return "bool" if bare == "bool" else ""


def _read(text: str, go_type: str, name: str) -> Any:
    kind = _kind(go_type)
    if kind == "text":
        return text
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text) if kind == "whole number" else float(text) if kind == "number" else _guess(text, go_type)
    except ValueError:
        raise Misused(f"{name}: expected {go_type}, not {_short(text)}") from None


def _guess(text: str, go_type: str) -> Any:
    """What is JSON is JSON; a text for anything else. Raises ValueError for what must be something else."""
    if go_type == "bool":
        raise ValueError(text)
    element = go_type.removeprefix("[]")
    if element != go_type and _kind(element) and not text.startswith("["):
        return _read(text, element, element)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
