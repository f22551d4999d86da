"""The shapes of records, held against what real Go Micro registers."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NewType, NotRequired, Optional, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from micro.schema import value_of
from micro_core import Value

T = TypeVar("T")
UserId = NewType("UserId", int)


class Color(enum.IntEnum):
    RED = 1


class Kind(enum.Enum):
    ONE = "one"


@dataclass
class D:
    e: str


@dataclass
class C:
    d: D
    f: int


@dataclass
class B:
    c: C
    cs: list[C]


@dataclass
class Inner:
    b: B | None


@dataclass
class Rec:
    again: Rec | None
    name: str


@dataclass
class In:
    s: str
    p: str | None
    i: int
    f: float
    by: bytes
    l: list[str]  # noqa: E741 - as the Go program has it
    ll: list[list[str]]
    lp: Sequence[Inner | None]
    li: tuple[Inner, ...]
    m: dict[str, int]
    mi: Mapping[str, Inner]
    lm: list[dict[str, int]]
    any: Any
    t: dt.datetime
    u: uuid.UUID
    co: Color
    k: Kind
    in_: Inner
    rec: Rec


GO = """
{"name":"In","type":"In","values":[{"name":"s","type":"string","values":null},
{"name":"p","type":"string","values":null},{"name":"i","type":"int64","values":null},
{"name":"f","type":"float64","values":null},{"name":"by","type":"[]uint8","values":null},
{"name":"l","type":"[]string","values":null},{"name":"ll","type":"[]","values":null},
{"name":"lp","type":"[]Inner","values":null},{"name":"li","type":"[]Inner","values":null},
{"name":"m","type":"","values":null},{"name":"mi","type":"","values":null},{"name":"lm","type":"[]","values":null},
{"name":"any","type":"","values":null},{"name":"t","type":"Time","values":null},
{"name":"u","type":"UUID","values":null},{"name":"co","type":"Color","values":null},
{"name":"k","type":"Kind","values":null},
{"name":"in_","type":"Inner","values":[{"name":"b","type":"B","values":null}]},
{"name":"rec","type":"Rec","values":[{"name":"again","type":"Rec","values":null},
{"name":"name","type":"string","values":null}]}]}
"""
"""What a program on Go Micro v4.11.0 registered for a struct of the same fields."""

PEER = """
{"name":"Request","type":"Request","values":[{"name":"name","type":"string","values":null},
{"name":"count_to","type":"int64","values":null},{"name":"error_code","type":"int64","values":null},
{"name":"sleep_ms","type":"int64","values":null},{"name":"tags","type":"[]string","values":null}]}
"""
"""What v1.18.0, v2.9.1 and v4.11.0 registered for the message `Request`."""


def plain(value: Value | None) -> Any:
    return value and {
        "name": value.name, "type": value.type, "values": [plain(each) for each in value.values] or None
    }  # fmt: skip


def test_a_struct_is_registered_as_go_micro_registers_it() -> None:
    assert plain(value_of(In)) == json.loads(GO)


def test_a_message_is_registered_as_go_micro_registers_it(message: Callable[..., Any]) -> None:
    fields = {"name": (9, 1, ""), "count_to": (3, 1, ""), "error_code": (3, 1, ""), "sleep_ms": (3, 1, "")}
    assert plain(value_of(message(fields | {"tags": (9, 3, "")}))) == json.loads(PEER)


def test_every_kind_of_field_of_a_message(message: Callable[..., Any]) -> None:
    cls = message(
        {
            "d": (1, 1, ""), "f": (2, 1, ""), "u": (13, 1, ""), "s": (17, 1, ""), "ok": (8, 1, ""), "raw": (12, 1, ""),
            "raws": (12, 3, ""), "kind": (14, 1, ".peer.Request.Kind"), "part": (11, 1, ".peer.Request.Part"),
            "parts": (11, 3, ".peer.Request.Part"), "counts": (11, 3, ".peer.Request.CountsEntry"),
            "at": (11, 1, ".google.protobuf.Timestamp"), "again": (11, 1, ".peer.Request"),
        }
    )  # fmt: skip
    value = value_of(cls)
    assert value is not None
    *before, again = value.values
    assert [(each.name, each.type, [inner.name for inner in each.values]) for each in before] == [
        ("d", "float64", []), ("f", "float32", []), ("u", "uint32", []), ("s", "int32", []), ("ok", "bool", []),
        ("raw", "[]uint8", []), ("raws", "[]", []), ("kind", "Request_Kind", []), ("part", "Request_Part", ["size"]),
        ("parts", "[]Request_Part", []), ("counts", "", []), ("at", "Timestamp", ["seconds", "nanos"]),
    ]  # fmt: skip
    assert all(inner.values == () for inner in again.values), "three levels, itself included"


class Struct(msgspec.Struct, rename="camel"):
    first_name: str


class Model(pydantic.BaseModel):
    age: int = pydantic.Field(alias="years")
    secret: str = pydantic.Field(default="", exclude=True)


@attrs.define
class Attrs:
    size: int


class Typed(TypedDict):
    key: str
    more: NotRequired[int]


@dataclass
class Page(Generic[T]):
    items: list[T]
    first: T


NESTED = "Page[Page[string]]"
TEXTS = (Value("items", "[]string"), Value("first", "string"))


@dataclass
class Endless:
    again: Endless | None


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, Value("string", "string")),
        (list[str], Value("", "[]string")),
        (set[int] | None, Value("", "[]int64")),
        (list[bytes], Value("", "[]")),
        (list, Value("", "[]")),
        (dict[str, int], Value("", "")),
        (Struct, Value("Struct", "Struct", (Value("firstName", "string"),))),
        (Model, Value("Model", "Model", (Value("years", "int64"),))),
        (Attrs, Value("Attrs", "Attrs", (Value("size", "int64"),))),
        (Typed, Value("Typed", "Typed", (Value("key", "string"), Value("more", "int64")))),
        (Page[D], Value("Page[D]", "Page[D]", (Value("items", "[]D"), Value("first", "D", (Value("e", "string"),))))),
        (
            Page[Page[str]],
            Value(NESTED, NESTED, (Value("items", "[]Page[string]"), Value("first", "Page[string]", TEXTS))),
        ),
        (list[Page[Any]], Value("", "[]Page[any]")),
        (Page, Value("Page", "Page", (Value("items", "[]"), Value("first", "")))),
        (Annotated[D, "unhashable", []], Value("D", "D", (Value("e", "string"),))),
        (Optional[D], Value("D", "D", (Value("e", "string"),))),  # noqa: UP045 - people write it
        (UserId, Value("UserId", "UserId")),
        (Kind, Value("Kind", "Kind")),
        (Literal["a", "b"], Value("string", "string")),
        (Literal["a", 1], Value("", "")),
        (decimal.Decimal, Value("string", "string")),
        (dt.timedelta, Value("string", "string")),
        (object, Value("", "")),
        (Any, Value("", "")),
        (int | str, Value("", "")),
        (None, None),
    ],
)
def test_shapes_are_registered_as_go_micro_does(annotation: Any, expected: Value | None) -> None:
    assert value_of(annotation) == expected


def test_recursive_types_end_at_go_micros_depth() -> None:
    assert value_of(Endless) == Value("Endless", "Endless", (Value("again", "Endless", (Value("again", "Endless"),)),))


def test_hints_that_cannot_be_resolved_leave_the_name() -> None:
    @dataclass
    class Local:
        other: Nowhere  # type: ignore[name-defined]  # noqa: F821

    assert value_of(Local) == Value("Local", "Local")
