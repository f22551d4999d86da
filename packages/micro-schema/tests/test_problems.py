from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest
from micro_core import DecodeError, UnsupportedType
from micro_schema import Misfit, decoding, encoding, problems, refusing


class Contact(pydantic.BaseModel):
    email: str
    age: int = 0


class Team(pydantic.BaseModel):
    users: list[Contact]


@dataclass
class User:
    email: str


@dataclass
class Users:
    users: list[User]


@dataclass
class Contacts:
    users: list[Contact]


def of_msgspec(value: Any, type_: Any) -> str:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, type_, dec_hook=lambda cls, value: cls.model_validate(value))
    return problems(caught.value)


GOOD: dict[str, Any] = {"email": "a"}


@pytest.mark.parametrize(
    ("value", "type_", "text"),
    [
        ({"users": [GOOD, GOOD, GOOD, {"email": 5}]}, Users, "users[3].email: Expected `str`, got `int`"),
        ({"users": [{}]}, Users, "users[0].email: Object missing required field `email`"),
        ({}, User, "email: Object missing required field `email`"),
        ([1, "x"], list[int], "[1]: Expected `int`, got `str`"),
        ({"a": {"b": 1}}, dict[str, dict[str, str]], "[...][...]: Expected `str`, got `int`"),
        ({"a": {"b": 1}}, dict[str, dict[int, int]], "[...]: a key: Expected `int`, got `str`"),
        ("x", int, "Expected `int`, got `str`"),
        (
            {"users": [GOOD, {"age": "old"}]},
            Contacts,
            "users[1].email: Field required; users[1].age: "
            "Input should be a valid integer, unable to parse string as an integer",
        ),
    ],
)
def test_the_path_is_named(value: Any, type_: Any, text: str) -> None:
    assert of_msgspec(value, type_) == text


def test_every_problem_of_a_model_is_listed_and_no_value_is_told() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Team.model_validate({"users": [{"email": "secret"}, {"email": 5}, {"age": "hidden"}]})
    text = problems(caught.value)
    assert [part.split(": ")[0] for part in text.split("; ")] == ["users[1].email", "users[2].email", "users[2].age"]
    assert "secret" not in text
    assert "hidden" not in text


class Strange:
    pass


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (Strange, 1, "bad - at `$.x`; a[0].b: worse"),
        (list[Strange], [1], "[0]: bad - at `$.x`; [0].a[0].b: worse"),
        (dict[str, list[Strange]], {"k": [1]}, "[...][0]: bad - at `$.x`; [...][0].a[0].b: worse"),
    ],
)
def test_every_problem_of_what_we_read_is_listed(type_: Any, value: Any, text: str) -> None:
    def refuse(_: Any, value: Any) -> Any:
        raise Misfit(("", "bad - at `$.x`"), (".a[0].b", "worse"))

    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, type_, dec_hook=refuse)
    assert problems(caught.value) == text


def test_a_misfit_without_a_place_is_told_alone() -> None:
    assert problems(Misfit((".a", "bad"))) == "a: bad"


def test_of_very_many_problems_the_number_is_told() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Team.model_validate({"users": [{}] * 5000})
    assert problems(caught.value) == "5,000 problems, too many to list"


def test_an_error_without_a_text_is_told_by_its_name() -> None:
    assert problems(MemoryError()) == "MemoryError"


def fails(_: Any) -> Any:
    raise KeyError("x")


def test_functions_raise_nothing_else() -> None:
    with pytest.raises(DecodeError, match=r"not the JSON of list\[int\]: 'x'"):
        decoding(fails, refusing(list[int], "JSON"))(b"")
    with pytest.raises(UnsupportedType, match=r"this str cannot be written as msgpack of User: 'x'"):
        encoding(fails, User, "msgpack")("a")


def endless(_: Any) -> Any:
    return endless(_)


def test_endless_nesting_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="deeper than 64"):
        decoding(endless, refusing(Any, "JSON"))(b"")
