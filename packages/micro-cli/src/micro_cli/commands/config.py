"""`micro config`: every value and where it comes from."""

from __future__ import annotations

from typing import Any

import click

from micro_cli.options import as_json, configured


@click.group("config", invoke_without_command=True)
@as_json
@configured
@click.pass_context
def command(ctx: click.Context, overrides: dict[str, object], programs: bool) -> None:
    """Every value and where it comes from; secrets are not shown."""
    if ctx.invoked_subcommand is not None:
        return
    from micro_cli.connection import configure
    from micro_cli.output import emit, table
    from micro_cli.settings import shown, values_of

    values = values_of(configure(overrides))
    if programs:
        for each in values:
            emit({"key": each.key, "value": shown(each.value), "source": each.source})
    else:
        table(("KEY", "VALUE", "SOURCE"), [(each.key, _text(shown(each.value)), each.source) for each in values])


@command.command("schema")
def schema() -> None:
    """The JSON Schema of micro.toml, for what is installed here; editors check the file by it."""
    import json

    from micro_cli.output import note
    from micro_cli.schema import schema_of_file

    made, left_out = schema_of_file()
    for trouble in left_out:
        note(f"warning: {trouble}")
    click.echo(json.dumps(made, indent=2))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(each) for each in value) or "-"
    return "-" if value is None or value == "" else str(value).lower() if isinstance(value, bool) else str(value)
