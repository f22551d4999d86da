"""`micro stream`: a stream in both directions."""

from __future__ import annotations

from typing import Any

import click

from micro_cli.commands.call import asked_of
from micro_cli.options import DURATION, PAIR, configured


@click.command("stream")
@click.argument("service")
@click.argument("endpoint")
@click.argument("words", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--json", "text", metavar="JSON", help="The only message to send.")
@click.option("--timeout", type=DURATION, metavar="TIME", help="For the whole stream; by default it has no end.")
@click.option("--address", metavar="HOST:PORT", help="Call this node, without asking the registry.")
@click.option("--version", metavar="VERSION", help="Nodes of this version only.")
@click.option("--where", type=PAIR, multiple=True, metavar="LABEL=VALUE", help="Nodes with this metadata only.")
@click.option("-m", "--metadata", type=PAIR, multiple=True, metavar="NAME=VALUE", help="Goes along with the opening.")
@click.option("--no-check", is_flag=True, help="Send what the endpoint's schema does not allow.")
@click.option("--content-type", metavar="TYPE", help="How messages are encoded.")
@configured
def command(overrides: dict[str, object], **asked: Any) -> None:
    """Open a stream, send messages and print those that come, a JSON value a line.

    With arguments, one message is sent; without, each line of standard input is one, and its end ends our side.
    """
    from micro_cli.connection import Connection, connected
    from micro_cli.streams import converse

    wanted = asked_of(**asked)

    async def work(connection: Connection) -> None:
        await converse(connection, wanted)

    connected(overrides, work)
