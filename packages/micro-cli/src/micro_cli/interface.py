"""What the endpoints of a service take and return, as far as its record says: JSON Schemas, whoever registered it.

A node of ours adds schemas to its record, as many as there is room for (see `micro.described`). Everybody registers Go
Micro's shapes (WIRE §9): names of Go types and of their fields, three levels deep. Where there is a shape alone, a type
of the same name and fields that another endpoint has a schema of is taken for the same. All else asks for no more than
is known: nothing is required, lists, structs and fields of ours may be null, and what is named only may be anything.

Records come from strangers. Of a schema, only what is known here and well-formed is kept, so that nobody after this
needs to doubt it. References are kept as bare names of `defs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from micro.described import KEY, STREAM_KEY
from micro_core import Endpoint, ServiceRecord, Value

Schema: TypeAlias = dict[str, Any]

SAID = frozenset({KEY, STREAM_KEY, "stream"})
"""Metadata of an endpoint that an Interface says in other words."""

MAX_DEPTH = 32
"""How deep one schema may nest."""

ANYTHING: Schema = {}


@dataclass(frozen=True, slots=True)
class Interface:
    """One endpoint.

    Attributes:
        name: as `Say.Hello`.
        stream: who streams, `client`, `server` or `both`; empty for a call. `both` also where the node does not say.
        request, reply: the schema of each value that is sent; None where there is nothing to send.
        exact: whether a schema was registered, and not a shape alone.
    """

    name: str
    stream: str
    request: Schema | None
    reply: Schema | None
    exact: bool


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The endpoints of a service that can be called, by name, and the named types that they refer to.

    Attributes:
        shaped: those of the types that are known by a shape alone.
    """

    endpoints: Mapping[str, Interface]
    defs: Mapping[str, Schema]
    shaped: Collection[str] = ()

    def resolved(self, schema: Schema) -> Schema:
        """The schema behind references, and without the null that may stand for it."""
        for _ in range(MAX_DEPTH):
            parts = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
            if "$ref" in schema:
                schema = self.defs[schema["$ref"]]
            elif len(parts) == 1:
                (schema,) = parts
            else:
                return schema
        return ANYTHING

    def fields(self, schema: Schema | None, *, levels: int = 2) -> Iterator[str]:
        """The names of fields, those of inner structs as `address.city`."""
        if schema is None or not levels:
            return
        for name, each in self.resolved(schema).get("properties", {}).items():
            inner = list(self.fields(each, levels=levels - 1))
            yield from [f"{name}.{field}" for field in inner] or [name]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What may be sent: a schema, with the types that it refers to."""

    schema: Schema | None
    types: Interfaces


UNKNOWN = Wanted(ANYTHING, Interfaces({}, {}))
"""Where nothing is known."""


def interfaces_of(records: Sequence[ServiceRecord]) -> Interfaces:
    """Those of a service; of an endpoint that several versions have, the last one's."""
    ours = any("micro-py" in node.metadata for record in records for node in record.nodes)
    found = {each.name: each for record in records for each in record.endpoints if "topic" not in each.metadata}
    reader = _Reader(ours=ours)
    made = {name: interface for name in found if (interface := reader.exact(found[name])) is not None}
    described = frozenset(reader.defs)
    shaped = [found[name] for name in found if name not in made]
    reader.learn(shaped)
    made |= {endpoint.name: reader.shaped(endpoint) for endpoint in shaped}
    return Interfaces({name: made[name] for name in sorted(made)}, reader.defs, reader.defs.keys() - described)


def stream_of(endpoint: Endpoint) -> str:
    """Who streams."""
    if endpoint.metadata.get("stream") != "true":
        return ""
    told = endpoint.metadata.get(STREAM_KEY)
    return told if told in ("client", "server") else "both"


