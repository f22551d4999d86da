from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Request(_message.Message):
    __slots__ = ("name", "count_to", "error_code", "sleep_ms", "tags")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_TO_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    SLEEP_MS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    count_to: int
    error_code: int
    sleep_ms: int
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., count_to: _Optional[int] = ..., error_code: _Optional[int] = ..., sleep_ms: _Optional[int] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("msg", "seq_no")
    MSG_FIELD_NUMBER: _ClassVar[int]
    SEQ_NO_FIELD_NUMBER: _ClassVar[int]
    msg: str
    seq_no: int
    def __init__(self, msg: _Optional[str] = ..., seq_no: _Optional[int] = ...) -> None: ...
