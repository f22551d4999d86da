"""What pydantic's types can hold, read off the core schema that pydantic makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from micro_schema.shape import Shape

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_TEXTS = {"str", "any"}
_SCALARS = {
    *("str", "int", "bool", "bytes", "float", "decimal", "date", "time", "datetime", "timedelta"),
    *("uuid", "url", "multi-host-url", "enum", "literal", "none"),
}
_NESTING = {
    *("list", "set", "frozenset", "tuple", "dict", "nullable", "union", "tagged-union", "default"),
    *("model", "model-fields", "model-field", "dataclass", "dataclass-args", "dataclass-field", "computed-field"),
    *("typed-dict", "typed-dict-field", "definitions", "definition-ref", "function-after"),
}
_NOT_SCHEMAS = {"metadata", "config", "ref", "cls", "default", "function"}


def shape_of_model(adapter: TypeAdapter[Any]) -> Shape:
    """The shape of an annotation that is pydantic's. What is not known here can hold anything."""
    look = _Look()
    look.at(adapter.core_schema)
    return look.shape


class _Look:
    def __init__(self) -> None:
        self.shape = Shape()
        self._definitions: dict[str, Any] = {}
        self._open: set[str] = set()
        self._done: set[str] = set()

    def at(self, schema: Any) -> None:
        if isinstance(schema, list | tuple):
            for part in schema:
                self.at(part)
        elif isinstance(schema, Mapping):
            kind = schema.get("type")
            named = not isinstance(kind, str)  # fields or choices by their names, else a schema
            if not named:
                self._note(kind, schema)
            for key, part in schema.items():
                if named or key not in _NOT_SCHEMAS:
                    self.at(part)

    def _note(self, kind: Any, schema: Mapping[str, Any]) -> None:
        shape = self.shape
        if kind not in _SCALARS | _NESTING or _takes_more(schema):
            shape.unbounded = shape.floats = True
        elif kind in ("float", "decimal"):
            shape.floats = True
        elif kind == "dict":
            shape.keys |= schema.get("keys_schema", {"type": "any"})["type"] not in _TEXTS
        elif kind == "definitions":
            self._definitions.update((each["ref"], each) for each in schema["definitions"])
        elif kind == "definition-ref":
            self._follow(schema["schema_ref"])

    def _follow(self, ref: str) -> None:
        if ref in self._open:
            self.shape.unbounded = True
        elif ref not in self._done:
            self._done.add(ref)
            self._open.add(ref)
            self.at(self._definitions.get(ref))
            self._open.discard(ref)


def _takes_more(schema: Mapping[str, Any]) -> bool:
    """Whether a model keeps fields that it does not name."""
    config = schema.get("config") or {}
    return "allow" in (schema.get("extra_behavior"), config.get("extra_fields_behavior"))
