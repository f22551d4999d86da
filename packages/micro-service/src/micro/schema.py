"""Annotations as Go Micro registers the shape of requests and replies (WIRE §9): informative, nobody depends on it."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from micro_core import Value

MAX_DEPTH = 3

_SCALARS: dict[Any, str] = {
    str: "string",
    int: "int64",
    float: "float64",
    bool: "bool",
    bytes: "[]uint8",
    bytearray: "[]uint8",
    memoryview: "[]uint8",
}
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Set)
_MAPS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def value_of(annotation: Any) -> Value | None:
    """The shape of an annotation, or None where there is nothing to say."""
    if annotation in (None, type(None), Any):
        return None
    name = type_name(annotation)
    return Value(name, name, _fields(annotation, 1))


def type_name(annotation: Any) -> str:
    """The Go type that a Python annotation comes closest to."""
    annotation = _bare(annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin in _LISTS:
        return f"[]{type_name(arguments[0])}" if arguments else "[]interface {}"
    if origin in _MAPS:
        key, value = (
            (type_name(argument) for argument in arguments) if len(arguments) == 2 else ("string", "interface {}")
        )
        return f"map[{key}]{value}"
    return origin.__name__ if isinstance(origin, type) and origin is not Any else "interface {}"


def _bare(annotation: Any) -> Any:
    """Without Annotated, and without None in a union of two."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else Any
    return annotation


def _fields(annotation: Any, depth: int) -> tuple[Value, ...]:
    cls = _bare(annotation)
    cls = get_origin(cls) or cls
    if depth > MAX_DEPTH or not isinstance(cls, type) or not _is_record(cls):
        return ()
    try:
        hints = get_type_hints(cls)
    except (NameError, TypeError):
        return ()
    names = _encoded_names(cls, hints)
    return tuple(Value(names[key], type_name(hints[key]), _fields(hints[key], depth + 1)) for key in names)


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
        return {name: getattr(field, "alias", None) or name for name, field in models.items() if name in hints}
    if dataclasses.is_dataclass(cls):
        return {field.name: field.name for field in dataclasses.fields(cls) if field.name in hints}
    return {name: name for name in hints if not name.startswith("_")}
