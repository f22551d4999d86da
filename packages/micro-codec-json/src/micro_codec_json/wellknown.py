"""The messages of protobuf itself that have a JSON form of their own, and how Go Micro before 1.7 wrote them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2, wrappers_pb2
from micro_schema.misfit import Misfit, expected

from micro_codec_json.scalars import READERS, WRITERS, Write, write_double


@dataclass(frozen=True, slots=True)
class Form:
    """A JSON form.

    Attributes:
        fill: puts a JSON value into an empty message; raises Misfit.
        write: from a message to JSON; raises ValueError.
        objects: whether an object is of this form, too, rather than the message's fields one by one.
        null: whether null is of this form.
    """

    fill: Callable[[Any, Any], None]
    write: Write
    objects: bool = False
    null: bool = False


def _texts(what: str) -> Form:
    def fill(message: Any, value: Any) -> None:
        if type(value) is not str:
            raise expected(what, value)
        try:
            message.FromJsonString(value)
        except Exception as error:
            raise Misfit(("", f"Invalid {what}: {error}")) from None

    return Form(fill, lambda message: message.ToJsonString())


def _wrapper(cls: type[Any]) -> Form:
    kind = cls.DESCRIPTOR.fields_by_name["value"].type
    read, write = READERS[kind], WRITERS.get(kind)

    def fill(message: Any, value: Any) -> None:
        message.value = read(value)

    return Form(fill, lambda message: message.value if write is None else write(message.value))


def _fill_value(message: struct_pb2.Value, value: Any) -> None:
    match value:
        case None:
            message.null_value = struct_pb2.NULL_VALUE
        case bool():
            message.bool_value = value
        case str():
            message.string_value = value
        case dict():
            message.struct_value.SetInParent()
            _fill_struct(message.struct_value, value)
        case list():
            message.list_value.SetInParent()
            _fill_list(message.list_value, value)
        case _:
            message.number_value = value


def _fill_struct(message: struct_pb2.Struct, value: Any) -> None:
    if type(value) is not dict:
        raise expected("object", value)
    for key, part in value.items():
        _fill_value(message.fields[key], part)


def _fill_list(message: struct_pb2.ListValue, value: Any) -> None:
    if type(value) is not list:
        raise expected("array", value)
    for part in value:
        _fill_value(message.values.add(), part)


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
    "google.protobuf.Timestamp": _texts("timestamp"),
    "google.protobuf.Duration": _texts("duration"),
    "google.protobuf.FieldMask": _texts("field mask"),
    "google.protobuf.Value": Form(_fill_value, _write_value, objects=True, null=True),
    "google.protobuf.Struct": Form(_fill_struct, _write_struct, objects=True),
    "google.protobuf.ListValue": Form(_fill_list, _write_list),
    **{cls.DESCRIPTOR.full_name: _wrapper(cls) for cls in _WRAPPERS},
}
"""By the full name of the message."""
