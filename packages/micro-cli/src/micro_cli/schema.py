"""The JSON Schema of `micro.toml`, from the settings and the Options of every installed plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING
from enum import Enum
from pathlib import Path
from typing import Any

from micro.config.settings import FIELDS, KEYS, PER_SERVICE
from micro_core import ConfigurationError, Secret
from micro_core.loader import KINDS, load_plugin, plugins
from micro_core.options import OptionField, option_fields

from micro_cli.settings import shown

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DURATION = r"^(\d+(\.\d+)?|(?=\d)(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?(\d+(\.\d+)?ms)?)$"
"""As `micro_core.options.parse_duration` reads."""


def schema_of_file() -> tuple[dict[str, Any], list[str]]:
    """The schema, and a sentence for each plugin that is left out since it is broken."""
    tables: dict[str, Any] = {}
    for key, name in KEYS.items():
        table, _, option = key.rpartition(".")
        place = tables if not table else tables.setdefault(table, _table({}))["properties"]
        place[option] = _property(FIELDS[name])
    for table in ("server",):
        tables[table]["properties"]["metadata"] = _METADATA
    left_out: list[str] = []
    for kind in KINDS:
        made = _kind(kind, left_out)
        if kind in tables:  # `[client] lookup_timeout` is a setting beside the options of client plugins
            made["properties"].update(tables[kind]["properties"])
        tables[kind] = {"anyOf": [{"type": "string", "minLength": 1}, made]} if kind != "codec" else made
    tables["service"] = {
        "type": "object",
        "additionalProperties": _table(
            {name: tables["server"]["anyOf"][1]["properties"][name] for name in PER_SERVICE}
        ),
    }
    return {"$schema": DIALECT, "title": "micro.toml", **_table(tables)}, left_out


_METADATA = {
    "description": "pairs for the node's record, beside those in code",
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        {"type": "array", "items": {"type": "string", "pattern": "="}},
    ],
}


def _table(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _kind(kind: str, left_out: list[str]) -> dict[str, Any]:
    """`[registry] plugin=`, options for whichever is chosen, and a table per plugin."""
    properties: dict[str, Any] = {}
    names = sorted({plugin.name for plugin in plugins(f"micro.{kind}")})
    if kind != "codec":
        properties["plugin"] = {"type": "string", "description": f"which {kind}; installed are {', '.join(names)}"}
    for plugin in plugins(f"micro.{kind}"):
        try:
            fields = option_fields(load_plugin(kind, plugin).Options)
        except ConfigurationError as error:
            left_out.append(str(error))
            properties[plugin.name] = {"type": "object"}
            continue
        if kind != "codec":
            for name, field in _written(fields).items():
                _general(properties, name, field)
        properties[plugin.name] = _table(_written(fields))
    return _table(properties)


def _general(properties: dict[str, Any], name: str, field: dict[str, Any]) -> None:
    """An option that several plugins have may be what it is for any of them."""
    there = properties.get(name)
    if there is None:
        properties[name] = field
    elif there != field:
        known = there["anyOf"] if set(there) == {"anyOf"} else [there]
        properties[name] = {"anyOf": known if field in known else [*known, field]}


def _written(fields: Mapping[str, OptionField]) -> dict[str, Any]:
    """As they may be written: a secret also by the file that it stands in."""
    made = {name: _property(field) for name, field in fields.items()}
    for name, field in fields.items():
        if field.secret:
            made[f"{name}_file"] = {"type": "string", "description": f"the file that holds {name}"}
    return made


def _property(field: OptionField) -> dict[str, Any]:
    bare = _bare(field)
    made: dict[str, Any] = {"anyOf": [{"type": "array", "items": bare}, {"type": "string"}]} if field.many else bare
    if field.help:
        made["description"] = field.help
    if field.default is not MISSING and field.default is not None and not field.secret:
        made["default"] = shown(field.default)
    return made


def _bare(field: OptionField) -> dict[str, Any]:
    if issubclass(field.type, Enum):
        return {"enum": [member.value for member in field.type]}
    if field.type is float:
        return {"anyOf": [{"type": "number", **_bounds(field)}, {"type": "string", "pattern": DURATION}]}
    if field.type is int:
        return {"anyOf": [{"type": "integer", **_bounds(field)}, {"type": "string", "pattern": r"^\s*[-+]?\d+\s*$"}]}
    if field.type is bool:
        return {"anyOf": [{"type": "boolean"}, {"type": "string"}]}
    assert field.type in (str, Path, Secret), "every other type of an option was dealt with"
    return {"type": "string", **({"minLength": 1} if field.type is Path else {})}


def _bounds(field: OptionField) -> dict[str, float]:
    given = {"minimum": field.minimum, "maximum": field.maximum}
    return {name: bound for name, bound in given.items() if bound is not None}
