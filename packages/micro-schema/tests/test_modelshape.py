from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from micro_schema import Shape, adapter, shape_of_model
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, RootModel, computed_field, field_serializer, field_validator


class Plain(BaseModel):
    x: int = Field(default=4, gt=3)
    type: str = "float"
    config: Literal["any"] = "any"


class Twice(BaseModel):
    one: Plain
    other: Plain | None = None
    more: tuple[Plain, ...] = ()


class Nests(BaseModel):
    children: list["Nests"] = []


class Left(BaseModel):
    right: "Right | None" = None


class Right(BaseModel):
    left: list[Left] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Holds(BaseModel):
    metadata: Any = None


class Fraction(BaseModel):
    value: float = 1.0


class Computed(BaseModel):
    @computed_field
    @property
    def half(self) -> float:
        return 0.5


class Prices(BaseModel):
    by_id: dict[int, str] = {}
    by_name: dict[str, str] = {"type": "unknown"}


class Validated(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def positive(cls, x: int) -> int:
        return abs(x)


class Written(BaseModel):
    x: int

    @field_serializer("x")
    def as_anything(self, x: int) -> Any:
        return float("nan")


class Linked(BaseModel):
    url: HttpUrl
    call: Callable[[], int] = int


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["type"]
    weight: float


Left.model_rebuild()
ANYTHING = Shape(floats=True, unbounded=True)


@pytest.mark.parametrize(
    ("type_", "shape"),
    [
        (Plain, Shape()),
        (Twice, Shape()),
        (list[Twice] | None, Shape()),
        (RootModel[list[int]], Shape()),
        (Validated, Shape()),
        (Nests, Shape(unbounded=True)),
        (Left, Shape(unbounded=True)),
        (dict[str, Right], Shape(unbounded=True)),
        (Open, ANYTHING),
        (Holds, ANYTHING),
        (Written, ANYTHING),
        (Linked, ANYTHING),
        (Fraction, Shape(floats=True)),
        (Computed, Shape(floats=True)),
        (Prices, Shape(keys=True)),
        (Annotated[Cat | Dog, Field(discriminator="kind")], Shape(floats=True)),
    ],
)
def test_what_a_model_can_hold(type_: Any, shape: Shape) -> None:
    assert shape_of_model(adapter(type_, "JSON")) == shape
