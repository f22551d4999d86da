"""The document that `micro openapi` prints, held against the specification and against the service."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from micro.described import KEY
from micro_cli.interface import interfaces_of
from micro_cli.openapi import gaps, openapi
from micro_core import Endpoint, Node, ServiceRecord, Value
from openapi_spec_validator import OpenAPIV31SpecValidator

Micro = Callable[..., Any]


@pytest.mark.usefixtures("greeters")
def test_the_document_of_a_running_service_is_valid_and_true(micro_: Micro) -> None:
    ended = micro_("openapi", "greeter")
    assert ended.code == 0
    assert ended.err == ["note: streams are left out, which OpenAPI cannot describe: Say.Up"]
    document = json.loads("\n".join(ended.out))
    OpenAPIV31SpecValidator(document).validate()
    assert list(document["paths"]) == ["/greeter/Say.Fail", "/greeter/Say.Hello", "/greeter/Say.Who"]
    operation = document["paths"]["/greeter/Say.Hello"]["post"]
    for server in document["servers"]:
        code, reply = post(server["url"], "/greeter/Say.Hello", {"name": "Ada"})
        assert code == 200
        check(reply, operation["responses"]["200"], document)
        code, error = post(server["url"], "/greeter/Say.Hello", {})
        assert code == 400
        check(error, operation["responses"]["default"], document)


def post(url: str, path: str, value: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", path, json.dumps(value), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def check(value: Any, response: Any, document: Any) -> None:
    schema = response["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def document_of(*endpoints: Endpoint, nodes: tuple[Node, ...] = (), service: str = "greeter") -> tuple[Any, list[str]]:
    records = [ServiceRecord(service, "1", nodes, endpoints)]
    types = interfaces_of(records)
    document = openapi(service, records, types)
    OpenAPIV31SpecValidator(document).validate()
    return document, list(gaps(records, types))


def test_shapes_of_go_micro_are_described_as_far_as_known() -> None:
    shape = Value("Request", "Request", (Value("name", "string"), Value("Page[main.User]", "[]Unheard")))
    document, told = document_of(Endpoint("Say.Hello", shape, Value("", "")))
    assert document["components"]["schemas"]["Request"]["properties"]["name"] == {"type": "string"}
    assert told == [
        "no schema is registered of Say.Hello: of these, names and Go types are told, as far as known",
        "no node of ours serves it over HTTP, and others do not look at the path: there is no server to name",
    ]


def test_names_are_written_as_the_specification_has_them() -> None:
    defs = {"Page[main.User]": {"type": "object"}, "Error": {"type": "object", "properties": {"x": {}}}, "é": {}}
    schema = {"request": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in defs]}, "reply": None, "$defs": defs}
    document, _ = document_of(Endpoint("Say.{x}?", metadata={KEY: json.dumps(schema)}), service="a/b c")
    assert list(document["paths"]) == ["/a%2Fb%20c/Say.%7Bx%7D%3F"]
    assert set(document["components"]["schemas"]) == {"Page_main_User", "Error", "Error_2", "unnamed"}


def test_servers_are_the_nodes_that_look_at_the_path() -> None:
    ours = {"micro-py": "0.1", "transport": "http"}
    nodes = (
        Node("a", "10.0.0.1:80", ours), Node("b", "[::1]:81", {**ours, "tls": "1"}), Node("c", "10.0.0.2:80"),
        Node("d", "10.0.0.3:80", {**ours, "transport": "memory"}), Node("e", "10.0.0.1:80", ours),
    )  # fmt: skip
    document, told = document_of(Endpoint("Say.Hello"), nodes=nodes)
    assert [server["url"] for server in document["servers"]] == ["http://10.0.0.1:80", "https://[::1]:81"]
    assert len(told) == 1
