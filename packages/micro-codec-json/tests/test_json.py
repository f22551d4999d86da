import json
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from micro_codec_json import MAX_DEPTH, JsonCodec
from micro_codec_json.depth import too_deep
from micro_core import DecodeError, UnsupportedType
from typed_values import VALUES, Box, Level, Other, Point, Tree, User


class Model(pydantic.BaseModel):
    name: str
    at: datetime | None = None
    ratio: float = pydantic.Field(default=1.0, alias="Ratio")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime


@dataclass
class Holder:
    models: list[Model]
    strict: Strict | None = None


class StructHolder(msgspec.Struct):
    model: Model


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

CASES = [
    *VALUES,
    (int | str, "5"),
    (datetime, NOON),
    (dict[int, str], {1: "a"}),
    (Any, {"a": [1, None, 2.5, "x", True]}),
    (Model, Model(name="Ada", at=NOON, Ratio=2.0)),
    (list[Model], [Model(name="Ada")]),
    (Model | None, None),
    (Model | Strict, Strict(at=NOON)),
    (dict[str, Model | Strict], {"a": Model(name="x"), "b": Strict(at=NOON)}),
    (Holder, Holder([Model(name="Ada", Ratio=0.5)], Strict(at=NOON))),
    (StructHolder, StructHolder(Model(name="Ada"))),
]


@pytest.fixture
def codec():
    return JsonCodec()


@pytest.mark.parametrize(("type_", "value"), CASES, ids=repr)
def test_what_is_encoded_is_decoded(codec, type_, value):
    body = codec.encoder(type_)(value)
    assert codec.decoder(type_)(body) == value
    assert type(codec.decoder(type_)(memoryview(body))) is type(value)
    assert codec.decoder(type_)(bytearray(body)) == value


@pytest.mark.parametrize(
    ("type_", "value", "body"),
    [
        (None, None, b"{}"),
        (User, User("Ada", 2**53 + 1), b'{"name":"Ada","id":9007199254740993,"tags":[]}'),
        (Any, User("Ada"), b'{"name":"Ada","id":0,"tags":[]}'),
        (Any, Holder([Model(name="Ada")]), b'{"models":[{"name":"Ada","at":null,"Ratio":1.0}],"strict":null}'),
        (Level, Level.HIGH, b"3"),
        (bytes, b"\xff", b'"/w=="'),
        (User | None, None, b"null"),
    ],
)
def test_bytes_are_those_that_go_micro_reads(codec, type_, value, body):
    assert codec.encoder(type_)(value) == body


@pytest.mark.parametrize(
    ("type_", "body", "value"),
    [
        (User, b'{"name":"Ada","id":"12"}\n', User("Ada", 12)),
        (User, b' {"name":"Ada","new":{"deep":[1]}}\r\n', User("Ada")),
        (list[int], b'["-9223372036854775808",2]', [-(2**63), 2]),
        (None, b"null\n", None),
        (None, b'{"msg":"x"}', None),
        (Point, b'{"x":1,"y":2}', {"x": 1, "y": 2.0}),
    ],
)
def test_more_is_read_than_is_written(codec, type_, body, value):
    assert codec.decoder(type_)(body) == value


BAD = [
    (User, b"", "truncated"),
    (User, b'{"name":"A', "truncated"),
    (User, b'{"name":"Ada"} x', "trailing"),
    (User, b'{"name":"\xff"}', "utf-8"),
    (User, b'{"name":1}', ": name: "),
    (User, b'{"name":"a","id":"x"}', ": id: "),
    (User, b'{"name":"a","id":1.5}', ": id: "),
    (User, b'{"name":"a","tags":["b",2]}', r": tags\[1\]: "),
    (User, b"{}", ": name: "),
    (User, b"null", "User"),
    (Tree, b'{"value":NaN}', "malformed"),
    (Tree, b'{"value":1e999}', ": value: "),
    (Point, b'{"x":"1","y":"nan"}', "NaN"),
    (Any, b'"\\ud800"', ""),
    (Any, b"\xef\xbb\xbf1", "malformed"),
    (Any, b"1" * 5000, "range"),
    (Model, b'{"name":1}', ": name: "),
    (Model, b'{"name":"x","Ratio":NaN}', "malformed"),
    (Model, b'{"name":"x","Ratio":1e309}', "out of range"),
    (Model, b'{"name":"x","Ratio":-1.5E+00400}', "out of range"),
    (Model, b'{"name":"x","Ratio":%se99}' % (b"7" * 250), "out of range"),
    (Model, b'{"name":"x","Ratio":%s.5}' % (b"7" * 400), "out of range"),
    (Model, b'{"name":"x","Ratio":%s}' % (b"7" * 400), "no infinity|valid number"),
    (Model, b'{"name":"x","new":NaN}', "malformed"),
    (list[Model], b'[{"name":"x"},{"name":[]}]', r": \[1\]\.name: "),
    (Model, b"", ""),
    (Model, b"\xff", ""),
    (Holder, b'{"models":[{}]}', r": models\[0\]\.name: "),
    (None, b"", ""),
    (None, b"[]", ""),
]


@pytest.mark.parametrize(("type_", "body", "text"), BAD)
def test_bad_bytes_are_a_decode_error_that_says_where(codec, type_, body, text):
    with pytest.raises(DecodeError, match=f"(?i){text}"):
        codec.decoder(type_)(body)


def nested(depth: int, inner: bytes = b"") -> bytes:
    return b"[" * depth + inner + b"]" * depth


