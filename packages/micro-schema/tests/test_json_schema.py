"""JSON Schemas: right for what the codec of JSON writes, and short."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from everything_pb2 import Everything as Message
from jsonschema import Draft202012Validator
from micro_codec_json import JsonCodec
from micro_schema.json_schema import schema_of

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Size(enum.IntEnum):
    BIG = 2


@dataclass
class Address:
    city: str
    zip: str | None = None


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


class Cat(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Pair(msgspec.Struct, array_like=True, tag="pair"):
    left: int
    right: str


class Named(NamedTuple):
    left: int
    right: str


class Typed(TypedDict):
    key: str
    more: NotRequired[int]


@attrs.define
class Attrs:
    size: int = 2


@dataclass
class Page(Generic[T]):
    items: list[T]


class Model(pydantic.BaseModel):
    """A description that a record has no room for."""

    age: int = pydantic.Field(alias="years", gt=0, title="Years", description="how old")
    title: str = "x"
    sub: Model | None = None
    kind: Literal["model"] = "model"


class Other(pydantic.BaseModel):
    kind: Literal["other"] = "other"


class Computed(pydantic.BaseModel):
    name: str
    at: int = 0

    @pydantic.computed_field  # type: ignore[prop-decorator]  # pydantic's own way
    @property
    def upper(self) -> str:
        return self.name.upper()


@dataclass
class Around:
    model: Model
    models: dict[str, Model] = field(default_factory=dict)


@dataclass
class Everything:
    text: Annotated[str, msgspec.Meta(min_length=1, pattern="^a")]
    number: Annotated[int, msgspec.Meta(ge=0, lt=10)]
    size: float = 1.5
    flag: bool = False
    data: bytes = b"x"
    color: Color = Color.RED
    big: Size = Size.BIG
    at: dt.datetime | None = None
    day: dt.date = dt.date(2020, 1, 2)
    clock: dt.time = dt.time(1, 2)
    span: dt.timedelta = dt.timedelta(1)
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    price: decimal.Decimal = decimal.Decimal("1.5")
    tags: set[str] = field(default_factory=set)
    tuple_: tuple[int, str] = (1, "a")
    many: tuple[int, ...] = ()
    addresses: dict[str, Address] = field(default_factory=dict)
    made: list[int] = field(default_factory=lambda: [1])
    literal: Literal["a", "b"] = "a"
    either: int | str | None = 1
    pet: Cat | Dog | None = None
    whatever: Any = None
    tree: Tree | None = None


def around() -> Around:
    return Around(Model(years=3, sub=Model(years=4)), {"a": Model(years=1)})


VALUES: list[tuple[Any, Any, list[Any]]] = [
    (Everything, Everything("a", 1, pet=Cat(9), tree=Tree("a", [Tree("b")])), [{}, {"text": "b", "number": 1}]),
    (Everything, Everything("abc", 9, addresses={"x": Address("here")}), [{"text": "a", "number": 10}, None, []]),
    (Tree, Tree("a", [Tree("b", [Tree("c")])]), [{"name": "a", "children": [{}]}]),
    (Cat | Dog, Dog("x"), [{"name": "x"}, {"type": "Cat", "lives": 1, "more": 1}, {"type": "Bird"}]),
    (list[Pair], [Pair(1, "a")], [[["other", 1, "a"]], [["pair", "a", "a"]]]),
    (Named, Named(1, "a"), [["a", 1]]),
    (Typed, {"key": "a"}, [{"more": 1}, {"key": 1}]),
    (Attrs, Attrs(), [{"size": "a"}]),
    (Page[Address], Page([Address("x")]), [{"items": [{}]}]),
    (dict[int, Page[int]], {1: Page([1])}, [{"a": {"items": ["a"]}}]),
    (Model, Model(years=3, sub=Model(years=4)), [{"years": 0}, {"age": 1}]),
    (list[Model], [Model(years=3)], [[{}]]),
    (Model | Other, Other(), [{"kind": "none"}]),
    (Around, around(), [{}, {"model": {"years": -1}}]),
    (Computed, Computed(name="a"), [{"name": "a"}]),
    (Color, Color.GREEN, ["blue"]),
    (str, "a", [1]),
]


@pytest.mark.parametrize(("type_", "value", "wrong"), VALUES)
def test_what_the_codec_writes_is_as_the_schema_says_and_what_is_wrong_is_not(
    type_: Any, value: Any, wrong: list[Any]
) -> None:
    document = json.loads(json.dumps(schema_of(Any, type_)))
    assert document.keys() <= {"reply", "$defs"}
    schema = document["reply"] | {"$defs": document.get("$defs", {})}
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    written = json.loads(JsonCodec().encoder(type_)(value))
    assert list(validator.iter_errors(written)) == []
    for each in wrong:
        assert not validator.is_valid(each), each


def test_a_schema_is_as_short_as_it_can_be() -> None:
    assert schema_of(Address, Model) == {
        "request": {"$ref": "#/$defs/Address"},
        "reply": {"$ref": "#/$defs/Model"},
        "$defs": {
            "Address": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "zip": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                "required": ["city"],
            },
            "Model": {
                "type": "object",
                "properties": {
                    "years": {"type": "integer", "exclusiveMinimum": 0},
                    "title": {"type": "string", "default": "x"},
                    "sub": {"anyOf": [{"$ref": "#/$defs/Model"}, {"type": "null"}]},
                    "kind": {"type": "string", "const": "model", "default": "model"},
                },
                "required": ["years"],
            },
        },
    }


def test_no_request_is_null_and_any_is_left_out() -> None:
    assert schema_of(None, Any) == {"request": None}
    assert schema_of(Any, dict) == {"reply": {"type": "object"}}


def test_a_default_that_is_known_is_told() -> None:
    (made,) = schema_of(Tree, None)["$defs"].values()
    assert made["properties"]["children"]["default"] == []
    everything = schema_of(Everything, None)["$defs"]["Everything"]["properties"]
    assert everything["data"] == {"type": "string", "contentEncoding": "base64", "default": "eA=="}
    assert everything["at"] == {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
    assert "default" not in everything["made"]


def test_types_of_one_name_are_told_apart() -> None:
    @dataclass
    class Address:
        street: str

    document = schema_of(Page[Address], globals()["Address"])
    assert {name: list(made["properties"]) for name, made in document["$defs"].items()} == {
        "Page_Address": ["items"], "Address": ["street"], "Address_2": ["city", "zip"],
    }  # fmt: skip


def test_names_are_as_python_has_them() -> None:
    größe = dataclass(type("Größe", (), {"__annotations__": {"höhe": int}}))
    assert schema_of(Page[größe], None)["$defs"].keys() == {"Page_Größe", "Größe"}  # type: ignore[valid-type]


def test_a_model_that_is_read_otherwise_than_written_is_two_types() -> None:
    document = schema_of(Computed, Computed)
    assert document["request"] == {"$ref": "#/$defs/Computed"}
    assert document["reply"] == {"$ref": "#/$defs/Computed_2"}
    assert document["$defs"]["Computed"]["required"] == ["name"]
    assert document["$defs"]["Computed_2"]["required"] == ["name", "upper"]


def test_messages_are_described_by_their_descriptors() -> None:
    document = schema_of(Message, None)
    assert document["request"] == {"$ref": "#/$defs/Everything"}
    assert document["$defs"].keys() == {"Everything", "Color"}
    assert document["$defs"]["Color"] == {
        "enum": ["COLOR_UNSPECIFIED", "COLOR_RED", "COLOR_BLUE", "COLOR_DARK", 0, 1, 5, -1]
    }
    fields = document["$defs"]["Everything"]["properties"]
    assert {
        name: fields[name]
        for name in ("a_string", "some_bytes", "a_uint32", "a_bool", "a_float", "a_sint64", "color", "numbers", "child")
    } == {
        "a_string": {"type": "string"},
        "some_bytes": {"type": "string", "contentEncoding": "base64"},
        "a_uint32": {"type": "integer", "minimum": 0},
        "a_bool": {"type": "boolean"},
        "a_float": {"type": "number"},
        "a_sint64": {"type": "integer"},
        "color": {"$ref": "#/$defs/Color"},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "child": {"$ref": "#/$defs/Everything"},
    }
    assert fields["counts"] == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert fields["by_number"] == {"type": "object", "additionalProperties": {"$ref": "#/$defs/Everything"}}
    assert fields["at"] == {}
