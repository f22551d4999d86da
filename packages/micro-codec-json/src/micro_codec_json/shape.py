"""What an annotation can hold, found out once, when its encoder or decoder is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from micro_core import UnsupportedType
from micro_core.codec import is_protobuf
from msgspec import inspect

from micro_codec_json.models import is_model


@dataclass(slots=True)
class Shape:
    """What was found inside of a type.

    Attributes:
        floats, integers: whether it can hold one.
        unbounded: whether it can nest without end (`Any`, a type that holds itself, pydantic's business, a message).
        raw: whether it holds `msgspec.Raw`.
    """

    floats: bool = False
    integers: bool = False
    unbounded: bool = False
    raw: bool = False
    _open: set[int] = field(default_factory=set)
    _done: set[int] = field(default_factory=set)


def shape_of(type_: Any) -> Shape:
    """The shape of an annotation. Raises UnsupportedType, with the cure where there is one."""
    try:
        info = inspect.type_info(type_)
    except Exception as error:
        raise UnsupportedType(f"JSON cannot carry {name_of(type_)}: {error}{_cure(error)}") from error
    shape = Shape()
    _look(info, shape, type_)
    return shape


def name_of(type_: Any) -> str:
    """An annotation, for people."""
    if not isinstance(type_, type) or hasattr(type_, "__args__"):
        return repr(type_)
    return type_.__qualname__ if type_.__module__ == "builtins" else f"{type_.__module__}.{type_.__qualname__}"


def _cure(error: Exception) -> str:
    if "may not contain more than one" not in str(error):
        return ""
    return (
        ". On the wire nothing tells the members of this union apart: make them msgspec.Struct classes with a tag "
        "(`class A(msgspec.Struct, tag=True)`), pydantic models, or one dataclass with an optional field for each"
    )


def _look(info: inspect.Type, shape: Shape, type_: Any) -> None:
    if id(info) in shape._open:
        shape.unbounded = True
    if id(info) in shape._open or id(info) in shape._done:
        return
    shape._open.add(id(info))
    _note(info, shape, type_)
    for name in info.__struct_fields__:
        _look_into(getattr(info, name), shape, type_)
    shape._open.discard(id(info))
    shape._done.add(id(info))


def _look_into(part: Any, shape: Shape, type_: Any) -> None:
    if isinstance(part, inspect.Type):
        _look(part, shape, type_)
    elif isinstance(part, inspect.Field):
        _look(part.type, shape, type_)
    elif isinstance(part, tuple):
        for item in part:
            _look_into(item, shape, type_)


def _note(info: inspect.Type, shape: Shape, type_: Any) -> None:
    match info:
        case inspect.AnyType():
            shape.unbounded = shape.floats = True
        case inspect.FloatType():
            shape.floats = True
        case inspect.IntType():
            shape.integers = True
        case inspect.RawType():
            shape.raw = shape.unbounded = True
        case inspect.CustomType(cls=cls) if is_protobuf(cls):
            shape.unbounded = True
        case inspect.CustomType(cls=cls):
            if not is_model(cls):
                part = "" if cls is type_ else f", which is part of {name_of(type_)}"
                raise UnsupportedType(
                    f"JSON cannot carry {name_of(cls)}{part}: "
                    "make it a dataclass, a TypedDict, a msgspec.Struct, an attrs class or a pydantic model"
                )
            shape.unbounded = shape.floats = True
        case _:
            pass
