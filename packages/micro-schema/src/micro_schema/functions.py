"""The functions that a codec gives: they raise UnsupportedType or DecodeError, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from micro_core import Buffer, Decode, DecodeError, Encode, UnsupportedType

from micro_schema.checks import MAX_DEPTH
from micro_schema.problems import problems

Mend: TypeAlias = Callable[[Buffer, Exception], Any]
"""What is done about bytes that were refused: read them in another way, or raise DecodeError."""


def encoding(plain: Encode, type_: Any, form: str) -> Encode:
    """`plain`, whose errors become UnsupportedType."""

    def encode(value: Any) -> bytes:
        try:
            return plain(value)
        except Exception as error:
            raise unsupported(value, type_, form, error) from error

    return encode


def decoding(plain: Decode, mend: Mend) -> Decode:
    """`plain`, whose errors are given to `mend`."""

    def decode(body: Buffer) -> Any:
        try:
            return plain(body)
        except Exception as error:
            return mend(body, error)

    return decode


def refusing(type_: Any, form: str) -> Mend:
    """Raises DecodeError, with every problem and its path."""

    def refuse(body: Buffer, error: Exception) -> NoReturn:
        if isinstance(error, RecursionError):
            raise DecodeError(f"nested deeper than {MAX_DEPTH} levels") from error
        raise DecodeError(f"this is not the {form} of {_name(type_)}: {problems(error)}") from error

    return refuse


def unsupported(value: Any, type_: Any, form: str, error: Exception) -> UnsupportedType:
    """What is said of a value that cannot be written."""
    what = f"this {type(value).__qualname__} cannot be written as {form} of {_name(type_)}"
    return UnsupportedType(f"{what}: {problems(error)}")


def _name(type_: Any) -> str:
    return type_.__qualname__ if isinstance(type_, type) and not hasattr(type_, "__args__") else repr(type_)
