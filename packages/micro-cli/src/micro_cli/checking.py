"""Whether a value is as an endpoint wants it: every problem, with its path as `users[3].email`.

Stricter than JSON Schema in one thing: a field that the type does not have is a problem unless the type says that it
may have others, for a service leaves such a field out without a word, and a person has written it for something.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from micro_cli.interface import Interfaces, Schema

MAX_DEPTH, MAX_STEPS = 100, 100_000
"""How deep, and how far, a value is looked into: a schema may come from a stranger."""


def problems(value: Any, schema: Schema, types: Interfaces) -> list[str]:
    """A sentence for each, none for a value that is right."""
    return list(_Checker(types).check(value, schema, "", 0))


class _Checker:
    def __init__(self, types: Interfaces) -> None:
        self._types = types
        self._left = MAX_STEPS

    def check(self, value: Any, schema: Schema, path: str, depth: int) -> Iterator[str]:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            return
        if "$ref" in schema:
            yield from self.check(value, self._types.defs[schema["$ref"]], path, depth + 1)
        elif "anyOf" in schema:
            yield from self._any_of(value, schema["anyOf"], path, depth)
        elif not _is_of(value, schema.get("type")):
            yield f"{_at(path)}expected {KINDS[schema['type']]}, not {_short(value)}"
        else:
            yield from _plain(value, schema, path)
            if isinstance(value, dict):
                yield from self._fields(value, schema, path, depth)
            elif isinstance(value, list):
                yield from self._items(value, schema, path, depth)

    def _any_of(self, value: Any, parts: list[Schema], path: str, depth: int) -> Iterator[str]:
        """What is wrong by the part that it comes closest to: the one whose kind and tag it has."""
        likely = [part for part in parts if self._is_likely(value, part)]
        tried = [list(self.check(value, part, path, depth + 1)) for part in likely]
        if tried:
            yield from min(tried, key=len)
        elif parts:
            kinds = dict.fromkeys(self._kind(part) for part in parts)
            yield f"{_at(path)}expected {' or '.join(kinds)}, not {_short(value)}"

    def _is_likely(self, value: Any, part: Schema) -> bool:
        part = self._behind(part)
        if not _is_of(value, part.get("type")) or not _is_one_of(value, part):
            return "anyOf" in part
        tags = {name: each["const"] for name, each in part.get("properties", {}).items() if "const" in each}
        return not isinstance(value, dict) or all(value.get(name, tag) == tag for name, tag in tags.items())

    def _behind(self, schema: Schema) -> Schema:
        for _ in range(MAX_DEPTH):
            if "$ref" not in schema:
                break
            schema = self._types.defs[schema["$ref"]]
        return schema

    def _kind(self, part: Schema) -> str:
        behind = self._behind(part)
        if "enum" in behind or "const" in behind:
            return _words(behind)
        return str(part.get("$ref") or KINDS.get(behind.get("type", ""), "a value"))

    def _fields(self, value: Mapping[str, Any], schema: Schema, path: str, depth: int) -> Iterator[str]:
        fields, more = schema.get("properties"), schema.get("additionalProperties")
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{_at(path)}{name!r} is missing"
        for name, each in value.items():
            inner = f"{path}.{name}" if path else name
            if fields is not None and name in fields:
                yield from self.check(each, fields[name], inner, depth + 1)
            elif isinstance(more, dict):
                yield from self.check(each, more, inner, depth + 1)
            elif fields is not None:
                yield f"{_at(path)}there is no field {name!r} ({_hint(name, fields)})"

    def _items(self, value: list[Any], schema: Schema, path: str, depth: int) -> Iterator[str]:
        first = schema.get("prefixItems", [])
        if len(value) < len(first):
            yield f"{_at(path)}expected {len(first)} values, not {len(value)}"
        for at, each in enumerate(value):
            item = first[at] if at < len(first) else schema.get("items", {})
            yield from self.check(each, item, f"{path}[{at}]", depth + 1)


def _hint(name: str, fields: Iterable[str]) -> str:
    from difflib import get_close_matches  # a slow import, for problems alone

    close = get_close_matches(name, fields, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(fields) or 'none'}"


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _is_of(value: Any, type_: str | None) -> bool:
    if type_ is None:
        return True
    if type_ in ("integer", "number"):
        whole = type_ == "number" or isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return isinstance(value, int | float) and not isinstance(value, bool) and whole
    return isinstance(value, _PYTHON[type_])


_PYTHON: Mapping[str, type[Any]] = {
    "string": str, "boolean": bool, "array": list, "object": dict, "null": type(None),
}  # fmt: skip
KINDS: Mapping[str, str] = {
    "string": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
    "array": "a list", "object": "an object", "null": "null",
}  # fmt: skip


def _is_one_of(value: Any, schema: Schema) -> bool:
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    return allowed is None or any(each == value and type(each) is type(value) for each in allowed)


def _words(schema: Schema) -> str:
    allowed = [schema["const"]] if "const" in schema else schema["enum"]
    return " or ".join(_short(each) for each in allowed)


def _plain(value: Any, schema: Schema, path: str) -> Iterator[str]:
    """What is wrong beside its kind and what it holds."""
    if not _is_one_of(value, schema):
        yield f"{_at(path)}expected {_words(schema)}, not {_short(value)}"
    for word, (fits, sentence) in _BOUNDS.items():
        if word in schema and not fits(value, schema[word]):
            yield f"{_at(path)}{_short(value)} {sentence.format(schema[word])}"
    if isinstance(value, str):
        yield from _text(value, schema, path)


def _text(value: str, schema: Schema, path: str) -> Iterator[str]:
    try:
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{_at(path)}{_short(value)} does not match {schema['pattern']}"
    except re.error:  # it is of another dialect
        pass
    kind = "base64" if schema.get("contentEncoding") == "base64" else schema.get("format", "")
    if kind in _FORMATS:
        name, read = _FORMATS[kind]
        try:
            read(value)
        except (ValueError, ArithmeticError):
            yield f"{_at(path)}expected {name}, not {_short(value)}"


_FORMATS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "date-time": ("a date and time as 2030-01-31T12:00:00Z", dt.datetime.fromisoformat),
    "date": ("a date as 2030-01-31", dt.date.fromisoformat),
    "time": ("a time as 12:00:00", dt.time.fromisoformat),
    "uuid": ("a UUID", uuid.UUID),
    "decimal": ("a number in quotes", decimal.Decimal),
    "base64": ("base64", lambda text: base64.b64decode(text, validate=True)),
}


def _length(kind: type[Any], fits: Callable[[int, int], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, bound: not isinstance(value, kind) or fits(len(value), bound)


def _least(size: int, bound: int) -> bool:
    return size >= bound


def _most(size: int, bound: int) -> bool:
    return size <= bound


def _compared(fits: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, bound: isinstance(value, bool) or not isinstance(value, int | float) or fits(value, bound)


_BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (_compared(lambda value, bound: value >= bound), "is less than {}"),
    "maximum": (_compared(lambda value, bound: value <= bound), "is more than {}"),
    "exclusiveMinimum": (_compared(lambda value, bound: value > bound), "is not more than {}"),
    "exclusiveMaximum": (_compared(lambda value, bound: value < bound), "is not less than {}"),
    "multipleOf": (
        _compared(lambda value, bound: value % bound == 0),
        "is no multiple of {}",
    ),
    "minLength": (_length(str, _least), "is shorter than {}"),
    "maxLength": (_length(str, _most), "is longer than {}"),
    "minItems": (_length(list, _least), "has less than {} items"),
    "maxItems": (_length(list, _most), "has more than {} items"),
    "minProperties": (_length(dict, _least), "has less than {} entries"),
    "maxProperties": (_length(dict, _most), "has more than {} entries"),
}


def _short(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}…"
