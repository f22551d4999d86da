import struct
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgpack
import msgspec
import pydantic
import pytest
from greeter_pb2 import Request
from hypothesis import given
from hypothesis import strategies as st
from micro_codec_msgpack import MAX_DEPTH, MsgpackCodec
from micro_core import DecodeError, UnsupportedType
from typed_values import VALUES, Box, Color, Level, Other, Point, Tree, User


class Model(pydantic.BaseModel):
    name: str
    at: datetime | None = None
    ratio: float = pydantic.Field(default=1.0, alias="Ratio")
    picture: bytes = b""
    path: Path = Path("/x")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime
    key: UUID = UUID(int=1)
    days: tuple[date, ...] = ()


class Prices(pydantic.BaseModel):
    by_id: dict[int, float]


@dataclass
class Holder:
    models: list[Model]
    strict: Strict | None = None


class StructHolder(msgspec.Struct):
    model: Model


NOON = datetime(2026, 1, 2, 12, 30, 5, 123456, tzinfo=UTC)
MANY = dict.fromkeys(range(1000), "x")

CASES = [
    *VALUES,
    (datetime, NOON),
    (datetime, NOON.astimezone(timezone(timedelta(hours=2)))),
    (datetime, datetime(1, 1, 1, tzinfo=UTC)),
    (datetime, datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    (datetime, datetime(2026, 1, 2)),  # noqa: DTZ001
    (date, date(2026, 1, 2)),
    (timedelta, timedelta(seconds=1.5)),
    (UUID, UUID(int=5)),
    (Decimal, Decimal("1.50")),
    (dict[int, str], MANY),
    (dict[str, dict[int, str]], {"a": MANY}),
    (dict[bytes, int], {b"\xff": 1}),
    (dict[Level, int], {Level.HIGH: 1}),
    (dict[tuple[int, int], str], {(1, 2): "a"}),
    (list[bytes | int], [b"x", 1]),
    (Any, {"a": [1, None, 2.5, "x", True, b"\xff", NOON], 5: {b"k": -1}, (1, (2, "x")): 3}),
    (Model, Model(name="Ada", at=NOON, Ratio=2.0, picture=b"\xff")),
    (list[Model], [Model(name="Ada")]),
    (Model | None, None),
    (Model | Strict, Strict(at=NOON, days=(date(2026, 1, 2),))),
    (Prices, Prices(by_id=dict.fromkeys(MANY, 1.5))),
    (Holder, Holder([Model(name="Ada", Ratio=0.5, picture=b"\xff")], Strict(at=NOON, days=(date(2026, 1, 2),)))),
    (StructHolder, StructHolder(Model(name="Ada"))),
    (msgspec.msgpack.Ext, msgspec.msgpack.Ext(5, b"x")),
]


@pytest.fixture
def codec():
    return MsgpackCodec()


@pytest.mark.parametrize(("type_", "value"), CASES, ids=lambda value: repr(value).partition(" object at")[0][:80])
def test_what_is_encoded_is_decoded(codec, type_, value):
    body = codec.encoder(type_)(value)
    assert codec.decoder(type_)(body) == value
    assert type(codec.decoder(type_)(memoryview(body))) is type(value)
    assert codec.decoder(type_)(bytearray(body)) == value


@pytest.mark.parametrize(
    ("type_", "value", "body"),
    [
        (None, None, b"\x80"),
        (User, User("Ada", 300), b"\x83\xa4name\xa3Ada\xa2id\xcd\x01\x2c\xa4tags\x90"),
        (bytes, b"\xff", b"\xc4\x01\xff"),
        (datetime, datetime(2026, 1, 2, tzinfo=UTC), b"\xd6\xff\x69\x57\x0a\x80"),
        (datetime, datetime(2026, 1, 2), b"\xb32026-01-02T00:00:00"),  # noqa: DTZ001
        (Any, {1: 1.5}, b"\x81\x01\xcb\x3f\xf8\0\0\0\0\0\0"),
        (Color, Color.RED, b"\xa3red"),
        (Decimal, Decimal("1.5"), b"\xa31.5"),
    ],
)
def test_the_bytes_are_those_of_the_table(codec, type_, value, body):
    assert codec.encoder(type_)(value) == body


@pytest.mark.parametrize(
    ("type_", "body", "value"),
    [
        (User, msgpack.packb({"name": "Ada", "new": {"deep": [1]}}), User("Ada")),
        (User, b"\xdf\0\0\0\1\xdb\0\0\0\4name\xd9\3Ada", User("Ada")),
        (User, b"\x82\xa4name\xa3Ada\xa1x\xc7\x01\x05z", User("Ada")),
        (float, b"\xca\x3f\xc0\0\0", 1.5),
        (float, b"\x01", 1.0),
        (datetime, b"\xb42026-01-02T00:00:00Z", datetime(2026, 1, 2, tzinfo=UTC)),
        (UUID, b"\xc4\x10" + bytes(15) + b"\5", UUID(int=5)),
        (None, b"\xc0", None),
        (None, b"\x81\xa1a\x01", None),
    ],
)
def test_more_is_read_than_is_written(codec, type_, body, value):
    assert codec.decoder(type_)(body) == value


def packed(length: int) -> bytes:
    return struct.pack(">I", length)


BAD = [
    (User, b"", "truncated"),
    (User, b"\x81\xa4name", "truncated"),
    (User, b"\x81\xa4name\xa3Ad", "truncated"),
    (User, b"\x81\xa4name\xa3Ada\x00", "trailing bytes after byte 10"),
    (User, b"\x81\xa4name\xa1\xff", "utf-8"),
    (User, b"\x81\xa4name\x01", ": name: Expected"),
    (User, b"\x81\xa4name\xc4\x01a", ": name: Expected"),
    (User, b"\x82\xa4name\xa1a\xa2id\xa1x", ": id: Expected"),
    (User, msgpack.packb({"name": "a", "tags": ["b", 2]}), r": tags\[1\]: Expected"),
    (User, b"\x80", ": name: Object missing"),
    (User, b"\xc0", "null"),
    (User, b"\x82\xa4name\xa1a\xa4name\xa1b", "twice"),
    (User, b"\x82\xa4name\xa1a\xa1x\x82\x01\x01\x01\x01", "twice"),
    (Any, b"\x82\x01\x01\x01\x02", "twice"),
    (Any, b"\x82\x91\x01\x01\x91\x01\x02", "twice"),
    (Any, b"\x82\xa1a\x01\xd9\x01a\x02", "twice"),
    (Any, b"\x81\x80\x01", "key of another"),
    (Any, msgpack.packb(MANY), "no text"),
    (Any, b"\xc1", "0xc1"),
    (Any, b"\xa3\xed\xa0\x80", "utf-8"),
    (Any, b"\xcb\x7f\xf8\0\0\0\0\0\0", "NaN"),
    (Any, b"\xca\x7f\x80\0\0", "NaN"),
    (Any, b"\x81\xca\xff\xff\0\0\x01", "NaN"),
    (Tree, b"\x81\xa5value\xcb\xff\xf0\0\0\0\0\0\0", "NaN"),
    (Model, msgpack.packb({"name": "x", "Ratio": float("nan")}), "NaN"),
    (Any, b"\xd5\xff\0\0", ""),
    (datetime, b"\xc7\x0c\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0", ""),
    (datetime, b"\xc7\x0c\xff\0\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", ""),
    (Any, b"\xdd" + packed(2**32 - 1), "truncated"),
    (Any, b"\xdf" + packed(2**32 - 1), "truncated"),
    (Any, b"\xdb" + packed(2**32 - 1) + b"x", "truncated"),
    (Any, b"\xc6" + packed(2**31) + b"x", "truncated"),
    (Any, b"\xc9" + packed(2**31) + b"\5x", "truncated"),
    (Any, b"\x9f", "truncated"),
    (bytes, b"\xa1x", "Expected `bytes`"),
    (Model, msgpack.packb({"name": 1, "Ratio": "x"}), ": name: .*; Ratio: "),
    (list[Model], msgpack.packb([{"name": "x"}, {"name": []}]), r": \[1\]\.name: "),
    (Strict, msgpack.packb({"at": "noon"}), ": at: "),
    (Strict, msgpack.packb({"at": b"noon"}), ": at: "),
    (Model, b"", "truncated"),
    (Holder, msgpack.packb({"models": [{}]}), r": models\[0\]\.name: "),
    (None, b"", "truncated"),
    (None, b"\x90", "Expected a map"),
]


@pytest.mark.parametrize(("type_", "body", "text"), BAD, ids=lambda value: repr(value)[:80])
def test_bad_bytes_are_a_decode_error_that_says_where(codec, type_, body, text):
    with pytest.raises(DecodeError, match=f"(?i){text}"):
        codec.decoder(type_)(body)


def test_as_many_keys_as_are_few_may_be_of_any_kind(codec):
    value = dict.fromkeys(range(64), 0)
    assert codec.decoder(Any)(codec.encoder(Any)(value)) == value
    assert codec.decoder(Any)(codec.encoder(Any)({str(number): 0 for number in range(1000)}))


def nested(depth: int) -> bytes:
    return b"\x91" * (depth - 1) + b"\x90"


def test_depth_is_counted_to_the_level(codec):
    assert codec.decoder(Any)(nested(MAX_DEPTH)) is not None
    maps = b"\x81\xa1k" * (MAX_DEPTH - 1) + b"\x80"
    assert codec.decoder(Any)(maps) is not None
    for body in (nested(MAX_DEPTH + 1), b"\x81\xa1k" + maps, b"\x92" + nested(MAX_DEPTH) + b"\x90"):
        with pytest.raises(DecodeError, match="64"):
            codec.decoder(Any)(body)
    assert len(codec.decoder(Any)(b"\xdc\x03\xe8" + b"\x91\x90" * 1000)) == 1000


MIB = 2**20
FORGED = b"\xdd" + packed(MIB)
BOMBS = {
    "arrays": b"\x91" * MIB,
    "maps": b"\x81\xa1k" * (MIB // 3),
    "maps as keys": b"\x81" * MIB,
    "extra large array": b"\xdd" + packed(2**32 - 1) + bytes(MIB),
    "array as large as the message": FORGED + bytes(MIB - 6),
    "nested arrays of that size": FORGED * 60 + bytes(MIB - 300),
    "a thousand of them": FORGED * 1000 + bytes(MIB - 5000),
    "and more": FORGED * (MIB // 5),
    "nested maps of that size": (b"\xdf" + packed(MIB) + b"\xa1k") * 60 + bytes(MIB),
    "nested arrays of fifteen": b"\x9f" * 1000,
    "text": b"\xdb" + packed(2**32 - 1) + bytes(MIB),
    "one level too deep": b"\x92" + nested(MAX_DEPTH) + b"\xc6" + packed(MIB) + bytes(MIB),
    "unknown field": b"\x82\xa4name\xa1x\xa3new" + b"\x91" * MIB,
}


@pytest.mark.parametrize("type_", [Any, User, Tree, list[Any], Model, Holder, None], ids=repr)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_a_decode_error_and_costs_little_memory(codec, type_, name):
    decode, body = codec.decoder(type_), BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= max(16 * len(body), 64 * 1024)


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (Any, float("nan"), "NaN"),
        (Any, {float("inf"): 1}, "NaN"),
        (Tree, Tree(1.0, [Tree(float("inf"))]), "NaN"),
        (Point, {"x": 1, "y": float("-inf")}, "NaN"),
        (Any, [Model(name="x", Ratio=float("nan"))], "NaN"),
        (Model, Model(name="x", Ratio=float("nan")), "NaN"),
        (Any, object(), "object"),
        (Any, [Request(name="x")], "no msgpack for greeter_pb2.Request"),
        (Any, ENDLESS, "list"),
        (Any, 2**64, "int"),
        (int, -(2**63) - 1, "int"),
        (str, "\ud800", "str"),
        (Model, "no model", "str"),
        (None, 1, "None"),
    ],
)
def test_a_value_that_cannot_be_carried_is_unsupported(codec, type_, value, text):
    with pytest.raises(UnsupportedType, match=text):
        codec.encoder(type_)(value)


def test_a_value_nested_too_deep_is_not_sent(codec):
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert codec.decoder(Any)(codec.encoder(Any)(value)) == value
    with pytest.raises(UnsupportedType, match="64"):
        codec.encoder(Any)([value])


class Plain:
    pass


@dataclass
class Lost:
    other: "Nowhere"  # noqa: F821


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Plain, "make it a dataclass"),
        (Request, "Request: protobuf messages are sent as application/protobuf or application/json"),
        (dict[str, Request], "Request, which is part of"),
        (list[Plain], "Plain"),
        (complex, "complex"),
        (User | Other, "tag=True"),
        (datetime | str, "datetime"),
        (Lost, "Nowhere"),
        ("User", "User"),
        (Model | Plain, "Plain"),
        (dict[str, msgspec.Raw], "JSON that was not read"),
    ],
)
def test_a_type_that_cannot_be_carried_is_unsupported(codec, type_, text):
    for make in (codec.encoder, codec.decoder):
        with pytest.raises(UnsupportedType, match=text):
            make(type_)


@given(st.binary())
def test_no_bytes_raise_anything_else(body):
    codec = MsgpackCodec()
    for type_ in (Any, User, Point, Tree, Box, Model, Holder, dict[int, Any]):
        with suppress(DecodeError):
            codec.decoder(type_)(body)


keys = st.text() | st.integers(-(2**63), 2**64 - 1) | st.binary()
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@given(plain)
def test_plain_values_survive(value):
    codec = MsgpackCodec()
    body = codec.encoder(Any)(value)
    assert codec.decoder(Any)(body) == value
    assert msgpack.unpackb(body, timestamp=3, strict_map_key=False) == value


@given(plain)
def test_what_others_write_is_read(value):
    assert MsgpackCodec().decoder(Any)(msgpack.packb(value, datetime=True)) == value


def test_neither_pydantic_nor_attrs_is_imported():
    script = (
        "import sys; from typing import Any; from micro_codec_msgpack import MsgpackCodec; c = MsgpackCodec();"
        "c.decoder(Any)(c.encoder(Any)({'a': 1}));"
        "assert not {'pydantic', 'attrs', 'attr'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
