"""From TOML to records, with errors for people: the file, the line, the key, what was expected.

    [[service]]
    name = "greeter"
    version = "1.4"                              # "latest" when left out
    metadata = { team = "demo" }
    endpoints = ["Say.Hello", { name = "Say.Count", metadata = { idempotent = "true" } }]
    nodes = ["10.0.0.5:8080", { id = "big", address = "10.0.0.6:8080", metadata = { zone = "a" } }]

A node without id is called by its address, so ids are the same each time the file is read, in every process.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from micro_core import ConfigurationError, Endpoint, Node, ServiceRecord
from micro_core.suggest import did_you_mean
from micro_discovery.addresses import unusable

SERVICE_KEYS = ("name", "version", "metadata", "endpoints", "nodes")
NODE_KEYS = ("address", "id", "metadata")
ENDPOINT_KEYS = ("name", "metadata")
LATEST = "latest"
_A = {"name": "a", "address": "an"}


class _Wrong(Exception):
    """What is wrong in one service, and in which of its keys."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def read_services(path: Path, data: bytes) -> tuple[ServiceRecord, ...]:
    """The records of a file, in order of name and version. Raises ConfigurationError."""
    text = _decoded(path, data)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(_syntax(path, text, str(error))) from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: expected TOML that is not nested hundreds deep") from error
    return _services(path, text, table)


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}, line {line}: expected UTF-8 text") from error


def _syntax(path: Path, text: str, trouble: str) -> str:
    found = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", trouble)
    if found:
        return f"{path}, line {found[2]}: it is not TOML: {found[1]}, at column {found[3]}"
    bare = trouble.removesuffix(" (at end of document)")
    return f"{path}, line {text.count(chr(10)) + 1}: it is not TOML: {bare}, at the end"


def _services(path: Path, text: str, table: Mapping[str, Any]) -> tuple[ServiceRecord, ...]:
    listed = table.get("service")
    for key in table:
        if key != "service":
            raise ConfigurationError(f"{path}{_line(text, None, key)}: {_unknown(key, ('service',))}")
    if not isinstance(listed, list):
        raise ConfigurationError(f"{path}{_line(text, None, 'service')}: expected services, each below [[service]]")
    records: dict[tuple[str, str], ServiceRecord] = {}
    ids: set[tuple[str, str]] = set()
    for index, each in enumerate(listed):
        try:
            record = _record(each)
            _add(record, records, ids)
        except _Wrong as error:
            where = _line(text, index, error.key.partition("[")[0])
            raise ConfigurationError(f"{path}{where}: service[{index}]{_dotted(error.key)}: {error}") from None
    return tuple(records[key] for key in sorted(records) if records[key].nodes)


def _add(record: ServiceRecord, records: dict[tuple[str, str], ServiceRecord], ids: set[tuple[str, str]]) -> None:
    if (record.name, record.version) in records:
        raise _Wrong("name", f"expected each version of {record.name!r} once, not {record.version!r} again")
    records[record.name, record.version] = record
    for index, node in enumerate(record.nodes):
        if (record.name, node.id) in ids:
            raise _Wrong(
                f"nodes[{index}]", f"expected an id of its own among the nodes of {record.name!r}: {node.id!r}"
            )
        ids.add((record.name, node.id))


def _record(table: Any) -> ServiceRecord:
    if not isinstance(table, dict):
        raise _Wrong("", f"expected a table, not {table!r}")
    _known(table, SERVICE_KEYS, "")
    return ServiceRecord(
        _text(table, "name", ""),
        _text(table, "version", "", LATEST),
        tuple(_node(each, f"nodes[{index}]") for index, each in enumerate(_list(table, "nodes", required=True))),
        tuple(_endpoint(each, f"endpoints[{index}]") for index, each in enumerate(_list(table, "endpoints"))),
        _metadata(table, ""),
    )


def _node(value: Any, key: str) -> Node:
    if isinstance(value, str):
        value = {"address": value}
    if not isinstance(value, dict):
        raise _Wrong(key, f"expected host:port, or a table with an address, not {value!r}")
    _known(value, NODE_KEYS, key)
    address = _text(value, "address", key)
    if reason := unusable(address):
        raise _Wrong(key, f"expected an address that can be dialled, as 10.0.0.5:8080, not {address!r}: {reason}")
    return Node(_text(value, "id", key, address), address, {"protocol": "mucp", **_metadata(value, key)})


def _endpoint(value: Any, key: str) -> Endpoint:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        raise _Wrong(key, f"expected a name such as Say.Hello, or a table with one, not {value!r}")
    _known(value, ENDPOINT_KEYS, key)
    return Endpoint(_text(value, "name", key), metadata=_metadata(value, key))


def _text(table: Mapping[str, Any], key: str, inside: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if value is None:
        raise _Wrong(inside, f"expected {_A[key]} {key}")
    if not isinstance(value, str) or not value:
        raise _Wrong(_join(inside, key), f"expected a text, not {value!r}")
    return value


def _list(table: Mapping[str, Any], key: str, *, required: bool = False) -> list[Any]:
    value = table.get(key)
    if value is None and not required:
        return []
    if value is None:
        raise _Wrong("", f'expected {key}, as {key} = ["10.0.0.5:8080"]')
    if not isinstance(value, list):
        raise _Wrong(key, f"expected a list, not {value!r}")
    return value


def _metadata(table: Mapping[str, Any], inside: str) -> dict[str, str]:
    value = table.get("metadata", {})
    key = _join(inside, "metadata")
    if not isinstance(value, dict):
        raise _Wrong(key, f"expected a table of texts, not {value!r}")
    for name, each in value.items():
        if not isinstance(each, str):
            raise _Wrong(key, f'expected a text for {name!r}, as {name} = "{each}", not {each!r}')
    return value


def _known(table: Mapping[str, Any], known: Collection[str], inside: str) -> None:
    for key in table:
        if key not in known:
            raise _Wrong(_join(inside, key), _unknown(key, known))


def _unknown(key: str, known: Collection[str]) -> str:
    return f"unknown key {key!r}; {did_you_mean(key, known)}"


def _join(inside: str, key: str) -> str:
    return f"{inside}.{key}" if inside else key


def _dotted(key: str) -> str:
    return f".{key}" if key else ""


def _line(text: str, service: int | None, key: str) -> str:
    """`, line 7` of a key, as near as it is found by looking for headers: TOML readers keep no positions."""
    best, at = 0, -1
    for number, line in _headers_and_keys(text):
        if line.startswith("[["):
            at += 1
            best = number if at == service else best
        elif service in (None, at) and re.match(rf"\[?\s*[\"']?{re.escape(key)}[\"']?\s*[=.\]]", line):
            return f", line {number}"
    return f", line {best}" if best else ""


def _headers_and_keys(text: str) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if re.match(r"\[\[\s*service\s*\]\]", line) or (line and not line.startswith(("#", "[["))):
            yield number, line
