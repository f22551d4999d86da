"""What programs read, held against the schemas in docs/reference/cli-json.md; and the schema of micro.toml."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from micro.config import Config
from micro_cli.schema import schema_of_file
from micro_core import ConfigurationError

Micro = Callable[..., Any]
Started = Callable[..., Any]

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli-json.md"
SCHEMAS = {
    title: json.loads(body)
    for title, body in re.findall(r"^## micro (.+?)\n.*?```json\n(.*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
}

TYPES: dict[str, Any] = {
    "string": str, "number": (int, float), "integer": int, "boolean": bool, "array": list, "object": dict,
    "null": type(None),
}  # fmt: skip


def faults(value: Any, schema: Any, path: str = "$") -> list[str]:
    """Where a value is not as the schema says; knows the words of JSON Schema that are used here, and no others."""
    if schema is True:
        return []
    unknown = set(schema) - set(_RULES) - {"$schema", "title", "description", "default", "required"}
    assert not unknown, unknown
    return [fault for word, rule in _RULES.items() if word in schema for fault in rule(value, schema, path)]


def _type(value: Any, schema: Any, path: str) -> list[str]:
    wanted = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    fits = any(isinstance(value, TYPES[each]) and (each == "boolean" or value is not True) for each in wanted)
    return [] if fits else [f"{path}: {value!r} is not of {wanted}"]


def _properties(value: Any, schema: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return []
    found = [f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, inner in schema["properties"].items():
        if name in value:
            found += faults(value[name], inner, f"{path}.{name}")
    return found


def _additional(value: Any, schema: Any, path: str) -> list[str]:
    rest = [name for name in value if name not in schema.get("properties", {})] if isinstance(value, dict) else []
    if schema["additionalProperties"] is False:
        return [f"{path}: {name} is unknown" for name in rest]
    return [fault for name in rest for fault in faults(value[name], schema["additionalProperties"], f"{path}.{name}")]


def _items(value: Any, schema: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return []
    return [fault for at, each in enumerate(value) for fault in faults(each, schema["items"], f"{path}[{at}]")]


def _any_of(value: Any, schema: Any, path: str) -> list[str]:
    tried = [faults(value, each, path) for each in schema["anyOf"]]
    return [] if not all(tried) else min(tried, key=len)


def _least(value: Any, schema: Any, path: str) -> list[str]:
    fits = not isinstance(value, int | float) or value >= schema["minimum"]
    return [] if fits else [f"{path}: {value} is below {schema['minimum']}"]


def _most(value: Any, schema: Any, path: str) -> list[str]:
    fits = not isinstance(value, int | float) or value <= schema["maximum"]
    return [] if fits else [f"{path}: {value} is above {schema['maximum']}"]


def _enum(value: Any, schema: Any, path: str) -> list[str]:
    return [] if value in schema["enum"] else [f"{path}: {value!r} is none of {schema['enum']}"]


def _pattern(value: Any, schema: Any, path: str) -> list[str]:
    fits = not isinstance(value, str) or re.search(schema["pattern"], value)
    return [] if fits else [f"{path}: {value!r} does not match"]


def _length(value: Any, schema: Any, path: str) -> list[str]:
    fits = not isinstance(value, str) or len(value) >= schema["minLength"]
    return [] if fits else [f"{path}: too short"]


_RULES: dict[str, Callable[[Any, Any, str], list[str]]] = {
    "type": _type, "properties": _properties, "additionalProperties": _additional, "items": _items, "anyOf": _any_of,
    "minimum": _least, "maximum": _most, "enum": _enum, "pattern": _pattern, "minLength": _length,
}  # fmt: skip

COMMANDS = {
    "list": "list --json",
    "get": "get greeter --json",
    "call --output json": "call greeter Say.Who me --output json",
    "call --each --output json": "call greeter Say.Who me --each --output json",
    "health": "health --json",
    "stats": "stats --json",
    "plugins": "plugins --json",
    "plugins --check": "plugins --check --json",
    "plugins inspect": "plugins inspect mdns --json",
    "config": "config --json",
    "doctor": "doctor --json",
}


def test_every_section_is_tried() -> None:
    assert set(SCHEMAS) == {*COMMANDS, "list --watch", "subscribe"}


@pytest.mark.parametrize("title", COMMANDS)
def test_each_line_is_as_the_page_says(micro_: Micro, greeters: list[int], title: str) -> None:
    ended = micro_(*COMMANDS[title].split())
    assert ended.code == 0, ended.err
    assert ended.out
    for line in ended.out:
        assert faults(json.loads(line), SCHEMAS[title]) == [], line


def test_an_error_of_a_node_is_as_the_page_says(micro_: Micro, greeters: list[int]) -> None:
    ended = micro_("call", "greeter", "Say.Fail", "x", "--each", "--output", "json")
    assert ended.code == 1
    for line in ended.out:
        value = json.loads(line)
        assert value["error"] == "409 Conflict: no such luck"
        assert faults(value, SCHEMAS["call --each --output json"]) == []


def test_events_and_changes_are_as_the_page_says(
    micro_: Micro, start: Started, line_with: Any, greeters: list[int]
) -> None:
    subscriber = start("subscribe", "news", "--json", "--count", "2")
    watching = start("list", "--watch", "--json")
    assert subscriber.stderr.readline()
    micro_("publish", "news", "a=1")
    micro_("publish", "news", "--json", '"text"')
    for line in (line_with(subscriber, "news"), line_with(subscriber, "news")):
        assert faults(json.loads(line), SCHEMAS["subscribe"]) == [], line
    assert faults(json.loads(line_with(watching, "greeter")), SCHEMAS["list --watch"]) == []


def test_a_value_that_is_wrong_would_be_noticed() -> None:
    assert faults({"service": 1, "version": "a", "nodes": -1, "more": 1}, SCHEMAS["list"]) == [
        "$: endpoints is missing", "$.service: 1 is not of ['string']", "$.nodes: -1 is below 0", "$: more is unknown",
    ]  # fmt: skip


GOOD = """
registry = "mdns"
log = "debug"
namespace = "mine"
[server]
address = "127.0.0.1:0"
metadata = { zone = "a" }
[service.greeter]
version = "2"
[register]
ttl = "1m30s"
interval = 10
[transport]
plugin = "http"
pool_size = 10
[transport.http]
dial_timeout = "200ms"
[client]
lookup_timeout = 2.5
request_timeout = "5s"
[extensions]
disabled = ["accesslog"]
[stop]
drain = 1
"""

BAD = [
    "[server]\naddress = 5",
    "[server]\naddres = 'x'",
    "[registry.mdns]\nport = 'x'",
    "[registry.mdns]\nport = 70000",
    "[transport.http]\ndial_timeout = 'soon'",
    "[transport.http]\npool_sise = 5",
    "registry = 3",
    "nonsense = 1",
    "[register]\nttl = -1",
]


@pytest.fixture(scope="module")
def schema() -> Any:
    made, left_out = schema_of_file()
    assert left_out == []
    return made


def test_the_command_prints_the_schema(micro_: Micro, schema: Any) -> None:
    ended = micro_("config", "schema")
    assert (ended.code, ended.err) == (0, [])
    assert json.loads("\n".join(ended.out)) == schema


def read(tmp_path: Path, text: str) -> None:
    """As a service reads it. Raises ConfigurationError."""
    (tmp_path / "micro.toml").write_text(text)
    config = Config("greeter", command_line={"config": tmp_path / "micro.toml"})
    for kind in ("registry", "transport", "client", "server"):
        config.plugin(kind)


def test_the_schema_takes_what_is_taken(schema: Any, tmp_path: Path) -> None:
    assert faults(tomllib.loads(GOOD), schema) == []
    read(tmp_path, GOOD)


@pytest.mark.parametrize("text", BAD)
def test_the_schema_refuses_what_is_refused(schema: Any, tmp_path: Path, text: str) -> None:
    assert faults(tomllib.loads(text), schema)
    with pytest.raises(ConfigurationError):
        read(tmp_path, text)


def test_every_default_is_valid(schema: Any) -> None:
    def check(inner: Any, path: str) -> None:
        for name, each in inner.get("properties", {}).items():
            if "default" in each:
                assert faults(each["default"], each, f"{path}.{name}") == []
            check(each, f"{path}.{name}")
            for option in each.get("anyOf", ()):
                check(option, f"{path}.{name}")

    check(schema, "$")
