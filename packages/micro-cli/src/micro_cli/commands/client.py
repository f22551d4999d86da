"""`micro client`: a typed client module."""

from __future__ import annotations

import click

from micro_cli.options import configured

HELP = """\
Write a typed client module of a running service, from what it registered.

\b
micro client greeter > greeter_client.py

It holds the service's types and a Protocol for each of its handlers, for client.proxy(Say, "greeter"). What the
service registered no schema of is told on standard error, and in the module.
"""


@click.command("client", help=HELP)
@click.argument("service")
@click.option("--version", metavar="VERSION", help="As this version has it.")
@configured
def command(overrides: dict[str, object], service: str, version: str | None) -> None:
    """Write a typed client module of a running service."""
    from micro_cli.client_module import client_module, gaps
    from micro_cli.connection import Connection, connected
    from micro_cli.interface import interfaces_of
    from micro_cli.output import note
    from micro_cli.registered import registered

    async def work(connection: Connection) -> None:
        records = await registered(connection, service, version)
        types = interfaces_of(records)
        endpoints = [endpoint for record in records for endpoint in record.endpoints]
        idempotent = {each.name for each in endpoints if each.metadata.get("idempotent") == "true"}
        click.echo(client_module(service, records[-1].version, types, idempotent), nl=False)
        for gap in gaps(types):
            note(f"note: {gap}")

    connected(overrides, work)
