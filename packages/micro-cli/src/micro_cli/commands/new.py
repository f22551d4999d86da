"""`micro new`: the beginning of a service or a plugin."""

from __future__ import annotations

import click

from micro_cli.new import plugin
from micro_cli.new_service import service


@click.group("new")
def command() -> None:
    """Begin a service or a plugin."""


command.add_command(service)
command.add_command(plugin)
