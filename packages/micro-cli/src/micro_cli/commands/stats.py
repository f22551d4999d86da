"""`micro stats`: every node is asked for its figures."""

from __future__ import annotations

import click

from micro_cli.options import as_json, configured, timed


@click.command("stats")
@click.argument("service", required=False)
@timed("2s")
@as_json
@configured
def command(overrides: dict[str, object], service: str | None, timeout: float, programs: bool) -> int:
    """Ask every node of a service, or of all, for its uptime, memory, threads and garbage collection."""
    from micro_cli.connection import connected
    from micro_cli.rows import Rows, figures

    rows = Rows("Debug.Stats", ("UPTIME", "MEMORY", "THREADS", "GC"), figures)
    return connected(overrides, rows.of(service, timeout, programs=programs))
