"""`micro health`: every node is asked whether it is well."""

from __future__ import annotations

import click

from micro_cli.options import as_json, configured, timed


@click.command("health")
@click.argument("service", required=False)
@timed("2s")
@as_json
@configured
def command(overrides: dict[str, object], service: str | None, timeout: float, programs: bool) -> int:
    """Ask every node of a service, or of all, whether it is well."""
    from micro_cli.connection import connected
    from micro_cli.nodes import Answer
    from micro_cli.rows import Rows

    def cells(answer: Answer) -> tuple[str, ...]:
        status = answer.reply.get("status", "?") if isinstance(answer.reply, dict) else answer.reply
        return (str(status),)

    rows = Rows("Debug.Health", ("STATUS",), cells)
    return connected(overrides, rows.of(service, timeout, programs=programs))
