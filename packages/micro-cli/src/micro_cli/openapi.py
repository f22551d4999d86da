"""An OpenAPI 3.1 document of what a service serves at `POST /<service>/<endpoint>`, which our nodes answer in JSON.

Streams are no matter of OpenAPI, and Go Micro's own nodes take no notice of the path: both are told of, not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from micro_core import Node, ServiceRecord

from micro_cli.client_types import ascii_name, free
from micro_cli.interface import Interface, Interfaces, Schema, with_names

_JSON = "application/json"
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string"}, "code": {"type": "integer"}, "detail": {"type": "string"},
        "status": {"type": "string"},
    },
}  # fmt: skip
_NOTHING: Schema = {"type": "object", "maxProperties": 0}


def openapi(service: str, records: Sequence[ServiceRecord], types: Interfaces) -> dict[str, Any]:
    """The document."""
    names: dict[str, str] = {}
    for name in types.defs:
        names[name] = free(ascii_name(name), names.values())
    error = free("Error", names.values())
    references = {name: f"#/components/schemas/{free}" for name, free in names.items()}
    operations = {
        f"/{quote(service, safe='')}/{quote(each.name, safe='')}": {"post": _operation(each, references, error)}
        for each in types.endpoints.values()
        if not each.stream
    }
    schemas = {names[name]: with_names(types.defs[name], references) for name in sorted(names)}
    servers = [{"url": url} for url in dict.fromkeys(_urls(record.nodes for record in records))]
    return {
        "openapi": "3.1.0",
        "info": {"title": service, "version": records[-1].version},
        **({"servers": servers} if servers else {}),
        "paths": operations,
        "components": {"schemas": {**schemas, error: _ERROR}},
    }


def gaps(records: Iterable[ServiceRecord], types: Interfaces) -> Iterator[str]:
    """A sentence for whatever the document does not say."""
    streams = [each.name for each in types.endpoints.values() if each.stream]
    if streams:
        yield f"streams are left out, which OpenAPI cannot describe: {', '.join(streams)}"
    shapes = [each.name for each in types.endpoints.values() if not each.stream and not each.exact]
    if shapes:
        yield f"no schema is registered of {', '.join(shapes)}: of these, names and Go types are told, as far as known"
    if not any(True for _ in _urls(record.nodes for record in records)):
        yield "no node of ours serves it over HTTP, and others do not look at the path: there is no server to name"


def _urls(nodes: Iterable[Sequence[Node]]) -> Iterator[str]:
    for node in (node for them in nodes for node in them):
        if "micro-py" in node.metadata and node.metadata.get("transport") == "http":
            yield f"http{'s' if node.metadata.get('tls') == '1' else ''}://{node.address}"


def _operation(each: Interface, references: Mapping[str, str], error: str) -> dict[str, Any]:
    request, reply = (_NOTHING if side is None else with_names(side, references) for side in (each.request, each.reply))
    return {
        "operationId": each.name,
        "tags": [each.name.rpartition(".")[0] or each.name],
        "requestBody": {"required": True, "content": {_JSON: {"schema": request}}},
        "responses": {
            "200": {"description": "the reply", "content": {_JSON: {"schema": reply}}},
            "default": {
                "description": "an error; its code is the status of the response",
                "content": {_JSON: {"schema": {"$ref": f"#/components/schemas/{error}"}}},
            },
        },
    }
