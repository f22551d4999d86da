"""Annotations as JSON Schema (draft 2020-12), without titles, descriptions and whatever else a record has no room for.

Types are read by msgspec, pydantic models by pydantic, as the codec of JSON reads them, and messages of protobuf by
their descriptors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args, get_origin

import msgspec
from micro_core.codec import is_protobuf
from msgspec import inspect

from micro_schema.models import adapter, is_model, mentions_model

Schema: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["validation", "serialization"]


def schema_of(request: Any, reply: Any) -> Schema:
    """The schemas of an endpoint's types, with the definitions that they refer to.

        {"request": {"$ref": "#/$defs/HelloRequest"}, "reply": {"type": "string"}, "$defs": {"HelloRequest": {…}}}

    A request or reply that is None is null; one that may be anything is left out.

    Raises:
        TypeError, and whatever msgspec and pydantic raise: a type has no schema.
    """
    writer = _Writer()
    made: Schema = {}
    modes: tuple[Mode, Mode] = ("validation", "serialization")
    for name, type_, mode in zip(("request", "reply"), (request, reply), modes, strict=True):
        schema = None if type_ in (None, type(None)) else writer.of(type_, mode)
        if schema != {}:
            made[name] = schema
    return {**made, "$defs": writer.defs} if writer.defs else made


class _Writer:
    """Writes schemas; what has a name goes into `defs`, once."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {}
        self._names: dict[object, str] = {}
        self._mode: Mode = "validation"

    def of(self, type_: Any, mode: Mode) -> Schema:
        self._mode = mode
        if is_protobuf(type_):
            return self._message(type_.DESCRIPTOR)
        if mentions_model(type_):
            return self._model(type_)
        return self._info(inspect.type_info(type_))

    def _named(self, key: object, name: str, write: Callable[[], Schema]) -> Schema:
        """A reference to what `write` returns, which is known before it is written, since it may hold itself."""
        if key not in self._names:
            free = self._names[key] = self._free(name)
            self.defs[free] = {}
            self.defs[free] = write()
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _free(self, name: str) -> str:
        name = re.sub(r"[^\w.-]+", "_", name).strip("_") or "Type"
        free, number = name, 2
        while free in self.defs:
            free, number = f"{name}_{number}", number + 1
        return free

    def _info(self, info: inspect.Type) -> Schema:
        match info:
            case inspect.Metadata():
                return self._info(info.type)
            case inspect.UnionType():
                return self._union(info.types)
            case inspect.EnumType(cls=cls):
                return self._named(cls, cls.__name__, lambda: _enum(cls))
            case inspect.TupleType() | inspect.NamedTupleType() | inspect.StructType(array_like=True):
                return self._tuple(info)
            case inspect.DictType():
                return _with("object", "additionalProperties", self._info(info.value_type), info)
            case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
                return _with("array", "items", self._info(info.item_type), info)
            case inspect.DataclassType() | inspect.StructType() | inspect.TypedDictType():
                return self._named(info.cls, _class_name(info.cls), lambda: self._object(info))
            case inspect.CustomType(cls=cls) if is_model(cls):
                return self._model(cls)
            case _:
                return _scalar(info)

    def _union(self, infos: Iterable[inspect.Type]) -> Schema:
        parts = [self._info(info) for info in infos]
        return {} if {} in parts else {"anyOf": parts}

    def _tuple(self, info: Any) -> Schema:
        fields = getattr(info, "fields", ())
        items = [self._info(each.type) for each in fields] or [self._info(each) for each in info.item_types]
        if getattr(info, "tag", None) is not None:
            items.insert(0, {"const": info.tag})
        return {"type": "array", "prefixItems": items}

    def _object(self, info: Any) -> Schema:
        properties: dict[str, Schema] = {}
        required = [field.encode_name for field in info.fields if field.required]
        if getattr(info, "tag", None) is not None:
            properties[info.tag_field] = {"const": info.tag}
            required.insert(0, info.tag_field)
        for field in info.fields:
            properties[field.encode_name] = self._info(field.type) | _default(field)
        made: Schema = {"type": "object", "properties": properties}
        if required:
            made["required"] = required
        if getattr(info, "forbid_unknown_fields", False):
            made["additionalProperties"] = False
        return made

    def _model(self, type_: Any) -> Schema:
        """By pydantic, whose definitions keep their names unless others have them already."""
        made = adapter(type_, "JSON").json_schema(ref_template="{model}", mode=self._mode)
        own: dict[str, Schema] = made.pop("$defs", {})
        if "properties" in made:
            name = _class_name(type_)
            own[name], made = made, {"$ref": name}
        names = {name: name for name in own}
        if any(self.defs.get(name, short) != short for name, short in _short_all(own, names).items()):
            names = {name: self._free(name) for name in own}
        self.defs |= _short_all(own, names)
        short: Schema = _short(made, names)
        return short

    def _message(self, descriptor: Any) -> Schema:
        if descriptor.full_name.startswith("google.protobuf."):
            return {}  # such a message has a JSON of its own, by release of Go Micro
        name = descriptor.full_name.removeprefix(f"{descriptor.file.package}.")
        return self._named(descriptor.full_name, name, lambda: self._message_fields(descriptor))

    def _message_fields(self, descriptor: Any) -> Schema:
        return {"type": "object", "properties": {field.name: self._field(field) for field in descriptor.fields}}

    def _field(self, field: Any) -> Schema:
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            return _with("object", "additionalProperties", self._single(inner.fields_by_name["value"]))
        return _with("array", "items", self._single(field)) if field.is_repeated else self._single(field)

    def _single(self, field: Any) -> Schema:
        if field.message_type is not None:
            return self._message(field.message_type)
        if field.enum_type is not None:
            values = field.enum_type.values
            words: list[Any] = [*(value.name for value in values), *(value.number for value in values)]
            return self._named(field.enum_type.full_name, field.enum_type.name, lambda: {"enum": words})
        return dict(_OF_FIELD.get(field.type, _INTEGER))


