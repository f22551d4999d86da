"""Required fields of protobuf messages that are unset. The library has a search of its own, which is not used.

It ends the process where a message that holds a map stands in front of one that lacks a field (upb of protobuf 7.36),
and a peer chooses what it sends. For the same reason a message that lacks one is not given to `SerializeToString`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from micro_schema.misfit import MOST


def lacking(message: Any) -> list[str]:
    """The paths of required fields that are unset, such as `children[0].name`; twenty at most."""
    return [] if message.IsInitialized() else list(islice(_lacking(message), MOST))


def _lacking(message: Any) -> Iterator[str]:
    for field in message.DESCRIPTOR.fields:
        if field.is_required and not message.HasField(field.name):
            yield field.name
    for field, value in message.ListFields():
        if field.message_type is not None:
            name = f"({field.full_name})" if field.is_extension else field.name
            for step, part in _messages(field, value):
                yield from (f"{name}{step}.{path}" for path in _lacking(part))


def _messages(field: Any, value: Any) -> Iterable[tuple[str, Any]]:
    """The messages in a field, each with the step to it."""
    if not field.is_repeated:
        return (("", value),)
    if not field.message_type.GetOptions().map_entry:
        return ((f"[{index}]", part) for index, part in enumerate(value))
    if field.message_type.fields_by_name["value"].message_type is None:
        return ()
    return ((f"[{key!r}]", part) for key, part in value.items())
