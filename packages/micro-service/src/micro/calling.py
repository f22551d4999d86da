"""What a caller may say beside service, endpoint and request: the options of calls, streams and proxies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, cast

from micro_core import Call, Filter, Node, RPCError, ServiceRecord
from micro_core.suggest import did_you_mean

Where: TypeAlias = Mapping[str, str] | Callable[[ServiceRecord, Node], bool]
Key: TypeAlias = str | bytes


class CommonOptions(TypedDict, total=False):
    """What calls, streams and proxies may be given; explained at `Caller.call`."""

    timeout: float | None
    content_type: str | None
    metadata: Mapping[str, str] | None
    address: str | None
    version: str | None
    where: Where | None
    key: Key | None
    errors: Sequence[type[RPCError]]


class CallOptions(CommonOptions, total=False):
    """What a unary call may be given."""

    idempotent: bool | None
    retries: int | None


class StreamOptions(CommonOptions, total=False):
    """What a stream may be given."""

    request: Any


class ProxyOptions(CommonOptions, total=False):
    """What a proxy gives to each of its calls and streams, and its handler's name."""

    name: str | None


AnyOptions: TypeAlias = CallOptions | StreamOptions | ProxyOptions
OF_MAKING = frozenset({"timeout", "metadata", "errors"})
"""What every Call is made with, and so is no attribute to be set."""

_AS_THEY_ARE = frozenset({"content_type", "address", "idempotent", "retries"})


def attributes_of(options: AnyOptions, kind: type[Any]) -> dict[str, Any]:
    """The attributes of a Call that the options set, but for what every Call is made with.

    Raises TypeError for an option that the kind, one of the classes above, does not have.
    """
    if options.keys() <= OF_MAKING:
        return {}
    check(options, kind)
    given = cast("dict[str, Any]", options)
    attributes = {}
    for name, value in given.items():
        if name in _AS_THEY_ARE:
            attributes[name] = value
        elif name == "key":
            attributes[name] = key_of(value)
    if "version" in given or "where" in given:
        attributes["filter"] = filter_of(given.get("version"), given.get("where"))
    return attributes


def set_attributes(call: Call, options: AnyOptions, kind: type[Any]) -> None:
    """Sets what the options say. Raises what `attributes_of` raises."""
    for attribute, value in attributes_of(options, kind).items():
        setattr(call, attribute, value)


def check(options: AnyOptions, kind: type[Any]) -> None:
    """Raises TypeError for an option that the kind, one of the classes above, does not have."""
    known: frozenset[str] = kind.__optional_keys__
    if not options.keys() <= known:
        unknown = min(options.keys() - known)
        raise TypeError(f"unknown option {unknown!r}; {did_you_mean(unknown, known)}")


def filter_of(version: str | None, where: Where | None) -> Filter | None:
    """The nodes that a caller asks for, or None for any. Raises ValueError for two versions."""
    if version is None and where is None:
        return None
    if where is None or callable(where):
        return Filter(version, predicate=where)
    labels = dict(where)
    wanted = labels.pop("version", version)
    if version not in (None, wanted):
        raise ValueError(f"no node is of two versions: version={version!r}, where={{'version': {wanted!r}}}")
    return Filter(wanted, labels=frozenset(labels.items()))


def key_of(key: Key | None) -> bytes | None:
    """An affinity key as selectors take it."""
    return key.encode() if isinstance(key, str) else key
