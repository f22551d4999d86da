"""Protobuf messages as JSON; imported when the first one is met (WIRE §5.2).

What goes out is what every release of Go Micro reads: names as the .proto file has them, integers of 64 bits and enums
as numbers, no field that is unset, unknown or an extension. What comes in is what any of them writes: names in either
spelling, numbers quoted or not, enums by name or number, timestamps and wrappers as protobuf's own JSON has them or as
the fields of their message; null is an unset field. Unknown names are passed over, and where a field comes twice the
last one counts.

A type is laid out once, when its first message is met: what reads and writes each field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from micro_schema import lacking
from micro_schema.misfit import MOST, Misfit, expected

from micro_codec_json.scalars import READERS, WRITERS, Read, Write, enum
from micro_codec_json.wellknown import FORMS, Form

Fill: TypeAlias = Callable[[Message, Any], None]


def plain_of(message: Message) -> Any:
    """What of a message is written as JSON. Raises ValueError where JSON cannot carry it."""
    return layout_of(message.DESCRIPTOR).write(message)


def message_of(cls: type[Message], value: Any) -> Message:
    """The message that a JSON value describes. Raises Misfit with everything that is wrong with it."""
    message = cls()
    layout_of(cls.DESCRIPTOR).fill(message, value)
    missing = lacking(message)
    if missing:
        raise Misfit(*((f".{path}", "Object missing required field") for path in missing))
    return message


class Layout:
    """How messages of a class are read and written: by their form where protobuf gives one, else by their fields."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.form = _ANY if descriptor.full_name == "google.protobuf.Any" else FORMS.get(descriptor.full_name)
        self.cls: type[Message] = GetMessageClass(descriptor)
        self._fields = descriptor.fields

    def fill(self, message: Message, value: Any) -> None:
        """Puts a JSON value into an empty message. Raises Misfit."""
        form = self.form
        if form is not None and (form.objects or type(value) is not dict):
            form.fill(message, value)
        else:
            self.fill_fields(message, value)

    def fill_fields(self, message: Message, value: Any) -> None:
        """Puts a JSON object that names its fields into an empty message. Raises Misfit."""
        if type(value) is not dict:
            raise expected("object", value)
        by_key, filled = self._by_key, dict[str, str]()
        problems: list[tuple[str, str]] = []
        for key, part in value.items():
            field = by_key.get(key)
            if field is None or (part is None and not field.null):
                continue
            try:
                before = filled.setdefault(field.choice, field.name)
                if before != field.name:
                    raise Misfit(("", f"Beside `{before}`, which excludes it"))
                field.fill(message, part)
            except Misfit as error:
                problems += error.below(key)
                if len(problems) >= MOST:
                    break
        if problems:
            raise Misfit(*problems)

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
        choice: the name of the `oneof` that it is part of, else its own.
        null: whether null is a value of it, not its absence.
        fill: puts a JSON value into the field of a message, in place of what is there; raises Misfit.
        write: from the field's whole value to JSON; None where it is JSON as it is.
    """

    __slots__ = ("choice", "fill", "name", "null", "write")

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        self.choice = field.name if field.containing_oneof is None else field.containing_oneof.name
        inner = field.message_type
        self.null = not field.is_repeated and inner is not None and (FORMS.get(inner.full_name) or _ANY).null
        self.fill: Fill
        self.write: Write | None
        if inner is not None and inner.GetOptions().map_entry:
            self.fill, self.write = _map(field.name, inner)
        elif field.is_repeated:
            self.fill, self.write = _repeated(field)
        else:
            self.fill, self.write = _single(field)


def _each(parts: Iterable[tuple[Any, Any]], take: Callable[[Any, Any], None]) -> None:
    """Takes every part of a list or map, by its index or key. Raises Misfit with the problems of all."""
    problems: list[tuple[str, str]] = []
    for key, part in parts:
        try:
            take(key, part)
        except Misfit as error:
            problems += error.below(key)
            if len(problems) >= MOST:
                break
    if problems:
        raise Misfit(*problems)


def _reader(field: FieldDescriptor) -> Read:
    return READERS[field.type] if field.enum_type is None else enum(field.enum_type)


def _single(field: FieldDescriptor) -> tuple[Fill, Write | None]:
    name = field.name
    if field.message_type is None:
        read = _reader(field)
        return lambda message, value: setattr(message, name, read(value)), WRITERS.get(field.type)
    layout = layout_of(field.message_type)

    def fill(message: Message, value: Any) -> None:
        message.ClearField(name)
        part = getattr(message, name)
        part.SetInParent()
        layout.fill(part, value)

    return fill, layout.write


def _repeated(field: FieldDescriptor) -> tuple[Fill, Write]:
    layout = None if field.message_type is None else layout_of(field.message_type)
    read = None if layout is not None else _reader(field)
    write = WRITERS.get(field.type) if layout is None else layout.write
    name = field.name

    def fill(message: Message, value: Any) -> None:
        if type(value) is not list:
            raise expected("array", value)
        message.ClearField(name)
        items = getattr(message, name)
        if read is not None:
            _each(enumerate(value), lambda _, part: items.append(read(part)))
        elif layout is not None:
            _each(enumerate(value), lambda _, part: layout.fill(items.add(), part))

    return fill, list if write is None else lambda value: list(map(write, value))


def _map(name: str, entry: Descriptor) -> tuple[Fill, Write]:
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    truths = key_field.type == FieldDescriptor.TYPE_BOOL
    read_key = _read_truth if truths else READERS[key_field.type]
    layout = None if value_field.message_type is None else layout_of(value_field.message_type)
    read = None if layout is not None else _reader(value_field)
    write = WRITERS.get(value_field.type) if layout is None else layout.write

    def fill(message: Message, value: Any) -> None:
        if type(value) is not dict:
            raise expected("object", value)
        message.ClearField(name)
        items = getattr(message, name)
        if read is not None:
            _each(value.items(), lambda key, part: items.__setitem__(read_key(key), read(part)))
        elif layout is not None:
            _each(value.items(), lambda key, part: layout.fill(_emptied(items[read_key(key)]), part))

    def write_all(value: Any) -> dict[Any, Any]:
        parts = value.items() if write is None else ((key, write(part)) for key, part in value.items())
        return {str(key).lower(): part for key, part in parts} if truths else dict(parts)

    return fill, write_all


def _emptied(message: Message) -> Message:
    """Two keys may be one: `1` and `01`."""
    message.Clear()
    return message


def _read_truth(key: str) -> bool:
    if key not in ("true", "false"):
        raise expected("bool", key)
    return key == "true"


def _fill_any(message: Any, value: Any) -> None:
    url = value.get("@type") if type(value) is dict else None
    if type(url) is not str:
        layout_of(message.DESCRIPTOR).fill_fields(message, value)
        return
    layout = _layout_named(url)
    inner = layout.cls()
    fields = {key: part for key, part in value.items() if key != "@type"}
    layout.fill(inner, fields if layout.form is None else fields.get("value"))
    message.type_url, message.value = url, inner.SerializePartialToString()


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


_ANY = Form(_fill_any, _write_any, objects=True)
