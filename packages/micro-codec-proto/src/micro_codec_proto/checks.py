"""What the library lets through and a handler must not meet, looked for only in types where it can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

_NO_UTF8 = b"\xff"
_LENGTH_DELIMITED = 2


def may_lack(cls: type[Message]) -> bool:
    """Whether a field can be missing that is required, in messages of a type or inside of them."""
    types = _reachable(cls.DESCRIPTOR)
    return any(type_.is_extendable or any(field.is_required for field in type_.fields) for type_ in types)


def takes_any_bytes(cls: type[Message]) -> bool:
    """Whether a text that is not UTF-8 is accepted, in messages of a type or inside of them."""
    types = _reachable(cls.DESCRIPTOR)
    return any(type_.is_extendable or any(_takes_any_bytes(type_, field) for field in type_.fields) for type_ in types)


def _reachable(descriptor: Any) -> Iterable[Descriptor]:
    found = {descriptor.full_name: descriptor}
    left = [descriptor]
    while left:
        for field in left.pop().fields:
            inner = field.message_type
            if inner is not None and inner.full_name not in found:
                found[inner.full_name] = inner
                left.append(inner)
    return found.values()


def _takes_any_bytes(type_: Descriptor, field: FieldDescriptor) -> bool:
    """Whether a text that is not UTF-8 is accepted: it is tried, for neither syntax nor edition settle it."""
    if field.type != FieldDescriptor.TYPE_STRING:
        return False
    probe = _varint(field.number << 3 | _LENGTH_DELIMITED) + _varint(len(_NO_UTF8)) + _NO_UTF8
    try:
        GetMessageClass(type_).FromString(probe)
    except (DecodeError, UnicodeDecodeError):  # the latter by the library in pure Python
        return False
    return True


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def unreadable(message: Message) -> str:
    """The path of a text that is not UTF-8, or an empty text. What was read from ASCII holds none."""
    return next(_bytes_for_text(message), "")


def _bytes_for_text(message: Message) -> Iterator[str]:
    """The paths of fields that hold bytes where their type says text."""
    for field, value in message.ListFields():
        for part in _parts(field, value):
            if part is None or (isinstance(part, bytes) and field.type != FieldDescriptor.TYPE_BYTES):
                yield field.name
            elif isinstance(part, Message):
                yield from (f"{field.name}.{path}" for path in _bytes_for_text(part))


def _parts(field: FieldDescriptor, value: Any) -> Iterable[Any]:
    """The single values of a field, None for a map with a key that cannot be read."""
    if not field.is_repeated:
        return (value,)
    if not _is_map(field):
        return value  # type: ignore[no-any-return]
    entry: Any = field.message_type
    try:
        pairs = list(value.items())
    except UnicodeDecodeError:
        return (None,)
    told = 1 if entry.fields_by_name["value"].type == FieldDescriptor.TYPE_BYTES else 2
    return [part for pair in pairs for part in pair[:told]]