class _Reader:
    """Reads the endpoints of one service; `ours`: there are nodes of ours among those that serve it."""

    def __init__(self, *, ours: bool) -> None:
        self._ours = ours
        self.defs: dict[str, Schema] = {}
        self._types: dict[tuple[str, frozenset[str]], Value] = {}

    def exact(self, endpoint: Endpoint) -> Interface | None:
        """By its schema; None where there is none that can be read."""
        if KEY not in endpoint.metadata:
            return None
        try:
            document = _object(json.loads(endpoint.metadata[KEY]))
            references: set[str] = set()
            defs = {name: _kept(schema, references) for name, schema in _object(document.get("$defs", {})).items()}
            sides = [document.get(side, ANYTHING) for side in ("request", "reply")]
            request, reply = (None if side is None else _kept(side, references) for side in sides)
        except (ValueError, RecursionError):
            return None
        if not references <= defs.keys():
            return None
        names = self._add(defs)
        request, reply = (side and with_names(side, names) for side in (request, reply))
        return Interface(endpoint.name, stream_of(endpoint), request, reply, exact=True)

    def _add(self, defs: Mapping[str, Schema]) -> dict[str, str]:
        """Adds the types of one document; what they are called here, where a name may mean another type already."""
        numbers = dict.fromkeys(defs, 1)
        while True:
            names = {name: _numbered(name, number) for name, number in numbers.items()}
            renamed = {name: with_names(schema, names) for name, schema in defs.items()}
            taken = list(names.values())
            clashing = [
                name
                for name in defs
                if self.defs.get(names[name], renamed[name]) != renamed[name]
                or (numbers[name] > 1 and taken.count(names[name]) > 1)
            ]
            if not clashing:
                self.defs |= {names[name]: schema for name, schema in renamed.items()}
                return names
            for name in clashing:
                numbers[name] += 1

    def learn(self, endpoints: Iterable[Endpoint]) -> None:
        """Takes note of the types in shapes, each from where it is told most of."""
        for endpoint in endpoints:
            for value in _inside(endpoint.request, endpoint.response):
                key = _key(value)
                if value.values and _weight(value) > _weight(self._types.get(key)):
                    self._types[key] = value

    def shaped(self, endpoint: Endpoint) -> Interface:
        """By its shapes; they say nothing of what is streamed, and some registries keep none."""
        stream = stream_of(endpoint)
        if stream or (endpoint.request is None and endpoint.response is None):
            return Interface(endpoint.name, stream, ANYTHING, ANYTHING, exact=False)
        request, reply = (self._whole(value) for value in (endpoint.request, endpoint.response))
        return Interface(endpoint.name, stream, request, reply, exact=False)

    def _whole(self, value: Value | None) -> Schema | None:
        """A request or reply, which null does not stand for if it is a struct."""
        if value is None:
            return None
        made = self._schema(value)
        parts = made.get("anyOf", [ANYTHING])
        return parts[0] if "$ref" in parts[0] else made

    def _schema(self, value: Value) -> Schema:
        name = value.type.lstrip("*")
        if value.values:
            return _or_null({"$ref": self._define(_key(value))}) if name else _or_null(self._struct(value))
        if name.startswith("[]") and name != "[]uint8":
            items = self._whole(Value("", name.removeprefix("[]")))
            return _or_null({"type": "array", **({"items": items} if items else {})})
        return self._named(name)

    def _named(self, name: str) -> Schema:
        """By the name of its Go type alone; by the type that is called so, if there is one and only one."""
        for pattern, schema in _SCALARS:
            if pattern.fullmatch(name):
                return schema
        keys = [key for key in self._types if key[0] == name]
        return _or_null({"$ref": self._define(keys[0])}) if len(keys) == 1 else ANYTHING

    def _define(self, key: tuple[str, frozenset[str]]) -> str:
        name, fields = key
        free, number = _numbered(name, 1), 1
        while free in self.defs and self.defs[free].get("properties", {}).keys() != fields:
            number += 1
            free = _numbered(name, number)
        if free not in self.defs:
            self.defs[free] = {"type": "object", "properties": dict.fromkeys(fields, ANYTHING)}  # it may hold itself
            self.defs[free] = self._struct(self._types[key])
        return free

    def _struct(self, value: Value) -> Schema:
        return {"type": "object", "properties": {inner.name: self._field(inner) for inner in value.values}}

    def _field(self, value: Value) -> Schema:
        """In shapes of ours a field that may be None looks like any other."""
        made = self._schema(value)
        return _or_null(made) if self._ours and made and "anyOf" not in made else made


