from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf.internal import python_message as _python_message
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Size(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SMALL: _ClassVar[Size]
    LARGE: _ClassVar[Size]
SMALL: Size
LARGE: Size
NICKNAME_FIELD_NUMBER: _ClassVar[int]
nickname: _descriptor.FieldDescriptor

class Old(_message.Message):
    __slots__ = ("name", "size", "children", "labels", "inner", "words")
    Extensions: _python_message._ExtensionDict
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class Inner(_message.Message):
        __slots__ = ("text",)
        TEXT_FIELD_NUMBER: _ClassVar[int]
        text: str
        def __init__(self, text: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INNER_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: Size
    children: _containers.RepeatedCompositeFieldContainer[Old]
    labels: _containers.ScalarMap[str, str]
    inner: Old.Inner
    words: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., size: _Optional[_Union[Size, str]] = ..., children: _Optional[_Iterable[_Union[Old, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., inner: _Optional[_Union[Old.Inner, _Mapping]] = ..., words: _Optional[_Iterable[str]] = ...) -> None: ...

class Relaxed(_message.Message):
    __slots__ = ("name", "size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: Size
    def __init__(self, name: _Optional[str] = ..., size: _Optional[_Union[Size, str]] = ...) -> None: ...
