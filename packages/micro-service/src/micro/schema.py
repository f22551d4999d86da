"""Annotations as Go Micro registers the shape of requests and replies (WIRE §9): informative, nobody depends on it.

Go Micro describes a Go type by its name and, for a struct, by the names its fields have in JSON: the struct, its fields
and theirs, no deeper. What has no name in Go has none here: a list is `[]` and the name of what it holds; a map, a
union and `Any` are empty texts. `Page[User]` has the name that Go gives such a type. An endpoint that streams has the
types of Go's own signature, `Context` and `Stream`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import decimal
import types
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from micro_core import Value
from micro_core.codec import is_protobuf

LEVELS = 3
"""How deep a shape goes, the type itself included."""

STREAMED = (Value("Context", "Context"), Value("Stream", "Stream"))
"""Request and response of every endpoint that streams."""

_NAMES: dict[Any, str] = {
    str: "string",
    int: "int64",
    float: "float64",
    bool: "bool",
    bytes: "[]uint8",
    bytearray: "[]uint8",
    memoryview: "[]uint8",
    dt.datetime: "Time",
    uuid.UUID: "UUID",
    dt.date: "string",
    dt.time: "string",
    dt.timedelta: "string",
    decimal.Decimal: "string",
}
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Set, collections.abc.Collection)
_NAMELESS = (dict, collections.abc.Mapping, collections.abc.MutableMapping, object, Any)


def value_of(annotation: Any) -> Value | None:
    """The shape of an annotation, or None for None, where nothing is sent."""
    if annotation in (None, type(None)):
        return None
    name = type_name(annotation)
    return Value("" if name.startswith("[]") else name, name, _fields(annotation, 1))


def type_name(annotation: Any) -> str:
    """The name of the Go type that a Python annotation comes closest to; empty for one that has no name in Go."""
    annotation = _bare(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin in _LISTS:
        return _list_of(type_name(arguments[0]) if arguments else "")
    if origin is Literal:
        return type_name(type(arguments[0])) if len({type(each) for each in arguments}) == 1 else ""
    if isinstance(annotation, NewType):
        return str(annotation.__name__)
    if not isinstance(origin, type) or origin in _NAMELESS:
        return ""
    if is_protobuf(origin):
        message: Any = origin
        return _message_name(message.DESCRIPTOR)
    filled = ",".join(type_name(each) or "any" for each in arguments)
    return f"{origin.__name__}[{filled}]" if filled else origin.__name__


def _list_of(name: str) -> str:
    return "[]" if name.startswith("[]") else f"[]{name}"


def _bare(annotation: Any) -> Any:
    """Without Annotated and aliases, and without None in a union of two."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if hasattr(annotation, "__value__"):  # type X = … of Python 3.12
        return _bare(annotation.__value__)
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else Any
    return annotation


def _fields(annotation: Any, level: int) -> tuple[Value, ...]:
    if level == LEVELS:
        return ()
    annotation = _bare(annotation)
    cls = get_origin(annotation) or annotation
    if is_protobuf(cls):
        return tuple(_message_fields(cls.DESCRIPTOR, level))
    if not isinstance(cls, type) or not _is_record(cls):
        return ()
    try:
        hints = get_type_hints(cls)
    except (NameError, TypeError):
        return ()
    given = dict(zip(getattr(cls, "__parameters__", ()), get_args(annotation), strict=False))
    names = _encoded_names(cls, hints)
    return tuple(_field(names[key], _filled(hints[key], given), level) for key in names)


def _field(name: str, annotation: Any, level: int) -> Value:
    return Value(name, type_name(annotation), _fields(annotation, level + 1))


def _filled(annotation: Any, given: dict[Any, Any]) -> Any:
    """The annotation with what `Page[User]` puts for its type variables."""
    if isinstance(annotation, TypeVar):
        return given.get(annotation, Any)
    parameters = getattr(annotation, "__parameters__", ())
    return annotation[tuple(given.get(each, Any) for each in parameters)] if parameters and given else annotation


def _is_record(cls: type[Any]) -> bool:
    marks = ("__struct_fields__", "__attrs_attrs__", "model_fields", "__total__")
    return dataclasses.is_dataclass(cls) or any(mark in dir(cls) for mark in marks)


def _encoded_names(cls: type[Any], hints: dict[str, Any]) -> dict[str, str]:
    """The fields that are carried, and what they are called there."""
    struct: tuple[str, ...] | None = getattr(cls, "__struct_fields__", None)
    if struct is not None:
        return dict(zip(struct, getattr(cls, "__struct_encode_fields__", struct), strict=True))
    models: dict[str, Any] | None = getattr(cls, "model_fields", None)
    if isinstance(models, dict):
        carried = {name: field for name, field in models.items() if name in hints and not field.exclude}
        return {name: field.alias or name for name, field in carried.items()}
    if dataclasses.is_dataclass(cls):
        return {field.name: field.name for field in dataclasses.fields(cls) if field.name in hints}
    return {name: name for name in hints if not name.startswith("_")}


_KINDS = {
    1: "float64", 2: "float32", 3: "int64", 4: "uint64", 5: "int32", 6: "uint64", 7: "uint32", 8: "bool", 9: "string",
    12: "[]uint8", 13: "uint32", 15: "int32", 16: "int64", 17: "int32", 18: "int64",
}  # fmt: skip
"""The types of descriptor.proto that are neither messages nor enums."""


def _message_fields(descriptor: Any, level: int) -> Iterator[Value]:
    for field in descriptor.fields:
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            yield Value(field.name, "")
        elif field.is_repeated:
            yield Value(field.name, _list_of(_kind(field)))
        else:
            deeper = inner is not None and level + 1 < LEVELS
            yield Value(field.name, _kind(field), tuple(_message_fields(inner, level + 1)) if deeper else ())


def _kind(field: Any) -> str:
    named = field.message_type or field.enum_type
    return _KINDS[field.type] if named is None else _message_name(named)


def _message_name(descriptor: Any) -> str:
    """As Go names it: `Outer_Inner` for a message inside of another."""
    outer = descriptor.containing_type
    return str(descriptor.name) if outer is None else f"{_message_name(outer)}_{descriptor.name}"
