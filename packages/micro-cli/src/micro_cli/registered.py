"""The records of a service that a description is made from."""

from __future__ import annotations

from collections.abc import Sequence

from micro_core import ServiceRecord

from micro_cli.connection import Connection
from micro_cli.ending import NotThere


async def registered(connection: Connection, service: str, version: str | None) -> Sequence[ServiceRecord]:
    """Those with endpoints that can be called, by version.

    Raises:
        NotThere: no such service or version, or it registered no endpoints.
        Unreachable: the registry does not answer.
    """
    records = sorted(await connection.records(service), key=lambda record: record.version)
    chosen = [record for record in records if version in (None, record.version)]
    if not chosen:
        known = ", ".join(record.version for record in records)
        raise NotThere(f"{service!r} has no version {version!r}; there is {known}")
    if not any("topic" not in each.metadata for record in chosen for each in record.endpoints):
        raise NotThere(f"{service!r} registered no endpoints, so nothing is known of what it takes")
    return chosen
