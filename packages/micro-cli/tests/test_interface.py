"""What is made of records: of ours, of real Go Micro's, and of strangers who mean no good."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from micro.described import KEY, STREAM_KEY
from micro_cli.interface import ANYTHING, Interfaces, interfaces_of
from micro_core import Endpoint, Node, ServiceRecord, Value
from micro_registry_consul.records import read_health

CAPTURED = json.loads((Path(__file__).parents[2] / "micro-registry-consul" / "tests" / "go_micro.json").read_text())


def record(*endpoints: Endpoint) -> ServiceRecord:
    return ServiceRecord("greeter", "1", (), endpoints)


def told(name: str, document: Any, **metadata: str) -> Endpoint:
    text = document if isinstance(document, str) else json.dumps(document)
    return Endpoint(name, metadata={KEY: text, **metadata})


def struct(name: str, **fields: str) -> Value:
    return Value(name, name, tuple(Value(field, type_) for field, type_ in fields.items()))


def test_a_schema_is_taken_as_it_was_registered() -> None:
    user = {"type": "object", "properties": {"name": {"type": "string"}, "boss": {"$ref": "#/$defs/User"}}}
    types = interfaces_of(
        [record(told("Users.Get", {"request": None, "reply": {"$ref": "#/$defs/User"}, "$defs": {"User": user}}))]
    )
    (each,) = types.endpoints.values()
    assert (each.request, each.reply, each.stream, each.exact) == (None, {"$ref": "User"}, "", True)
    assert types.defs["User"]["properties"]["boss"] == {"$ref": "User"}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, ""),
        ({"stream": "false"}, ""),
        ({"stream": "true"}, "both"),
        ({"stream": "true", STREAM_KEY: "client"}, "client"),
        ({"stream": "true", STREAM_KEY: "server"}, "server"),
        ({"stream": "true", STREAM_KEY: "nonsense"}, "both"),
    ],
)
def test_who_streams(metadata: Mapping[str, str], expected: str) -> None:
    types = interfaces_of([record(Endpoint("Say.Up", metadata=metadata))])
    assert types.endpoints["Say.Up"].stream == expected


def test_what_real_go_micro_registered_is_understood() -> None:
    register = CAPTURED["v1.18.0 defaults"]["register"]
    entry = {"Node": {"Address": "127.0.0.1"}, "Service": {**register, "Service": register["Name"]}, "Checks": []}
    types = interfaces_of(read_health("go.micro.srv.greeter", [entry]).records)
    hello = types.endpoints["Say.Hello"]
    assert (hello.request, hello.exact) == ({"$ref": "Request"}, False)
    assert types.defs["Request"] == {
        "type": "object",
        "properties": {
            "name": {"type": "string"}, "count_to": {"type": "integer"}, "error_code": {"type": "integer"},
            "sleep_ms": {"type": "integer"},
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        },
    }  # fmt: skip
    assert types.endpoints["Say.Count"].stream == "both"
    assert types.endpoints["Say.Count"].request == ANYTHING
    assert "Func" not in types.endpoints, "it is a subscriber"


def test_a_shape_of_ours_does_not_say_what_may_be_null() -> None:
    shape = Value("R", "R", (Value("name", "string"), Value("at", "Time"), Value("x", ""), Value("tags", "[]string")))
    node = Node("n", "127.0.0.1:1", {"micro-py": "0.1.0"})
    types = interfaces_of([ServiceRecord("greeter", "1", (node,), (Endpoint("A.B", shape, Value("int64", "int64")),))])
    null = {"type": "null"}
    assert types.defs["R"]["properties"] == {
        "name": {"anyOf": [{"type": "string"}, null]},
        "at": {"anyOf": [{"type": "string", "format": "date-time"}, null]},
        "x": ANYTHING,
        "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, null]},
    }
    assert types.endpoints["A.B"].reply == {"type": "integer"}


@pytest.mark.parametrize(
    ("go_type", "expected"),
    [
        ("string", {"type": "string"}),
        ("*string", {"type": "string"}),
        ("uint32", {"type": "integer"}),
        ("float32", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("[]uint8", {"type": "string", "contentEncoding": "base64"}),
        ("Time", {"type": "string", "format": "date-time"}),
        ("interface {}", {}),
        ("", {}),
        ("map[string]int", {}),
        ("Unheard", {}),
        ("[]Unheard", {"anyOf": [{"type": "array"}, {"type": "null"}]}),
        ("[]", {"anyOf": [{"type": "array"}, {"type": "null"}]}),
    ],
)
def test_go_types(go_type: str, expected: Any) -> None:
    types = interfaces_of([record(Endpoint("A.B", Value("x", go_type), struct("Reply")))])
    assert types.endpoints["A.B"].request == expected


def test_a_type_that_is_told_deeper_elsewhere_is_that_type() -> None:
    deep = Value("Outer", "Outer", (Value("inner", "Inner", (Value("b", "B"), Value("more", "Outer"))),))
    flat = Value("", "[]Inner")
    types = interfaces_of([record(Endpoint("A.One", deep, flat))])
    inner = {"anyOf": [{"$ref": "Inner"}, {"type": "null"}]}
    assert types.defs["Outer"]["properties"] == {"inner": inner}
    assert types.defs["Inner"]["properties"] == {"b": {}, "more": {"anyOf": [{"$ref": "Outer"}, {"type": "null"}]}}
    assert types.endpoints["A.One"].reply == {
        "anyOf": [{"type": "array", "items": {"$ref": "Inner"}}, {"type": "null"}]
    }  # fmt: skip


def test_types_of_one_name_and_other_fields_are_told_apart() -> None:
    types = interfaces_of([record(Endpoint("A.One", struct("User", a="int"), struct("User", b="int")))])
    assert {name: list(schema["properties"]) for name, schema in types.defs.items()} == {"User": ["a"], "User_2": ["b"]}


def test_schemas_of_one_name_and_other_content_are_told_apart() -> None:
    def document(kind: str) -> Any:
        user = {"type": "object", "properties": {"id": {"type": kind}}}
        page = {"type": "object", "properties": {"user": {"$ref": "#/$defs/User"}}}
        return {"request": {"$ref": "#/$defs/Page"}, "$defs": {"User": user, "Page": page}}

    names = ["string", "integer", "string", "integer", "boolean"]
    types = interfaces_of([record(*(told(f"A.M{at}", document(kind)) for at, kind in enumerate(names)))])
    assert [each.request for each in types.endpoints.values()] == [
        {"$ref": "Page"}, {"$ref": "Page_2"}, {"$ref": "Page"}, {"$ref": "Page_2"}, {"$ref": "Page_3"},
    ]  # fmt: skip
    assert types.defs["Page_3"]["properties"]["user"] == {"$ref": "User_3"}
    assert types.defs["User_3"]["properties"]["id"] == {"type": "boolean"}


def test_a_shape_is_the_type_that_a_schema_tells_of() -> None:
    user = {"type": "object", "properties": {"id": {"type": "string"}, "at": {"type": "integer"}}, "required": ["id"]}
    types = interfaces_of(
        [
            record(
                Endpoint("Users.Put", struct("User", id="string", at="int64"), struct("Reply", ok="bool")),
                told("Users.Get", {"reply": {"$ref": "#/$defs/User"}, "$defs": {"User": user}}),
            )
        ]
    )
    assert types.endpoints["Users.Put"].request == {"$ref": "User"}
    assert types.defs["User"] == user


def test_a_registry_that_keeps_no_shapes_says_nothing() -> None:
    (each,) = interfaces_of([record(Endpoint("A.B"))]).endpoints.values()
    assert (each.request, each.reply, each.exact) == (ANYTHING, ANYTHING, False)


DEEP: Any = {"type": "string"}
for _ in range(200):
    DEEP = {"items": DEEP}


@pytest.mark.parametrize(
    "document",
    [
        "nonsense", "[]", "5", "[" * 100_000, {"request": 5}, {"request": {"anyOf": [5]}}, {"$defs": []},
        {"request": {"$ref": "#/$defs/Nowhere"}}, {"request": {"$ref": ["x"]}},
        {"request": {"$ref": "http://192.0.2.1/x"}}, {"request": {"properties": []}}, {"request": DEEP},
        {"$defs": {"A": {"properties": {"x": {"$ref": "#/$defs/B"}}}}},
    ],
)  # fmt: skip
def test_a_schema_that_is_none_is_as_if_there_were_none(document: Any) -> None:
    (each,) = interfaces_of([record(told("A.B", document))]).endpoints.values()
    assert (each.request, each.reply, each.exact) == (ANYTHING, ANYTHING, False)


def test_of_a_schema_only_what_is_well_formed_is_kept() -> None:
    odd = {
        "type": "strange", "minimum": "1", "required": [1], "enum": {}, "minLength": 1.5, "pattern": 3, "x": 1,
        "multipleOf": 0, "additionalProperties": False, "oneOf": [True, {"maximum": 3}],
    }  # fmt: skip
    (each,) = interfaces_of([record(told("A.B", {"request": odd}))]).endpoints.values()
    assert each.request == {"additionalProperties": False, "anyOf": [{}, {"maximum": 3}]}


def test_references_that_lead_nowhere_end() -> None:
    types = interfaces_of(
        [record(told("A.B", {"request": {"$ref": "#/$defs/A"}, "$defs": {"A": {"$ref": "#/$defs/A"}}}))]
    )
    assert types.resolved({"$ref": "A"}) == ANYTHING
    assert list(types.fields({"$ref": "A"})) == []


def test_fields_are_those_of_inner_structs_too() -> None:
    document = {
        "request": {"$ref": "#/$defs/A"},
        "$defs": {
            "A": {"properties": {"a": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}, "b": {"type": "integer"}}}
        },
    }
    types = interfaces_of([record(told("A.B", document))])
    assert list(types.fields(types.endpoints["A.B"].request)) == ["a.a", "a.b", "b"]
    assert list(Interfaces({}, {}).fields(None)) == []
