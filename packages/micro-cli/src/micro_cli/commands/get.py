"""`micro get`: one service."""

from __future__ import annotations

from typing import Any

import click

from micro_cli.options import as_json, configured


@click.command("get")
@click.argument("service")
@as_json
@configured
def command(overrides: dict[str, object], service: str, programs: bool) -> None:
    """One service: its versions, nodes and endpoints."""
    from micro_cli.connection import Connection, connected
    from micro_cli.output import emit

    async def work(connection: Connection) -> None:
        for record in sorted(await connection.records(service), key=lambda record: record.version):
            if programs:
                emit(_value(record))
            else:
                _print(record)

    connected(overrides, work)


def _value(record: Any) -> dict[str, object]:
    from micro.described import KEY

    return {
        "service": record.name,
        "version": record.version,
        "metadata": dict(record.metadata),
        "nodes": [{"node": node.id, "address": node.address, "metadata": dict(node.metadata)} for node in record.nodes],
        "endpoints": [
            {
                "endpoint": endpoint.name,
                "request": _shape_value(endpoint.request),
                "reply": _shape_value(endpoint.response),
                "schema": _schema(endpoint.metadata.get(KEY)),
                "metadata": {key: value for key, value in endpoint.metadata.items() if key != KEY},
            }
            for endpoint in record.endpoints
        ],
    }


def _schema(text: str | None) -> Any:
    import json

    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _shape_value(value: Any) -> dict[str, object] | None:
    if value is None:
        return None
    return {"name": value.name, "type": value.type, "fields": [_shape_value(inner) for inner in value.values]}


def _print(record: Any) -> None:
    from micro_cli.interface import interfaces_of
    from micro_cli.output import say, table
    from micro_cli.shown import endpoint_rows, event_rows, type_rows

    say(f"{record.name}  version {record.version}")
    rows = [(node.id, node.address, _pairs(node.metadata)) for node in record.nodes]
    types = interfaces_of([record])
    tables = [
        (("NODE", "ADDRESS", "METADATA"), rows),
        (("ENDPOINT", "REQUEST", "REPLY", "METADATA"), endpoint_rows(record, types)),
        (("SUBSCRIBER", "TOPIC", "EVENT"), event_rows(record)),
        (("TYPE", "FIELD", "HOLDS", "DEFAULT"), type_rows(types)),
    ]
    for headers, each in tables:
        if each:
            say("")
            table(headers, each)


def _pairs(metadata: Any) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(metadata.items()))
