"""Pydantic models, recognised without importing pydantic: whoever has one has imported it.

An annotation that mentions a model (`User`, `list[User]`, `User | Admin`) is pydantic's altogether, by a TypeAdapter. A
model inside of a dataclass or Struct is given to pydantic by msgspec's hooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from micro_core import UnsupportedType

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def is_model(cls: object) -> bool:
    """Whether it is a class that pydantic made: a BaseModel or a pydantic dataclass."""
    return isinstance(cls, type) and hasattr(cls, "__pydantic_validator__")


def mentions_model(type_: Any) -> bool:
    """Whether a model stands in the annotation itself, not inside of a class that it names."""
    if is_model(type_):
        return True
    alias = getattr(type_, "__value__", None)  # type X = … of Python 3.12
    return mentions_model(alias) if alias is not None else any(map(mentions_model, get_args(type_)))


def adapter(type_: Any, form: str) -> TypeAdapter[Any]:
    """Pydantic's adapter of an annotation. Raises UnsupportedType."""
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(type_)
    except Exception as error:
        raise UnsupportedType(f"{form} cannot carry {type_!r}: {error}") from error