_SCALARS: Sequence[tuple[re.Pattern[str], Schema]] = [
    (re.compile(r"string"), {"type": "string"}),
    (re.compile(r"u?int(8|16|32|64)?"), {"type": "integer"}),
    (re.compile(r"float(32|64)"), {"type": "number"}),
    (re.compile(r"bool"), {"type": "boolean"}),
    (re.compile(r"\[\]uint8"), {"type": "string", "contentEncoding": "base64"}),
    (re.compile(r"Time"), {"type": "string", "format": "date-time"}),
    (re.compile(r"UUID"), {"type": "string", "format": "uuid"}),
]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _key(value: Value) -> tuple[str, frozenset[str]]:
    return value.type.lstrip("*"), frozenset(inner.name for inner in value.values)


def _weight(value: Value | None) -> int:
    return 0 if value is None else 1 + sum(map(_weight, value.values))


def _inside(*values: Value | None) -> Iterator[Value]:
    for value in values:
        if value is not None:
            yield value
            yield from _inside(*value.values)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _kept(schema: Any, references: set[str], depth: int = 0) -> Schema:
    """What is known and well-formed of a schema; names that it refers to are added. Raises ValueError."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    made: Schema = {}
    for word, value in _object({} if schema is True else schema).items():
        if word == "$ref":
            made[word] = str(value).removeprefix("#/$defs/")
            references.add(made[word])
        elif word == "properties":
            made[word] = {name: _kept(each, references, depth + 1) for name, each in _object(value).items()}
        elif word in ("anyOf", "oneOf", "prefixItems") and isinstance(value, list):
            made["anyOf" if word == "oneOf" else word] = [_kept(each, references, depth + 1) for each in value]
        elif word in ("items", "additionalProperties") and value is not False:
            made[word] = _kept(value, references, depth + 1)
        elif _is_plain(word, value):
            made[word] = value
    return made


_TYPES = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_TEXTS = frozenset({"pattern", "format", "contentEncoding"})
_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_LENGTHS = frozenset({f"{end}{what}" for end in ("min", "max") for what in ("Length", "Items", "Properties")})


def _is_plain(word: str, value: Any) -> bool:
    """Whether it is a keyword that holds no schema, and holds what it must."""
    if word == "multipleOf":
        return isinstance(value, int) and value > 0  # of a fraction, floats are multiples by chance
    if word in _NUMBERS:
        return isinstance(value, int | float)
    if word in _LENGTHS:
        return isinstance(value, int)
    if word in ("enum", "required"):
        return isinstance(value, list) and (word == "enum" or all(isinstance(each, str) for each in value))
    if word in _TEXTS:
        return isinstance(value, str)
    return word in ("const", "default") or (word == "type" and value in _TYPES) or (
        word == "additionalProperties" and value is False
    )  # fmt: skip


def with_names(schema: Schema, names: Mapping[str, str]) -> Schema:
    """The schema with other names in its references."""
    made: Schema = {}
    for word, value in schema.items():
        if word == "$ref":
            made[word] = names[value]
        elif word == "properties":
            made[word] = {name: with_names(each, names) for name, each in value.items()}
        elif word in ("anyOf", "prefixItems"):
            made[word] = [with_names(each, names) for each in value]
        elif word in ("items", "additionalProperties") and value is not False:
            made[word] = with_names(value, names)
        else:
            made[word] = value
    return made
