"""What is wrong with a value, and where; held against another reader of JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from micro_cli.checking import problems
from micro_cli.interface import Interfaces

ADDRESS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
USER = {
    "type": "object",
    "properties": {
        "email": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "address": {"anyOf": [{"$ref": "Address"}, {"type": "null"}]},
    },
    "required": ["email"],
}
CAT = {"type": "object", "properties": {"type": {"const": "Cat"}, "lives": {"type": "integer"}}, "required": ["type"]}
DOG = {"type": "object", "properties": {"type": {"const": "Dog"}, "name": {"type": "string"}}, "required": ["type"]}
LOOP = {"anyOf": [{"$ref": "Loop"}, {"$ref": "Loop"}]}
TYPES = Interfaces({}, {"Address": ADDRESS, "User": USER, "Cat": CAT, "Dog": DOG, "Loop": LOOP})
PET = {"anyOf": [{"$ref": "Cat"}, {"$ref": "Dog"}]}
USERS = {"type": "object", "properties": {"users": {"type": "array", "items": {"$ref": "User"}}}}


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ({"users": [{"email": "a", "address": None}]}, USERS, []),
        ({"users": [{"email": "a"}, {"email": 5}]}, USERS, ["users[1].email: expected a text, not 5"]),
        ({"users": [{}]}, USERS, ["users[0]: 'email' is missing"]),
        (
            {"users": [{"email": "a", "age": -1, "address": {"citi": 1}}]},
            USERS,
            [
                "users[0].age: -1 is less than 0",
                "users[0].address: 'city' is missing",
                "users[0].address: there is no field 'citi' (did you mean 'city'?)",
            ],
        ),
        ({"x": 1}, USERS, ["there is no field 'x' (there are users)"]),
        ({"x": 1}, {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}}, []),
        ({"x": 1}, {"type": "object", "additionalProperties": {"type": "string"}}, ["x: expected a text, not 1"]),
        ([], {"type": "object"}, ["expected an object, not []"]),
        (True, {"type": "integer"}, ["expected a whole number, not true"]),
        (1.0, {"type": "integer"}, []),
        (1.5, {"type": "integer"}, ["expected a whole number, not 1.5"]),
        (1, {"type": "boolean"}, ["expected true or false, not 1"]),
        (1, {"enum": [True, "a"]}, ['expected true or "a", not 1']),
        ("c", {"enum": ["a", "b"]}, ['expected "a" or "b", not "c"']),
        ({"type": "Cat", "lives": "x"}, PET, ['lives: expected a whole number, not "x"']),
        ({"type": "Bird"}, PET, ['expected Cat or Dog, not {"type": "Bird"}']),
        ({"name": "x"}, PET, ["'type' is missing"]),
        (5, {"anyOf": [{"type": "string"}, {"type": "null"}]}, ["expected a text or null, not 5"]),
        (5, {"anyOf": [{"enum": ["a"]}, {"type": "array"}]}, ['expected "a" or a list, not 5']),
        ([1, "a"], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "integer"}]},
         ['[1]: expected a whole number, not "a"']),
        ([1], {"type": "array", "prefixItems": [{}, {}]}, ["expected 2 values, not 1"]),
        ("", {"type": "string", "minLength": 1}, ['"" is shorter than 1']),
        ("ab", {"type": "string", "pattern": "^b"}, ['"ab" does not match ^b']),
        ("ab", {"type": "string", "pattern": "(?<x"}, []),
        ("x", {"type": "string", "format": "uuid"}, ['expected a UUID, not "x"']),
        ("x", {"type": "string", "format": "date-time"}, ['expected a date and time as 2030-01-31T12:00:00Z, not "x"']),
        ("2030-01-31T12:00:00Z", {"type": "string", "format": "date-time"}, []),
        ("x", {"type": "string", "format": "decimal"}, ['expected a number in quotes, not "x"']),
        ("?", {"type": "string", "contentEncoding": "base64"}, ['expected base64, not "?"']),
        ("é" * 50, {"type": "integer"}, [f'expected a whole number, not "{"é" * 36}…']),
        ("anything", {}, []),
        ("anything", LOOP, []),
    ],
)  # fmt: skip
def test_every_problem_is_told_with_its_path(value: Any, schema: Any, expected: list[str]) -> None:
    assert problems(value, schema, TYPES) == expected


def test_a_value_that_does_not_end_soon_is_looked_into_so_far() -> None:
    value: Any = "deep"
    for _ in range(500):
        value = [value]
    nested = {"type": "array", "items": {"$ref": "Nested"}}
    assert problems(value, nested, Interfaces({}, {"Nested": nested})) == []


def schemas() -> st.SearchStrategy[Any]:
    bounds = st.fixed_dictionaries(
        {}, optional={"minimum": st.integers(-3, 3), "exclusiveMaximum": st.integers(-3, 3), "multipleOf": st.just(2)}
    )
    lengths = st.fixed_dictionaries({}, optional={"minLength": st.integers(0, 2), "maxLength": st.integers(0, 2)})
    leaves = st.one_of(
        st.just({}),
        st.builds(lambda more: {"type": "integer", **more}, bounds),
        st.builds(lambda more: {"type": "number", **more}, bounds),
        st.builds(lambda more: {"type": "string", **more}, lengths),
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": "a"}, {"enum": ["a", 1, None]}]),
    )

    def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        fields = st.dictionaries(st.sampled_from("abc"), inner)
        return st.one_of(
            st.builds(lambda each: {"type": "array", "items": each, "minItems": 1}, inner),
            st.builds(lambda each: {"type": "object", "additionalProperties": each}, inner),
            st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(
                lambda each, needed: {
                    "type": "object", "properties": each, "required": needed, "additionalProperties": False
                },
                fields, st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            ),
        )  # fmt: skip

    return st.recursive(leaves, larger, max_leaves=6)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-4, 4), st.sampled_from([0.0, 1.5, "", "a", "abc"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip


@given(schema=schemas(), value=VALUES)
def test_what_is_right_is_what_another_reader_finds_right(schema: Any, value: Any) -> None:
    assert (problems(value, schema, Interfaces({}, {})) == []) is Draft202012Validator(schema).is_valid(value)
