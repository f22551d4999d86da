"""Pydantic models and protobuf messages, recognised without importing either: whoever has one has imported it.

An annotation that mentions a model (`User`, `list[User]`, `User | Admin`) is pydantic's altogether, by a TypeAdapter. A
model inside of a dataclass or Struct is given to pydantic by msgspec's hooks, and so are messages, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from micro_core import Buffer, Decode, Encode, UnsupportedType
from micro_core.codec import is_protobuf

from micro_codec_json.misfit import Misfit

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


def adapter(type_: Any) -> TypeAdapter[Any]:
    """Pydantic's adapter of an annotation. Raises UnsupportedType."""
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(type_)
    except Exception as error:
        raise UnsupportedType(f"JSON cannot carry {type_!r}: {error}") from error


def dumper(adapter: TypeAdapter[Any]) -> Encode:
    """Values to bytes; a value that is not of the type is an error instead of pydantic's warning."""
    dump = adapter.dump_json

    def encode(value: Any) -> bytes:
        return dump(value, by_alias=True, warnings="error")

    return encode


def loader(adapter: TypeAdapter[Any]) -> Decode:
    """Bytes to values; pydantic's own reader takes NaN, so bodies that may hold one are read by msgspec first."""
    validate = adapter.validate_json

    def decode(body: Buffer) -> Any:
        text = body if isinstance(body, bytes) else bytes(body)
        if b"NaN" in text or b"Infinity" in text:
            msgspec.json.decode(text)
        return validate(text)

    return decode


def enc_hook(value: Any) -> Any:
    """A model or a message inside of something else, as JSON."""
    if is_model(type(value)):
        return msgspec.Raw(value.model_dump_json(by_alias=True, warnings="error").encode())
    if is_protobuf(type(value)):
        return _messages().plain_of(value)
    raise TypeError(f"there is no JSON for {type(value).__module__}.{type(value).__qualname__}")


def dec_hook(type_: type[Any], value: Any) -> Any:
    """A model or a message inside of something else, from what msgspec read."""
    if is_protobuf(type_):
        return _messages().message_of(type_, value)
    return type_.model_validate_json(msgspec.json.encode(value))


@cache
def _messages() -> Any:
    from micro_codec_json import messages

    return messages


def to_builtins(value: Any) -> Any:
    """Plain dicts, lists and scalars, NaN included."""
    return msgspec.to_builtins(value, enc_hook=_dump)


def _dump(value: Any) -> Any:
    return value.model_dump() if is_model(type(value)) else enc_hook(value)


def explain(error: Exception) -> str:
    """What was wrong and where, on one line: `$.users[0].name` is the path."""
    if isinstance(error.__cause__, Misfit):
        return error.__cause__.within(str(error))
    errors: Callable[[], list[dict[str, Any]]] | None = getattr(error, "errors", None)
    if errors is None:
        return str(error) or type(error).__name__
    first = errors()[0]
    path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return f"{first['msg']} - at `{path}`"
