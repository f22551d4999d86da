"""The subcommands of `micro` by name, each imported when it is called.

Exit codes: 0 ok, 1 a service answered an error, 2 usage or configuration, 3 not found, 4 unreachable or timed out, 130
Ctrl-C. A reader that has gone (`micro list | head -1`) is no error.

Plugins add commands by entry points of group `micro.command`, each naming a module that holds a click command called
`command`. They are found by the standard library's importlib.metadata, so that `micro --help` need not import the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from micro_cli.ending import end, run_to_code

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "micro.command"

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "run": "Serve until a signal comes.",
        "list": "The services that the registry knows.",
        "get": "One service: versions, nodes, endpoints.",
        "openapi": "One service as an OpenAPI document.",
        "client": "One service as a typed client module.",
        "call": "Call an endpoint and print its reply.",
        "stream": "Open a stream, send and print its messages.",
        "publish": "Publish an event.",
        "subscribe": "Print the events of a topic as they come.",
        "health": "Ask every node whether it is well.",
        "stats": "Ask every node for its figures.",
        "plugins": "What is installed, what each can be told, whether it loads.",
        "config": "Every value and where it comes from.",
        "doctor": "What was selected, whether it works, and what to do.",
        "new": "Begin a service or a plugin.",
        "certs": "A development CA and certificates for services.",
        "completion": "The script that completes names in your shell.",
    }
)


class Commands(click.Group):
    """The subcommands: those of this package, then those of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, without importing any."""
        return [*COMMANDS, *sorted(name for name in installed() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the one that was called. Raises ClickException for a plugin's that cannot be had."""
        if cmd_name in COMMANDS:
            from importlib import import_module

            module = import_module(f"micro_cli.commands.{cmd_name}")
            command: click.Command = module.command
            return command
        entry = installed().get(cmd_name)
        return None if entry is None else _loaded(entry)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, with a suggestion for a name that is close to one."""
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS and name not in installed():
            from difflib import get_close_matches

            close = get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "micro --help lists them"
            raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the names with what each is for."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        others = [(name, f"of {_origin(entry)}") for name, entry in installed().items() if name not in COMMANDS]
        if others:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(sorted(others))


def installed() -> dict[str, EntryPoint]:
    """The commands of plugins by name, from metadata alone."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _origin(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _loaded(entry: EntryPoint) -> click.Command:
    title = f"the command {entry.name!r} of {_origin(entry)}"
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:
        raise Broken(f"{title} cannot be imported: {type(error).__name__}: {error}") from error
    command = getattr(found, "command", found)
    if not isinstance(command, click.Command):
        raise Broken(f"{title} is no click command: {entry.value} holds no `command`")
    return command


class Broken(click.ClickException):
    """A plugin's command that cannot be had."""

    exit_code = 2


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"micro {version('micro-cli')}")
        ctx.exit()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say which.")
def micro(**_: Any) -> None:
    """Go Micro for Python: run services, look at them, call them."""


def run(arguments: list[str] | None = None) -> None:
    """Runs a command line; ends the process with its exit code."""
    end(run_to_code(micro, sys.argv[1:] if arguments is None else arguments))
