"""`micro call`: one call, or one at every node."""

from __future__ import annotations

from typing import Any

import click

from micro_cli.options import PAIR, configured, timed

HELP = """\
Call an endpoint and print its reply.

\b
micro call greeter Say.Hello name=Ada
micro call greeter Say.Hello --json '{"name": "Ada"}'
echo '{"name": "Ada"}' | micro call greeter Say.Hello

name=Ada is read by the endpoint's schema, a.b=1 goes into a nested value, and name:=[1] is JSON whatever the
schema says. What the endpoint would not take is not sent: the problems are told with their paths.
"""


@click.command("call", help=HELP)
@click.argument("service")
@click.argument("endpoint")
@click.argument("words", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--json", "text", metavar="JSON", help="The whole request; - reads it from standard input.")
@click.option("--each", is_flag=True, help="Ask every node once; a line per node, the slowest last.")
@click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", help="json: node and time with the reply."
)
@click.option("-v", "--verbose", is_flag=True, help="Say which node answered, and how quickly.")
@timed("5s")
@click.option("--address", metavar="HOST:PORT", help="Call this node, without asking the registry.")
@click.option("--version", metavar="VERSION", help="Nodes of this version only.")
@click.option("--where", type=PAIR, multiple=True, metavar="LABEL=VALUE", help="Nodes with this metadata only.")
@click.option("-m", "--metadata", type=PAIR, multiple=True, metavar="NAME=VALUE", help="Goes along with the call.")
@click.option("--no-check", is_flag=True, help="Send what the endpoint's schema does not allow.")
@click.option("--content-type", metavar="TYPE", help="How the request is encoded.")
@configured
def command(overrides: dict[str, object], each: bool, output: str, verbose: bool, **asked: Any) -> int:
    """Call an endpoint and print its reply."""
    from micro_cli.calling import call, call_each
    from micro_cli.connection import Connection, connected

    wanted = asked_of(**asked)
    if each and wanted.address:
        raise click.UsageError("--each asks every node, --address one: write one of them", click.get_current_context())

    async def work(connection: Connection) -> int:
        if each:
            return await call_each(connection, wanted, programs=output == "json")
        return await call(connection, wanted, verbose=verbose, programs=output == "json")

    return connected(overrides, work)


def asked_of(
    service: str, endpoint: str, words: tuple[str, ...], text: str | None, address: str | None, version: str | None,
    where: tuple[tuple[str, str], ...], metadata: tuple[tuple[str, str], ...], timeout: float | None,
    content_type: str | None, no_check: bool,
) -> Any:  # fmt: skip
    """What was written, in one value."""
    from micro_cli.calling import Asked

    options = {"timeout": timeout, "metadata": dict(metadata), "content_type": content_type}
    return Asked(service, endpoint, words, text, address, version, dict(where), options, not no_check)
