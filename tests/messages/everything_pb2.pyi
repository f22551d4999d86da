from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Color(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLOR_UNSPECIFIED: _ClassVar[Color]
    COLOR_RED: _ClassVar[Color]
    COLOR_BLUE: _ClassVar[Color]
    COLOR_DARK: _ClassVar[Color]
COLOR_UNSPECIFIED: Color
COLOR_RED: Color
COLOR_BLUE: Color
COLOR_DARK: Color

class Everything(_message.Message):
    __slots__ = ("an_int32", "an_int64", "a_uint32", "a_uint64", "a_sint32", "a_sint64", "a_fixed32", "a_fixed64", "a_sfixed32", "a_sfixed64", "a_float", "a_double", "a_bool", "a_string", "some_bytes", "color", "child", "numbers", "colors", "children", "counts", "by_number", "by_truth", "maybe", "a_text", "a_number", "a_child", "renamed", "at", "lasting", "mask", "object", "value", "list", "an_int64_value", "a_string_value", "a_bytes_value", "empty", "anything", "times", "a_double_value", "a_bool_value")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ByNumberEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: Everything
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[Everything, _Mapping]] = ...) -> None: ...
    class ByTruthEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: bool
        value: Color
        def __init__(self, key: bool = ..., value: _Optional[_Union[Color, str]] = ...) -> None: ...
    AN_INT32_FIELD_NUMBER: _ClassVar[int]
    AN_INT64_FIELD_NUMBER: _ClassVar[int]
    A_UINT32_FIELD_NUMBER: _ClassVar[int]
    A_UINT64_FIELD_NUMBER: _ClassVar[int]
    A_SINT32_FIELD_NUMBER: _ClassVar[int]
    A_SINT64_FIELD_NUMBER: _ClassVar[int]
    A_FIXED32_FIELD_NUMBER: _ClassVar[int]
    A_FIXED64_FIELD_NUMBER: _ClassVar[int]
    A_SFIXED32_FIELD_NUMBER: _ClassVar[int]
    A_SFIXED64_FIELD_NUMBER: _ClassVar[int]
    A_FLOAT_FIELD_NUMBER: _ClassVar[int]
    A_DOUBLE_FIELD_NUMBER: _ClassVar[int]
    A_BOOL_FIELD_NUMBER: _ClassVar[int]
    A_STRING_FIELD_NUMBER: _ClassVar[int]
    SOME_BYTES_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    CHILD_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    COLORS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    BY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    BY_TRUTH_FIELD_NUMBER: _ClassVar[int]
    MAYBE_FIELD_NUMBER: _ClassVar[int]
    A_TEXT_FIELD_NUMBER: _ClassVar[int]
    A_NUMBER_FIELD_NUMBER: _ClassVar[int]
    A_CHILD_FIELD_NUMBER: _ClassVar[int]
    RENAMED_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    LASTING_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    AN_INT64_VALUE_FIELD_NUMBER: _ClassVar[int]
    A_STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    A_BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
    EMPTY_FIELD_NUMBER: _ClassVar[int]
    ANYTHING_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    A_DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    A_BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    an_int32: int
    an_int64: int
    a_uint32: int
    a_uint64: int
    a_sint32: int
    a_sint64: int
    a_fixed32: int
    a_fixed64: int
    a_sfixed32: int
    a_sfixed64: int
    a_float: float
    a_double: float
    a_bool: bool
    a_string: str
    some_bytes: bytes
    color: Color
    child: Everything
    numbers: _containers.RepeatedScalarFieldContainer[int]
    colors: _containers.RepeatedScalarFieldContainer[Color]
    children: _containers.RepeatedCompositeFieldContainer[Everything]
    counts: _containers.ScalarMap[str, int]
    by_number: _containers.MessageMap[int, Everything]
    by_truth: _containers.ScalarMap[bool, Color]
    maybe: int
    a_text: str
    a_number: int
    a_child: Everything
    renamed: int
    at: _timestamp_pb2.Timestamp
    lasting: _duration_pb2.Duration
    mask: _field_mask_pb2.FieldMask
    object: _struct_pb2.Struct
    value: _struct_pb2.Value
    list: _struct_pb2.ListValue
    an_int64_value: _wrappers_pb2.Int64Value
    a_string_value: _wrappers_pb2.StringValue
    a_bytes_value: _wrappers_pb2.BytesValue
    empty: _empty_pb2.Empty
    anything: _any_pb2.Any
    times: _containers.RepeatedCompositeFieldContainer[_timestamp_pb2.Timestamp]
    a_double_value: _wrappers_pb2.DoubleValue
    a_bool_value: _wrappers_pb2.BoolValue
    def __init__(self, an_int32: _Optional[int] = ..., an_int64: _Optional[int] = ..., a_uint32: _Optional[int] = ..., a_uint64: _Optional[int] = ..., a_sint32: _Optional[int] = ..., a_sint64: _Optional[int] = ..., a_fixed32: _Optional[int] = ..., a_fixed64: _Optional[int] = ..., a_sfixed32: _Optional[int] = ..., a_sfixed64: _Optional[int] = ..., a_float: _Optional[float] = ..., a_double: _Optional[float] = ..., a_bool: bool = ..., a_string: _Optional[str] = ..., some_bytes: _Optional[bytes] = ..., color: _Optional[_Union[Color, str]] = ..., child: _Optional[_Union[Everything, _Mapping]] = ..., numbers: _Optional[_Iterable[int]] = ..., colors: _Optional[_Iterable[_Union[Color, str]]] = ..., children: _Optional[_Iterable[_Union[Everything, _Mapping]]] = ..., counts: _Optional[_Mapping[str, int]] = ..., by_number: _Optional[_Mapping[int, Everything]] = ..., by_truth: _Optional[_Mapping[bool, Color]] = ..., maybe: _Optional[int] = ..., a_text: _Optional[str] = ..., a_number: _Optional[int] = ..., a_child: _Optional[_Union[Everything, _Mapping]] = ..., renamed: _Optional[int] = ..., at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., lasting: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., object: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., list: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., an_int64_value: _Optional[_Union[_wrappers_pb2.Int64Value, _Mapping]] = ..., a_string_value: _Optional[_Union[_wrappers_pb2.StringValue, _Mapping]] = ..., a_bytes_value: _Optional[_Union[_wrappers_pb2.BytesValue, _Mapping]] = ..., empty: _Optional[_Union[_empty_pb2.Empty, _Mapping]] = ..., anything: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., times: _Optional[_Iterable[_Union[_timestamp_pb2.Timestamp, _Mapping]]] = ..., a_double_value: _Optional[_Union[_wrappers_pb2.DoubleValue, _Mapping]] = ..., a_bool_value: _Optional[_Union[_wrappers_pb2.BoolValue, _Mapping]] = ...) -> None: ...
