"""Protobuf messages as JSON; imported when the first one is met (WIRE §5.2).

What goes out is what every release of Go Micro reads: names as the .proto file has them, integers of 64 bits and enums
as numbers, no field that is unset, unknown or an extension. What comes in is what any of them writes: names in either
spelling, numbers quoted or not, enums by name or number, timestamps and wrappers as protobuf's own JSON has them or as
the fields of their message; null is an unset field. Unknown names are passed over, and where a field comes twice the
last one counts.

A type is laid out once, when its first message is met: what reads and writes each field.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from micro_codec_json.misfit import MOST, Misfit, expected
from micro_codec_json.scalars import READERS, WRITERS, Read, Write, enum
from micro_codec_json.wellknown import FORMS, Form


def plain_of(message: Message) -> Any:
    """What of a message is written as JSON. Raises ValueError where JSON cannot carry it."""
    return layout_of(message.DESCRIPTOR).write(message)


def message_of(cls: type[Message], value: Any) -> Message:
    """The message that a JSON value describes. Raises Misfit with everything that is wrong with it."""
    message = layout_of(cls.DESCRIPTOR).read(value)
    if not message.IsInitialized():
        missing: list[str] = message.FindInitializationErrors()  # type: ignore[attr-defined]
        raise Misfit(*((f".{path}", "Object missing required field") for path in missing))
    return message


class Layout:
    """How messages of a class are read and written: by their form where protobuf gives one, else by their fields."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.form = _ANY if descriptor.full_name == "google.protobuf.Any" else FORMS.get(descriptor.full_name)
        self.cls: type[Message] = GetMessageClass(descriptor)
        self._fields = descriptor.fields

    def read(self, value: Any) -> Message:
        """The message of a JSON value. Raises Misfit."""
        form = self.form
        if form is not None and (form.objects or type(value) is not dict):
            message: Message = form.read(value)
            return message
        return self.read_fields(value)

    def read_fields(self, value: Any) -> Message:
        """The message of a JSON object that names its fields. Raises Misfit."""
        if type(value) is not dict:
            raise expected("object", value)
        given: dict[str, Any] = {}
        chosen: dict[str, str] = {}
        problems: list[tuple[str, str]] = []
        by_key = self._by_key
        for key, part in value.items():
            field = by_key.get(key)
            if field is None or (part is None and not field.null):
                continue
            try:
                given[field.name] = field.read(part)
            except Misfit as error:
                problems += error.below(key)
                if len(problems) >= MOST:
                    break
            if field.oneof and chosen.setdefault(field.oneof, field.name) != field.name:
                problems.append((f".{key}", f"Beside `{chosen[field.oneof]}`, which excludes it"))
        if problems:
            raise Misfit(*problems)
        return self.cls(**given)

    def write(self, message: Message) -> Any:
        """The JSON value of a message. Raises ValueError."""
        return self.write_fields(message) if self.form is None else self.form.write(message)

    def write_fields(self, message: Message) -> dict[str, Any]:
        """The JSON object of a message's fields. Raises ValueError."""
        writers, written = self._by_number, dict[str, Any]()
        for field, value in message.ListFields():
            writer = writers.get(field.number)
            if writer is not None:  # else it is an extension
                written[writer.name] = writer.write(value) if writer.write is not None else value
        return written

    @cached_property
    def _by_number(self) -> dict[int, Field]:
        return {field.number: Field(field) for field in self._fields}

    @cached_property
    def _by_key(self) -> dict[str, Field]:
        """By both spellings of its name."""
        both = [(spelling, field.number) for field in self._fields for spelling in (field.json_name, field.name)]
        return {spelling: self._by_number[number] for spelling, number in both}


@lru_cache(maxsize=1024)
def layout_of(descriptor: Any) -> Layout:
    """The layout of a type; its fields are laid out when first needed, for types hold themselves."""
    return Layout(descriptor)


class Field:
    """One field of a layout.

    Attributes:
        name: as the .proto file has it.
        oneof: the name of the choice it is part of, or an empty text.
        null: whether null is a value of it, not its absence.
        read, write: of its whole value; nothing to write is as it is.
    """

    __slots__ = ("name", "null", "oneof", "read", "write")

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        self.oneof = field.containing_oneof.name if field.containing_oneof is not None else ""
        self.null = False
        self.read: Read
        self.write: Write | None
        if not field.is_repeated:
            self.read, self.write = _single(field)
            self.null = field.message_type is not None and (FORMS.get(field.message_type.full_name) or _ANY).null
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            self.read, self.write = _map(field.message_type)
        else:
            self.read, self.write = _repeated(*_single(field))


def _single(field: FieldDescriptor) -> tuple[Read, Write | None]:
    if field.message_type is not None:
        layout = layout_of(field.message_type)
        return layout.read, layout.write
    if field.enum_type is not None:
        return enum(field.enum_type), None
    return READERS[field.type], WRITERS.get(field.type)


def _repeated(read: Read, write: Write | None) -> tuple[Read, Write]:
    def read_all(value: Any) -> list[Any]:
        if type(value) is not list:
            raise expected("array", value)
        items: list[Any] = []
        problems: list[tuple[str, str]] = []
        for index, part in enumerate(value):
            try:
                items.append(read(part))
            except Misfit as error:
                problems += error.below(index)
                if len(problems) >= MOST:
                    break
        if problems:
            raise Misfit(*problems)
        return items

    return read_all, list if write is None else lambda value: list(map(write, value))


def _map(entry: Descriptor) -> tuple[Read, Write]:
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    read_key = _KEYS.get(key_field.type) or READERS[key_field.type]
    read, write = _single(value_field)
    truths = key_field.type == FieldDescriptor.TYPE_BOOL

    def read_all(value: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise expected("object", value)
        items: dict[Any, Any] = {}
        problems: list[tuple[str, str]] = []
        for key, part in value.items():
            try:
                items[read_key(key)] = read(part)
            except Misfit as error:
                problems += error.below(key)
                if len(problems) >= MOST:
                    break
        if problems:
            raise Misfit(*problems)
        return items

    def write_all(value: Any) -> dict[Any, Any]:
        parts = value.items() if write is None else ((key, write(part)) for key, part in value.items())
        return {str(key).lower(): part for key, part in parts} if truths else dict(parts)

    return read_all, write_all


def _read_truth(key: str) -> bool:
    if key not in ("true", "false"):
        raise expected("bool", key)
    return key == "true"


_KEYS: dict[int, Read] = {FieldDescriptor.TYPE_BOOL: _read_truth}
"""Kinds whose values are read in another way where they are keys."""


def _read_any(value: Any) -> Message:
    url = value.get("@type") if type(value) is dict else None
    if type(url) is not str:
        return layout_of(AnyMessage.DESCRIPTOR).read_fields(value)
    layout = _layout_named(url)
    fields = {key: part for key, part in value.items() if key != "@type"}
    message = layout.read(fields) if layout.form is None else layout.read(fields.get("value"))
    return AnyMessage(type_url=url, value=message.SerializePartialToString())


def _write_any(message: Any) -> dict[str, Any]:
    if not message.type_url:
        return {}
    layout = _layout_named(message.type_url)
    inner = layout.write(layout.cls.FromString(message.value))
    return {"@type": message.type_url, **(inner if layout.form is None else {"value": inner})}


def _layout_named(url: str) -> Layout:
    name = url.rpartition("/")[2]
    try:
        return layout_of(descriptor_pool.Default().FindMessageTypeByName(name))
    except KeyError:
        raise Misfit((".@type", f"Unknown message type {name[:80]!r}")) from None


_ANY = Form(_read_any, _write_any, objects=True)
