"""`micro openapi`: an OpenAPI document."""

from __future__ import annotations

import click

from micro_cli.options import configured

HELP = """\
Print an OpenAPI 3.1 document of a running service: its calls, as POST /<service>/<endpoint> with JSON.

\b
micro openapi greeter > greeter.json

What it cannot say is told on standard error.
"""


@click.command("openapi", help=HELP)
@click.argument("service")
@click.option("--version", metavar="VERSION", help="Of this version.")
@configured
def command(overrides: dict[str, object], service: str, version: str | None) -> None:
    """Print an OpenAPI 3.1 document of a running service."""
    import json

    from micro_cli.connection import Connection, connected
    from micro_cli.interface import interfaces_of
    from micro_cli.openapi import gaps, openapi
    from micro_cli.output import note
    from micro_cli.registered import registered

    async def work(connection: Connection) -> None:
        records = await registered(connection, service, version)
        types = interfaces_of(records)
        click.echo(json.dumps(openapi(service, records, types), indent=2))
        for gap in gaps(records, types):
            note(f"note: {gap}")

    connected(overrides, work)
