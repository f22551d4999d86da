"""The messages of protobuf itself that have a JSON form of their own, and how Go Micro before 1.7 wrote them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.message import Message

from micro_codec_json.misfit import Misfit, expected
from micro_codec_json.scalars import READERS, WRITERS, Read, Write, write_double


@dataclass(frozen=True, slots=True)
class Form:
    """A JSON form.

    Attributes:
        read: from JSON; raises Misfit.
        write: to JSON; raises ValueError.
        objects: whether an object is of this form, too, rather than the message's fields one by one.
        null: whether null is of this form.
    """

    read: Read
    write: Write
    objects: bool = False
    null: bool = False


def _texts(cls: Callable[[], Any], what: str) -> Form:
    def read(value: Any) -> Message:
        if type(value) is not str:
            raise expected(what, value)
        message: Any = cls()
        try:
            message.FromJsonString(value)
        except Exception as error:
            raise Misfit(("", f"Invalid {what}: {error}")) from None
        return message  # type: ignore[no-any-return]

    return Form(read, lambda message: message.ToJsonString())


def _wrapper(cls: type[Any]) -> Form:
    kind = cls.DESCRIPTOR.fields_by_name["value"].type
    read, write = READERS[kind], WRITERS.get(kind)
    return Form(
        lambda value: cls(value=read(value)),
        (lambda message: write(message.value)) if write else (lambda message: message.value),
    )


def _read_value(value: Any) -> struct_pb2.Value:
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=value)
        case str():
            return struct_pb2.Value(string_value=value)
        case dict():
            return struct_pb2.Value(struct_value=_read_struct(value))
        case list():
            return struct_pb2.Value(list_value=_read_list(value))
        case _:
            return struct_pb2.Value(number_value=value)


def _read_struct(value: Any) -> struct_pb2.Struct:
    if type(value) is not dict:
        raise expected("object", value)
    return struct_pb2.Struct(fields={key: _read_value(part) for key, part in value.items()})


def _read_list(value: Any) -> struct_pb2.ListValue:
    if type(value) is not list:
        raise expected("array", value)
    return struct_pb2.ListValue(values=map(_read_value, value))


def _write_value(message: struct_pb2.Value) -> Any:
    match message.WhichOneof("kind"):
        case "number_value":
            number = write_double(message.number_value)
            return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
        case "string_value":
            return message.string_value
        case "bool_value":
            return message.bool_value
        case "struct_value":
            return _write_struct(message.struct_value)
        case "list_value":
            return _write_list(message.list_value)
        case _:
            return None


def _write_struct(message: struct_pb2.Struct) -> dict[str, Any]:
    return {key: _write_value(part) for key, part in message.fields.items()}


def _write_list(message: struct_pb2.ListValue) -> list[Any]:
    return list(map(_write_value, message.values))


_WRAPPERS = (
    wrappers_pb2.BoolValue,
    wrappers_pb2.BytesValue,
    wrappers_pb2.DoubleValue,
    wrappers_pb2.FloatValue,
    wrappers_pb2.Int32Value,
    wrappers_pb2.Int64Value,
    wrappers_pb2.StringValue,
    wrappers_pb2.UInt32Value,
    wrappers_pb2.UInt64Value,
)

FORMS: dict[str, Form] = {
    "google.protobuf.Timestamp": _texts(timestamp_pb2.Timestamp, "timestamp"),
    "google.protobuf.Duration": _texts(duration_pb2.Duration, "duration"),
    "google.protobuf.FieldMask": _texts(field_mask_pb2.FieldMask, "field mask"),
    "google.protobuf.Value": Form(_read_value, _write_value, objects=True, null=True),
    "google.protobuf.Struct": Form(_read_struct, _write_struct, objects=True),
    "google.protobuf.ListValue": Form(_read_list, _write_list),
    **{cls.DESCRIPTOR.full_name: _wrapper(cls) for cls in _WRAPPERS},
}
"""By the full name of the message."""