def _enum(cls: Any) -> Schema:
    return {"enum": [each.value for each in cls]}


def _class_name(cls: Any) -> str:
    own = str(getattr(get_origin(cls) or cls, "__name__", ""))
    return "_".join([own, *(_class_name(each) for each in get_args(cls))])


def _with(type_: str, word: str, inner: Schema, info: object = None) -> Schema:
    return {"type": type_, **({word: inner} if inner else {}), **_bounds(type_, info)}


_INTEGER = {"type": "integer"}
_BASE64 = {"type": "string", "contentEncoding": "base64"}

_OF_FIELD: Mapping[int, Schema] = {
    1: {"type": "number"}, 2: {"type": "number"}, 8: {"type": "boolean"}, 9: {"type": "string"}, 12: _BASE64,
    4: {"type": "integer", "minimum": 0}, 6: {"type": "integer", "minimum": 0},
    7: {"type": "integer", "minimum": 0}, 13: {"type": "integer", "minimum": 0},
}  # fmt: skip
"""By the types of descriptor.proto; all others are integers."""

_SCALARS: Mapping[str, Schema] = {
    "AnyType": {}, "RawType": {}, "NoneType": {"type": "null"}, "BoolType": {"type": "boolean"}, "IntType": _INTEGER,
    "FloatType": {"type": "number"}, "StrType": {"type": "string"}, "BytesType": _BASE64, "ByteArrayType": _BASE64,
    "MemoryViewType": _BASE64, "DateTimeType": {"type": "string", "format": "date-time"},
    "DateType": {"type": "string", "format": "date"}, "TimeType": {"type": "string", "format": "time"},
    "TimeDeltaType": {"type": "string", "format": "duration"}, "UUIDType": {"type": "string", "format": "uuid"},
    "DecimalType": {"type": "string", "format": "decimal"},
}  # fmt: skip


def _scalar(info: Any) -> Schema:
    kind = type(info).__name__
    if kind == "LiteralType":
        return {"enum": list(info.values)}
    if kind not in _SCALARS:
        raise TypeError(f"{getattr(info, 'cls', kind)!r} has no schema")
    made = _SCALARS[kind]
    return {**made, **(_bounds(made["type"], info) if made and made is not _BASE64 else {})}


_WORDS = {
    "gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum", "multiple_of": "multipleOf",
    "pattern": "pattern",
}  # fmt: skip
_LENGTHS = {"string": "Length", "array": "Items", "object": "Properties"}


def _bounds(type_: str, info: Any) -> Schema:
    found = {word: getattr(info, name, None) for name, word in _WORDS.items()}
    if type_ in _LENGTHS:
        found |= {f"{end}{_LENGTHS[type_]}": getattr(info, f"{end}_length", None) for end in ("min", "max")}
    return {word: value for word, value in found.items() if value is not None}


def _default(field: Any) -> Schema:
    """What a field is when it is left out, if it can be said; None need not be said of what may be null."""
    value = field.default
    if value is msgspec.NODEFAULT and field.default_factory in (list, dict, set, frozenset, tuple):
        value = field.default_factory()
    if any(value is nothing for nothing in (msgspec.NODEFAULT, msgspec.UNSET, None)):
        return {}
    try:
        return {"default": msgspec.json.decode(msgspec.json.encode(value))}
    except (TypeError, ValueError):
        return {}


_DROPPED = frozenset({"title", "description", "examples", "deprecated", "discriminator"})


def _short_all(schemas: Mapping[str, Schema], names: Mapping[str, str]) -> dict[str, Schema]:
    return {names[name]: _short(schema, names) for name, schema in schemas.items()}


def _short(schema: Any, names: Mapping[str, str]) -> Any:
    """Pydantic's schema without what is said elsewhere, and with the names that its definitions are given."""
    if isinstance(schema, list):
        return [_short(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made: Schema = {}
    for word, value in schema.items():
        if word == "$ref":
            made[word] = f"#/$defs/{names[value]}"
        elif word in ("properties", "patternProperties"):
            made[word] = {name: _short(each, names) for name, each in value.items()}
        elif word in ("enum", "const", "default", "required"):
            made |= {} if word == "default" and value is None else {word: value}
        elif word not in _DROPPED:
            made[word] = _short(value, names)
    return made
