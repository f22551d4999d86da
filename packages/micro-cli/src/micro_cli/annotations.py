"""JSON Schemas as Python annotations: what `micro get` shows and `micro client` writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence

from micro_cli.interface import Interfaces, Schema

MAX_DEPTH = 16

_FORMATS: Mapping[str, str] = {
    "date-time": "dt.datetime", "date": "dt.date", "time": "dt.time", "duration": "dt.timedelta", "uuid": "uuid.UUID",
    "decimal": "decimal.Decimal",
}  # fmt: skip
_SCALARS: Mapping[str, str] = {"integer": "int", "number": "float", "boolean": "bool", "null": "None"}

TEXTS = frozenset({"str", "bytes", *_FORMATS.values()})


def is_struct(schema: Schema) -> bool:
    """Whether it has fields, and so becomes a class."""
    return "properties" in schema


class Annotations:
    """Writes annotations; `name` says how a type of `defs` that has fields is called."""

    def __init__(self, types: Interfaces, name: Callable[[str], str], *, tagged: Container[str] | None = None) -> None:
        """Where the classes that carry a tag are told, a union holds only what can be told apart in JSON."""
        self._types = types
        self._name = name
        self._tagged = tagged

    def of(self, schema: Schema | None, depth: int = 0) -> str:
        """One annotation; `None` where nothing is sent, `Any` where nothing is known or it does not end."""
        if schema is None:
            return "None"
        if depth > MAX_DEPTH:
            return "Any"
        if "$ref" in schema:
            behind = self._types.defs[schema["$ref"]]
            return self._name(schema["$ref"]) if is_struct(behind) else self.of(behind, depth + 1)
        if "anyOf" in schema:
            return self._union(schema["anyOf"], depth)
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        return self._plain(schema, depth) if values is None else _literal(values)

    def _plain(self, schema: Schema, depth: int) -> str:
        kind = schema.get("type", "")
        if kind == "string":
            encoded = schema.get("contentEncoding") == "base64"
            return "bytes" if encoded else _FORMATS.get(schema.get("format", ""), "str")
        if kind == "array":
            first = [self.of(each, depth + 1) for each in schema.get("prefixItems", ())]
            return f"tuple[{', '.join(first)}]" if first else f"list[{self.of(schema.get('items', {}), depth + 1)}]"
        if kind == "object":
            more = schema.get("additionalProperties", {})
            return f"dict[str, {'Any' if 'properties' in schema else self.of(more or {}, depth + 1)}]"
        return _SCALARS.get(kind, "Any")

    def _union(self, parts: Sequence[Schema], depth: int) -> str:
        written = list(dict.fromkeys(self.of(part, depth + 1) for part in parts))
        if "Any" in written:
            return "Any"
        null = ["None"] if "None" in written else []
        written = [each for each in written if each != "None"]
        return " | ".join([*(self._told_apart(written) if self._tagged is not None else written), *null]) or "None"

    def _told_apart(self, written: Sequence[str]) -> Iterator[str]:
        """At most one text, one number, one list and one object without a tag: of several, what all of them are."""
        found: dict[str, list[str]] = {}
        for each in written:
            found.setdefault(_kind(each), []).append(each)
        for kind, them in found.items():
            apart = len(them) == 1 or (kind == OBJECT and all(each in (self._tagged or ()) for each in them))
            yield from them if apart else [kind]


OBJECT = "dict[str, Any]"


def _kind(written: str) -> str:
    """What an annotation is in JSON, as the widest annotation of that kind."""
    if written in TEXTS or written.startswith('Literal["'):
        return "str"
    if written.startswith(("list[", "tuple[")):
        return "list[Any]"
    if written.startswith("Literal["):
        return "int"
    return written if written in _SCALARS.values() else OBJECT


def text_literal(text: str) -> str:
    """A text as Python source; nothing in it can hide, or end it."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(text)


def _literal(values: Sequence[object]) -> str:
    """What msgspec and type checkers take as a Literal; a wider type for the rest."""
    if not values or not all(isinstance(each, str | int | None) and not isinstance(each, bool) for each in values):
        return "bool" if values and all(isinstance(each, bool) for each in values) else "Any"
    texts = sorted(values, key=lambda each: not isinstance(each, str))
    return f"Literal[{', '.join(text_literal(each) if isinstance(each, str) else repr(each) for each in texts)}]"
