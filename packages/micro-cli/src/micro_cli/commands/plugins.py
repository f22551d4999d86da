"""`micro plugins`: what is installed."""

from __future__ import annotations

import click

from micro_cli.options import as_json, configured


@click.group("plugins", invoke_without_command=True)
@click.option("--check", is_flag=True, help="Load each; the exit code is 2 when one cannot be.")
@as_json
@configured
@click.pass_context
def command(ctx: click.Context, overrides: dict[str, object], check: bool, programs: bool) -> int:
    """What is installed, and which of it is selected here."""
    if ctx.invoked_subcommand is not None:
        return 0
    from micro_cli.connection import configure
    from micro_cli.installed import entries, print_entries

    found = entries(configure(overrides), check=check)
    print_entries(found, programs=programs, check=check)
    return 2 if any(entry.trouble for entry in found) else 0


@command.command("inspect")
@click.argument("name", metavar="[KIND/]NAME")
@as_json
def inspect(name: str, programs: bool) -> None:
    """One plugin: where it comes from, and every option with its variable."""
    from micro_cli.installed import inspected, print_inspected

    for each in inspected(name):
        print_inspected(each, programs=programs)
