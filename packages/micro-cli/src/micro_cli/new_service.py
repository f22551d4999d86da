"""`micro new service`: one file that runs."""

from __future__ import annotations

import keyword
from pathlib import Path

import click

from micro_cli.ending import Misused

TEMPLATE = '''"""The service {name}."""

from dataclasses import dataclass

import micro


@dataclass
class HelloRequest:
    name: str


@dataclass
class HelloReply:
    text: str


service = micro.Service("{name}")


@service.handler
class Say:
    async def hello(self, request: HelloRequest) -> HelloReply:
        return HelloReply(f"Hello {{request.name}}")


if __name__ == "__main__":
    service.run()
'''


@click.command("service")
@click.argument("name")
def service(name: str) -> None:
    """Write NAME.py, a service with one endpoint."""
    module = name.replace("-", "_")
    if not module.isidentifier() or not module.isascii() or keyword.iskeyword(module):
        raise Misused(f"{name!r} is no name for a service here: letters, digits and hyphens, beginning with a letter")
    path = Path(f"{module}.py")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=name))
    except FileExistsError:
        raise Misused(f"{path} is there already") from None
    click.echo(f"{path} is written. Now:\n\n  micro run {module}\n  micro call {name} Say.Hello name=Ada")
