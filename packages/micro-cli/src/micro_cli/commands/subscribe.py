"""`micro subscribe`: the events of a topic."""

from __future__ import annotations

import click

from micro_cli.options import as_json, configured


@click.command("subscribe")
@click.argument("topic")
@click.option("--queue", metavar="NAME", help="Share the events with the other members of this queue.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many.")
@as_json
@configured
def command(overrides: dict[str, object], topic: str, queue: str | None, count: int | None, programs: bool) -> None:
    """Print the events of a topic as they come, until Ctrl-C."""
    from micro_cli.connection import Connection, connected
    from micro_cli.events import print_events
    from micro_cli.reading import while_read

    async def work(connection: Connection) -> None:
        await connection.answering()
        broker = await connection.broker()
        await while_read(lambda: print_events(broker, topic, queue, count, programs=programs))

    try:
        connected(overrides, work)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None
