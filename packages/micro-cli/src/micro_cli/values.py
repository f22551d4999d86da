"""From what a person writes to the value that is sent: `name=Ada`, `times:=3`, JSON, or standard input.

What the endpoint registered says how `name=Ada` is read: a text, a number, true or false; and whether the whole is what
the endpoint takes. Where nothing is known, what is JSON is read as JSON, and everything else is a text.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from micro_core.suggest import did_you_mean

from micro_cli.checking import KINDS, problems
from micro_cli.ending import Misused
from micro_cli.interface import ANYTHING, Interfaces, Schema, Wanted

STANDARD_INPUT = "-"
TOLD = 5
"""How many problems are told at once."""


def request_of(wanted: Wanted, words: Sequence[str], text: str | None, *, strict: bool = True) -> Any:
    """The request. Raises Misused for what cannot be read; a field that is not known is read if it is not strict."""
    if words and text is not None:
        raise Misused("write either name=value arguments or --json, not both")
    if text is None and not words and piped():
        text = STANDARD_INPUT
    if text is not None:
        return _from_json(sys.stdin.read() if text == STANDARD_INPUT else text)
    reader = _Reader(wanted.types, strict)
    schema = ANYTHING if wanted.schema is None else wanted.types.resolved(wanted.schema)
    if len(words) == 1 and _is_scalar(schema):
        return reader.read(words[0], wanted.schema or ANYTHING, "the request")
    made: dict[str, Any] = {}
    for word in words:
        reader.put(made, word, schema)
    return made


def check(value: Any, wanted: Wanted, what: str) -> None:
    """Raises Misused for a value that is not what is wanted, with every problem; `what` is the endpoint's name."""
    if wanted.schema is None:
        found = [] if value in ({}, None) else ["it takes no request"]
    else:
        found = problems(value, wanted.schema, wanted.types)
    if found:
        more = f"; and {len(found) - TOLD} more" if len(found) > TOLD else ""
        raise Misused(f"{what}: {'; '.join(found[:TOLD])}{more} (--no-check sends it as it is)")


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


def _is_scalar(schema: Schema) -> bool:
    return schema.get("type", "array" if "enum" not in schema else "string") not in ("array", "object")


class _Reader:
    def __init__(self, types: Interfaces, strict: bool) -> None:
        self._types = types
        self._strict = strict

    def put(self, made: dict[str, Any], word: str, schema: Schema) -> None:
        """Adds `name=text`, `a.b=text` or `name:=JSON` to a request of that schema. Raises Misused."""
        name, separator, text = word.partition("=")
        if not separator or not name:
            raise Misused(f"{word!r} is not name=value; write the whole request with --json")
        raw = name.endswith(":")
        path = name.removesuffix(":").split(".")
        inner = made
        for part in path[:-1]:
            schema = self._field(schema, part)
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise Misused(f"{word!r}: {part!r} was given as a value before")
        field = self._field(schema, path[-1])
        many = self._types.resolved(field).get("type") == "array"
        _add(inner, path[-1], parsed(text) if raw else self.read(text, field, name), many=many)

    def _field(self, schema: Schema, name: str) -> Schema:
        """The schema of a field; anything where none is known."""
        schema = self._types.resolved(schema)
        fields, more = schema.get("properties", {}), schema.get("additionalProperties") or ANYTHING
        if name in fields or not fields or more is not ANYTHING or not self._strict:
            found: Schema = fields.get(name, more)
            return found
        raise Misused(f"there is no field {name!r}; {did_you_mean(name, fields)}")

    def read(self, text: str, schema: Schema, name: str) -> Any:
        """A text as the value that the schema asks for. Raises Misused where it cannot be one."""
        behind = self._types.resolved(schema)
        kind = behind.get("type", "")
        for each in behind.get("enum", ()):
            if text in (each, json.dumps(each)):
                return each
        if kind == "string":
            return text
        if text == "null" and behind is not schema:
            return None
        if kind == "array" and not text.startswith("["):
            return self.read(text, behind.get("items", ANYTHING), name)
        try:
            return _SCALARS[kind](text) if kind in _SCALARS else self._guess(text, behind)
        except ValueError:
            raise Misused(f"{name}: expected {KINDS[kind]}, not {_short(text)}") from None

    def _guess(self, text: str, schema: Schema) -> Any:
        """What is JSON is JSON, unless it must be a text; all else is one."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return text if problems(value, schema, self._types) and not problems(text, schema, self._types) else value


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_SCALARS: Mapping[str, Callable[[str], Any]] = {"integer": int, "number": float, "boolean": _bool}


def _add(made: dict[str, Any], name: str, value: Any, *, many: bool) -> None:
    if many and not isinstance(value, list):
        made.setdefault(name, []).append(value)
    elif name in made and not many:
        raise Misused(f"{name!r} was given twice")
    else:
        made[name] = value


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
