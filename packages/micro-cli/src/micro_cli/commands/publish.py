"""`micro publish`: one event."""

from __future__ import annotations

import click

from micro_cli.options import PAIR, configured, timed

HELP = """\
Publish an event; ends when the broker has delivered it, or has it in its keeping.

\b
micro publish users.created name=Ada
"""


@click.command("publish", help=HELP)
@click.argument("topic")
@click.argument("words", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--json", "text", metavar="JSON", help="The whole event; - reads it from standard input.")
@click.option("--key", metavar="KEY", help="Events of one key arrive in order, with brokers that can.")
@click.option("-m", "--metadata", type=PAIR, multiple=True, metavar="NAME=VALUE", help="Goes along with the event.")
@click.option("--content-type", metavar="TYPE", help="How the event is encoded.")
@timed("5s")
@configured
def command(
    overrides: dict[str, object], topic: str, words: tuple[str, ...], text: str | None, key: str | None,
    metadata: tuple[tuple[str, str], ...], content_type: str | None, timeout: float,
) -> None:  # fmt: skip
    """Publish an event; ends when the broker has delivered it, or has it in its keeping."""
    from micro_cli.connection import Connection, connected
    from micro_cli.interface import UNKNOWN
    from micro_cli.values import request_of

    event = request_of(UNKNOWN, words, text)

    async def work(connection: Connection) -> None:
        await connection.answering()
        options = {"timeout": timeout, "content_type": content_type, "metadata": dict(metadata), "key": key}
        await connection.publish(topic, event, **options)  # type: ignore[arg-type]
        await connection.flush()

    try:
        connected(overrides, work)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None
