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
                "metadata": dict(endpoint.metadata),
            }
            for endpoint in record.endpoints
        ],
    }


def _shape_value(value: Any) -> dict[str, object] | None:
    if value is None:
        return None
    return {"name": value.name, "type": value.type, "fields": [_shape_value(inner) for inner in value.values]}


def _print(record: Any) -> None:
    from micro_cli.output import say, table

    say(f"{record.name}  version {record.version}")
    say("")
    rows = [(node.id, node.address, _pairs(node.metadata)) for node in record.nodes]
    table(("NODE", "ADDRESS", "METADATA"), rows)
    say("")
    if record.endpoints:
        table(("ENDPOINT", "REQUEST", "REPLY", "METADATA"), [_endpoint(endpoint) for endpoint in record.endpoints])


def _endpoint(endpoint: Any) -> tuple[str, str, str, str]:
    return endpoint.name, _shape(endpoint.request), _shape(endpoint.response), _pairs(endpoint.metadata)


def _shape(value: Any) -> str:
    if value is None:
        return "-"
    fields = " ".join(f"{inner.name}:{inner.type}" for inner in value.values)
    return f"{value.type} {{{fields}}}" if fields else str(value.type)


def _pairs(metadata: Any) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(metadata.items()))
