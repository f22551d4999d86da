from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from greeter_pb2 import Request
from micro_core import UnsupportedType
from micro_schema import Shape, has_infinity, mentions_model, shape_of


@dataclass
class Tree:
    value: float
    children: "list[Tree]" = field(default_factory=list)


class Model(pydantic.BaseModel):
    name: str


@dataclass
class Holder:
    model: Model


class Prices(TypedDict):
    by_id: dict[int, str]


@attrs.define
class Car:
    wheels: int


class Color(Enum):
    RED = "red"


class Plain:
    pass


@pytest.mark.parametrize(
    ("type_", "shape"),
    [
        (str, Shape()),
        (list[int], Shape(integers=True)),
        (float | None, Shape(floats=True)),
        (Any, Shape(floats=True, unbounded=True)),
        (Tree, Shape(floats=True, unbounded=True)),
        (Holder, Shape(floats=True, unbounded=True)),
        (Prices, Shape(integers=True, keys=True)),
        (dict[str, Car], Shape(integers=True)),
        (dict[Color, bytes], Shape(keys=True)),
        (dict[str, msgspec.Raw], Shape(unbounded=True, raw=True)),
    ],
)
def test_what_a_type_can_hold(type_: Any, shape: Shape) -> None:
    assert shape_of(type_, "JSON") == shape


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Plain, "msgpack cannot carry .*Plain: make it"),
        (list[Plain], r"Plain, which is part of"),
        (complex, "complex"),
        (Request, "protobuf"),
    ],
)
def test_what_nothing_can_carry_is_refused(type_: Any, text: str) -> None:
    with pytest.raises(UnsupportedType, match=text):
        shape_of(type_, "msgpack")


def test_a_message_is_for_codecs_that_carry_it() -> None:
    assert shape_of(list[Request], "JSON", messages=True) == Shape(unbounded=True)


def test_a_model_is_seen_in_the_annotation_alone() -> None:
    assert mentions_model(Model)
    assert mentions_model(dict[str, Model | None])
    assert not mentions_model(Holder)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": (1, float("-inf"))}, {float("nan"): 1}])
def test_infinities_are_found(value: Any) -> None:
    assert has_infinity(value)
    assert not has_infinity([1.5, {"a": None}, "nan"])
