"""What an annotation can hold, found out once, when its encoder or decoder is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from micro_core import UnsupportedType
from micro_core.codec import is_protobuf
from msgspec import inspect

from micro_schema.models import is_model


@dataclass(slots=True)
class Shape:
    """What was found inside of a type.

    Attributes:
        floats, integers: whether it can hold one.
        unbounded: whether it can nest without end (`Any`, a type that holds itself, pydantic's business, a message).
        raw: whether it holds `msgspec.Raw`.
        keys: whether it names keys of a dict that are not texts.
    """

    floats: bool = False
    integers: bool = False
    unbounded: bool = False
    raw: bool = False
    keys: bool = False


def shape_of(type_: Any, form: str, *, messages: bool = False) -> Shape:
    """The shape of an annotation. Raises UnsupportedType, with the cure where there is one.

    Args:
        type_: the annotation.
        form: what the codec writes.
        messages: whether the codec carries protobuf messages; it sees to their numbers itself.
    """
    try:
        info = inspect.type_info(type_)
    except Exception as error:
        raise UnsupportedType(f"{form} cannot carry {name_of(type_)}: {error}{_cure(error)}") from error
    return _Look(type_, form, messages=messages).at(info)


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


def _tell(name: str) -> None:
    """Makes a name of a field one that msgspec finds.

    It compares names as UTF-8, which a text that is not ASCII has only once it was asked for, and asks for that of a
    Struct's fields alone (0.22).
    """
    if not name.isascii():
        msgspec.json.encode(name)


_CLASS = "make it a dataclass, a TypedDict, a msgspec.Struct, an attrs class or a pydantic model"
_MESSAGE = "protobuf messages are sent as application/protobuf or application/json"


class _Look:
    """One look at everything inside of a type."""

    def __init__(self, type_: Any, form: str, *, messages: bool) -> None:
        self._type = type_
        self._form = form
        self._messages = messages
        self._shape = Shape()
        self._open: set[int] = set()
        self._done: set[int] = set()

    def at(self, info: inspect.Type) -> Shape:
        """What was found so far, this included."""
        key = id(info)
        if key in self._open:
            self._shape.unbounded = True
        elif key not in self._done:
            self._open.add(key)
            self._note(info)
            for name in info.__struct_fields__:
                self._into(getattr(info, name))
            self._open.discard(key)
            self._done.add(key)
        return self._shape

    def _into(self, part: Any) -> None:
        if isinstance(part, inspect.Type):
            self.at(part)
        elif isinstance(part, inspect.Field):
            _tell(part.encode_name)
            self.at(part.type)
        elif isinstance(part, tuple):
            for item in part:
                self._into(item)

    def _note(self, info: inspect.Type) -> None:
        shape = self._shape
        match info:
            case inspect.AnyType():
                shape.unbounded = shape.floats = True
            case inspect.FloatType():
                shape.floats = True
            case inspect.IntType():
                shape.integers = True
            case inspect.RawType():
                shape.raw = shape.unbounded = True
            case inspect.DictType(key_type=key) if not isinstance(key, inspect.StrType | inspect.AnyType):
                shape.keys = True
            case inspect.CustomType(cls=cls) if is_protobuf(cls) and self._messages:
                shape.unbounded = True
            case inspect.CustomType(cls=cls):
                self._model(cls)
                shape.unbounded = shape.floats = True
            case _:
                pass

    def _model(self, cls: type[Any]) -> None:
        if is_model(cls):
            return
        part = "" if cls is self._type else f", which is part of {name_of(self._type)}"
        raise UnsupportedType(
            f"{self._form} cannot carry {name_of(cls)}{part}: {_MESSAGE if is_protobuf(cls) else _CLASS}"
        )