@pytest.mark.parametrize("type_", [Any, User, Tree, list[Any], Model, Holder, None, dict[str, msgspec.Raw]], ids=repr)
@pytest.mark.parametrize(
    "bomb",
    [b"[" * 300_000, b'{"a":' * 300_000, b'{"name":"x","new":' + nested(100_000) + b"}", nested(MAX_DEPTH + 1)],
    ids=["lists", "dicts", "unknown field", "one too deep"],
)
def test_a_bomb_is_a_decode_error(codec, type_, bomb):
    with pytest.raises(DecodeError):
        codec.decoder(type_)(bomb)


def test_depth_is_counted_outside_of_texts(codec):
    value = {"a": ["[[[{{{" * 100, '\\"[' * 100, {}, []]}
    assert codec.decoder(Any)(codec.encoder(Any)(value)) == value
    assert codec.decoder(Any)(nested(MAX_DEPTH)) is not None
    assert len(codec.decoder(Any)(b"[" + b",".join([b"[]"] * 200) + b"]")) == 200


MIB = 2**20
BOMBS = {
    "arrays": b"[" * MIB,
    "objects": b'{"a":' * (MIB // 5),
    "both": b'[{"":' * (MIB // 5),
    "quotes": b"[" * 100 + b'"\\"' * (MIB // 4),
    "digits": b"1" * MIB,
    "exponent": b"1e" + b"9" * MIB,
    "behind a long text": b'["' + b"x" * MIB + b'",' + b"[" * MAX_DEPTH,
}
LATE_BOMBS = {
    "behind many texts": b"[" + b'"ab",' * (MIB // 5) + nested(MAX_DEPTH) + b"]",
    "behind many escapes": b'["' + rb"\"" * (MIB // 2) + b'",' + nested(MAX_DEPTH) + b"]",
    "behind many arrays": b"[" + b"[]," * (MIB // 3) + nested(MAX_DEPTH) + b"]",
    "behind deep arrays": b"[" + (nested(MAX_DEPTH - 1) + b",") * (MIB // 127) + nested(MAX_DEPTH) + b"]",
}
"""What is in front of them is read where the type cannot nest, and takes what its objects take."""


def assert_refused_cheaply(decode, body):
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 16 * len(body)


@pytest.mark.parametrize("type_", [Any, Tree, Model, Holder], ids=repr)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little_memory(codec, type_, name):
    assert_refused_cheaply(codec.decoder(type_), BOMBS[name])


@pytest.mark.parametrize("type_", [Any, Tree, Holder], ids=repr)
@pytest.mark.parametrize("name", LATE_BOMBS)
def test_a_bomb_that_comes_late_costs_little_memory_where_values_may_nest(codec, type_, name):
    assert_refused_cheaply(codec.decoder(type_), LATE_BOMBS[name])


@given(st.recursive(st.text(st.sampled_from('[]{}"\\ a'), max_size=6), lambda inner: st.lists(inner, max_size=3)))
def test_depth_is_that_of_the_value_whatever_its_texts(value):
    for _ in range(MAX_DEPTH - 3):
        value = [value]
    body = json.dumps(value).encode()
    assert too_deep(body) == (depth_of(value) > MAX_DEPTH)
    assert too_deep(b'{"x":' * 100 + body + b"}" * 100)


def depth_of(value: Any) -> int:
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (Any, float("nan"), "NaN"),
        (Tree, Tree(1.0, [Tree(float("inf"))]), "NaN"),
        (Point, {"x": 1, "y": float("-inf")}, "NaN"),
        (Any, [Model(name="x", Ratio=float("nan"))], "NaN"),
        (Model, Model(name="x", Ratio=float("nan")), "NaN"),
        (Any, object(), "object"),
        (Any, ENDLESS, "list"),
        (Any, {(1, 2): 3}, "dict"),
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
    for _ in range(MAX_DEPTH + 1):
        value = [value]
    with pytest.raises(UnsupportedType, match="64"):
        codec.encoder(Any)(value)


class Plain:
    pass


@dataclass
class Lost:
    other: "Nowhere"  # noqa: F821


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Plain, "make it a dataclass"),
        (list[Plain], "Plain"),
        (complex, "complex"),
        (User | Other, "tag=True"),
        (Lost, "Nowhere"),
        ("User", "User"),
        (Model | Plain, "Plain"),
    ],
)
def test_a_type_that_cannot_be_carried_is_unsupported(codec, type_, text):
    for make in (codec.encoder, codec.decoder):
        with pytest.raises(UnsupportedType, match=text):
            make(type_)


def test_a_decoded_raw_owns_its_bytes(codec):
    body = bytearray(b'{"a": [1]}')
    value = codec.decoder(dict[str, msgspec.Raw])(body)
    body[:] = b"          "
    assert bytes(value["a"]) == b"[1]"


@given(st.binary())
def test_no_bytes_raise_anything_else(body):
    codec = JsonCodec()
    for type_ in (Any, User, Point, Tree, Box, Model, Holder):
        with suppress(DecodeError):
            codec.decoder(type_)(body)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_values_survive(value):
    codec = JsonCodec()
    assert codec.decoder(Any)(codec.encoder(Any)(value)) == value


def test_neither_pydantic_nor_attrs_is_imported():
    script = (
        "import sys; from typing import Any; from micro_codec_json import JsonCodec; c = JsonCodec();"
        "c.decoder(Any)(c.encoder(Any)({'a': 1}));"
        "assert not {'pydantic', 'attrs', 'attr'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
