"""The fields of an error class that a user made, and what of them may cross the wire.

    class EmailTaken(Conflict):
        email: str                            raise EmailTaken("taken", email="a@b")
        suggestion: str | None = None

    →  Micro-Error: {"id":…,"code":409,"detail":"taken","status":…,"type":"EmailTaken","details":{"email":"a@b",…}}

A field is an annotation of the class or of a base that a user made; `ClassVar` is none. It holds what JSON does: str,
int, float, bool, None, lists, tuples, dicts with str keys, Literal, Enum, unions of these. Go Micro leaves the two
members out, as `encoding/json` does with every member that a struct does not have (WIRE §5.3).

What arrives is a stranger's word. It becomes an attribute only of a class that the caller named, only where the code is
the class's, and only when every field is of its type; nothing of it is ever looked up or imported.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

MAX_DETAILS = 2048
"""Bytes of the JSON of an error's details; a head has to hold them (WIRE §5.3)."""


def field_names(cls: type[Any], reserved: frozenset[str]) -> tuple[str, ...]:
    """The fields that a class body declares. Raises TypeError for one that cannot be one."""
    names = tuple(name for name, hint in _annotations(cls).items() if not _is_class_variable(hint))
    for name in names:
        if name in reserved or name.startswith("_"):
            raise TypeError(f"{cls.__qualname__}.{name} cannot be a detail: every error has an attribute of that name")
        if type(vars(cls).get(name)).__hash__ is None:
            raise TypeError(f"{cls.__qualname__}.{name}: its default would be shared by all errors; write a tuple")
    return names


def _annotations(cls: type[Any]) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    found: Mapping[str, Any] = vars(cls).get("__annotations__", {})
    return found


def _is_class_variable(hint: Any) -> bool:
    return "ClassVar" in (hint if isinstance(hint, str) else repr(hint)).partition("[")[0]


def assign(error: Any, names: Sequence[str], given: Mapping[str, Any], *, complete: bool) -> None:
    """Sets the fields of an error. Raises TypeError for an unknown one and, if `complete`, for one that is missing."""
    title = type(error).__qualname__
    for name in given:
        if name not in names:
            known = f"its fields are {', '.join(names)}" if names else "it has no fields"
            raise TypeError(f"{title}() got an unexpected argument {name!r}; {known}")
    missing = [name for name in names if name not in given and not hasattr(error, name)]
    if missing and complete:
        raise TypeError(f"{title}() needs {', '.join(f'{name}=' for name in missing)}")
    for name, value in given.items():
        setattr(error, name, value)


def field_types(cls: type[Any]) -> Mapping[str, Any]:
    """The annotations of a class's fields. Raises TypeError for one that details cannot hold, or cannot be read."""
    try:
        hints = get_type_hints(cls)
    except Exception as error:
        raise TypeError(f"the annotations of {cls.__qualname__} cannot be read: {error}") from None
    found = {name: hints[name] for name in cls.__micro_details__}
    for name, hint in found.items():
        if not _holds_json(hint):
            raise TypeError(
                f"{cls.__qualname__}.{name}: details hold str, int, float, bool, None, lists, tuples, dicts with str "
                f"keys, Literal, Enum and unions of these, not {hint!r}"
            )
    return found


_PLAIN = (Any, None, type(None), str, int, float, bool, list, dict)


def _holds_json(hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType, list):
        return all(_holds_json(each) for each in arguments)
    if origin is tuple:
        return all(each is ... or _holds_json(each) for each in arguments)
    if origin is dict:
        return arguments[0] is str and _holds_json(arguments[1])
    return origin is Literal or hint in _PLAIN or (isinstance(hint, type) and issubclass(hint, Enum))


def read_fields(cls: type[Any], details: Mapping[str, Any]) -> dict[str, Any]:
    """What the details say, by field, each of its type; members that the class does not know are left out.

    Raises:
        ValueError: a field is missing or of another type.
        TypeError: as `field_types`.
    """
    found: dict[str, Any] = {}
    for name, hint in field_types(cls).items():
        if name in details:
            found[name] = _read(hint, details[name])
        elif not hasattr(cls, name):
            raise ValueError(f"{name!r} is missing")
    return found


def _read(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value)
    if origin is Literal:
        return _checked(value, any(type(value) is type(each) and value == each for each in arguments))
    if origin is list or origin is dict or origin is tuple:
        return _read_container(origin, arguments, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if hint is float and type(value) is int:
        return float(value)
    return _checked(value, value is None if hint is None else type(value) is hint)


def _read_container(origin: type[Any], arguments: tuple[Any, ...], value: Any) -> Any:
    _checked(value, type(value) is (dict if origin is dict else list))
    if origin is dict:
        return {key: _read(arguments[1], each) for key, each in value.items()}
    if origin is list:
        return [_read(arguments[0], each) for each in value]
    if arguments[1:] == (...,):
        return tuple(_read(arguments[0], each) for each in value)
    return tuple(_read(hint, each) for hint, each in zip(arguments, value, strict=True))


def _read_union(arguments: tuple[Any, ...], value: Any) -> Any:
    exact = [hint for hint in arguments if type(value) is hint]
    for hint in (*exact, *arguments):
        try:
            return _read(hint, value)
        except ValueError:
            continue
    return _checked(value, False)


def _checked(value: Any, fits: bool) -> Any:
    if not fits:
        raise ValueError(f"{type(value).__name__} does not fit")
    return value


def json_of(details: Mapping[str, Any]) -> dict[str, Any]:
    """Details as plain JSON values.

    Raises:
        ValueError: JSON cannot hold one, or they are larger than MAX_DETAILS.
    """
    try:
        text = json.dumps(details, separators=(",", ":"), allow_nan=False, default=_plain)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if len(text) > MAX_DETAILS:
        raise ValueError(f"they are {len(text)} bytes, and {MAX_DETAILS} is the most")
    found: dict[str, Any] = json.loads(text)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"a {type(value).__qualname__} is no JSON")
