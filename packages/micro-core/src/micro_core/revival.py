"""Errors of users' own classes on their way: what is told of them, and how a caller gets them back (WIRE §5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

from micro_core.details import field_types, json_of, read_fields
from micro_core.errors import ConfigurationError, RPCError


def to_wire(error: RPCError) -> tuple[str, dict[str, Any]]:
    """The name and the details of a user's class, as JSON holds them; an empty name for any other error.

    Raises:
        ValueError: the details are no JSON, or too large for a head; the caller should be told without them.
    """
    name = error.type_name
    return (name, json_of(error.details)) if name else ("", {})


def _is_users(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, RPCError) and kind.__module__ != RPCError.__module__


@lru_cache(maxsize=256)
def _named(errors: tuple[Any, ...]) -> Mapping[str, type[RPCError]]:
    found: dict[str, type[RPCError]] = {}
    for kind in errors:
        if not _is_users(kind):
            raise ConfigurationError(f"errors=… names classes of your own under micro.errors.RPCError, not {kind!r}")
        if found.setdefault(kind.__name__, kind) is not kind:
            raise ConfigurationError(f"errors=… names two classes {kind.__name__}")
        try:
            field_types(kind)
        except TypeError as error:
            raise ConfigurationError(f"errors=…: {error}") from None
    return MappingProxyType(found)


def check_named(errors: Sequence[type[RPCError]]) -> Mapping[str, type[RPCError]]:
    """The classes that a caller wants revived, by name. Raises ConfigurationError for what cannot be revived."""
    return _named(tuple(errors))


def revive(error: RPCError, errors: Sequence[type[RPCError]]) -> RPCError:
    """The error as the class that the server raised it as, if the caller named it; else the error itself.

    The name, the code and the type of every field must fit; whatever does not gives the error as it came, never an
    exception. The constructor of a user's class is not run.
    """
    kind = check_named(errors).get(error.type_name)
    if kind is None or kind.default_code != error.code or isinstance(error, kind):
        return error
    try:
        fields = read_fields(kind, error.details)
        revived = kind.__new__(kind, error.detail)
        RPCError.__init__(revived, error.detail, **fields)
        state = {name: value for name, value in error.__dict__.items() if name not in ("_type_name", "_details")}
        revived.__dict__.update(state)
    except Exception:
        return error
    return revived.with_traceback(error.__traceback__)


def raise_revived(error: RPCError, errors: Sequence[type[RPCError]]) -> NoReturn:
    """Raises what `revive` gives, with the cause of the error that came."""
    revived = revive(error, errors)
    if revived is error:
        raise error
    raise revived from error.__cause__
