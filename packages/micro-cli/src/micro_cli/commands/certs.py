"""`micro certs`: a CA for development, and certificates for services."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import click

from micro_cli.ending import Misused

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)*", re.IGNORECASE)


@click.command()
@click.argument("services", nargs=-1, required=True, metavar="SERVICE...")
@click.option(
    "--dir", "folder", default="certs", show_default=True, type=click.Path(path_type=Path), help="Where the files go."
)
@click.option("--host", "hosts", multiple=True, help="A host or IP address at which it is reached; may be repeated.")
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 825), help="How long they are valid.")
def command(services: tuple[str, ...], folder: Path, hosts: tuple[str, ...], days: int) -> None:
    """Make a development CA, unless it is there, and a certificate for each SERVICE.

    Each is for the service's name, this host, localhost and every --host, to serve with and to show to servers.
    Nothing is overwritten. A service reads a certificate again when it changes.
    """
    for name in services:
        if not _NAME.fullmatch(name) or len(name) > 253 or name == "ca":
            raise Misused(f"{name!r} is no name for a certificate: letters, digits and hyphens, with dots between")
    if find_spec("cryptography") is None:
        raise Misused("micro certs needs cryptography, which micro-cli[certs] brings: pip install cryptography")
    from micro_cli.certificates import Refused, make

    try:
        written = make(folder, services, hosts, days)
    except Refused as error:
        raise Misused(str(error)) from None
    except OSError as error:
        raise Misused(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    for path, what in written:
        click.echo(f"{path}: {what}")
    _tell(folder, services[0])


def _tell(folder: Path, service: str) -> None:
    click.echo(f"\nFor {service}, which then serves and calls by TLS alone:\n")
    click.echo(f"  export MICRO_TRANSPORT_TLS_CERT={folder / service}.pem")
    click.echo(f"  export MICRO_TRANSPORT_TLS_KEY={folder / service}-key.pem")
    click.echo(f"  export MICRO_TRANSPORT_TLS_CA={folder / 'ca.pem'}")
    click.echo("\nFor who only calls, the last one is enough.")
