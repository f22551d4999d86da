"""`micro list`: the services that the registry knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from micro_cli.options import as_json, configured


@click.command("list")
@click.option("--watch", is_flag=True, help="Go on, with a line for every node that comes, goes or changes.")
@as_json
@configured
def command(overrides: dict[str, object], watch: bool, programs: bool) -> None:
    """The services that the registry knows."""
    from micro_cli.connection import Connection, connected
    from micro_cli.reading import while_read
    from micro_cli.remembered import remember
    from micro_cli.watching import follow

    async def work(connection: Connection) -> None:
        if watch:
            registry = await connection.registry()
            await while_read(lambda: follow(registry, programs=programs))
        else:
            found = await connection.all_records()
            if not overrides:
                remember(found)
            _print(connection, found, programs=programs)

    connected(overrides, work)


def _print(connection: Any, records: Iterable[Any], *, programs: bool) -> None:
    from micro_cli.output import emit, note, table

    found = sorted(records, key=lambda record: (record.name, record.version))
    if programs:
        for record in found:
            emit(_value(record))
    elif found:
        rows = [(record.name, record.version, len(record.nodes), ", ".join(_endpoints(record))) for record in found]
        table(("SERVICE", "VERSION", "NODES", "ENDPOINTS"), rows)
    else:
        note(f"no services in registry {connection.registry_name!r}")


def _value(record: Any) -> dict[str, object]:
    return {
        "service": record.name,
        "version": record.version,
        "nodes": len(record.nodes),
        "endpoints": _endpoints(record),
    }


def _endpoints(record: Any) -> list[str]:
    return sorted(endpoint.name for endpoint in record.endpoints)
