"""`micro run`: services until a signal."""

from __future__ import annotations

import signal

import click

from micro_cli.ending import INTERRUPTED
from micro_cli.options import configured

HELP = """\
Serve until SIGINT or SIGTERM; a second one ends it at once.

\b
micro run greeter:service
micro run greeter mailer --registry consul -o registry.consul.token_file=/run/secrets/token

MODULE is looked for in the working directory, too. Without :SERVICE it must hold one service.
"""


@click.command("run", help=HELP)
@click.argument("targets", nargs=-1, required=True, metavar="MODULE[:SERVICE]...")
@click.option("--reload", is_flag=True, help="Begin anew when a source file changes.")
@click.option("--backend", metavar="NAME", help="asyncio, uvloop or trio.")
@configured
def command(overrides: dict[str, object], targets: tuple[str, ...], reload: bool, backend: str | None) -> None:
    """Serve until SIGINT or SIGTERM; a second one ends it at once."""
    if reload:
        from micro_cli.reloading import run_again_and_again

        run_again_and_again()
        return
    import micro

    from micro_cli.targets import services_of

    if micro.run(*services_of(targets), backend=backend, command_line=overrides) is signal.SIGINT:
        raise SystemExit(INTERRUPTED)
