"""`micro list --watch`: what changes between snapshots of the registry, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from micro_core import Node, Registry, Snapshot

from micro_cli.output import emit, say

Known: TypeAlias = Mapping[tuple[str, str], tuple[str, Node]]
"""By service and node id: version and node."""

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


async def follow(registry: Registry, *, programs: bool) -> None:
    """Prints until it is cancelled."""
    known: Known = {}
    lost = False
    async with registry.watch(None) as snapshots:
        async for snapshot in snapshots:
            if (snapshot.stale_since is not None) != lost:
                lost = not lost
                _tell_of_registry(lost, programs=programs)
            now = nodes_of(snapshot)
            for change in changes(known, now):
                _tell(change, programs=programs)
            known = now


def nodes_of(snapshot: Snapshot) -> Known:
    """Every node of a snapshot."""
    return {(record.name, node.id): (record.version, node) for record in snapshot.services for node in record.nodes}


def changes(before: Known, now: Known) -> Iterator[dict[str, str]]:
    """What came, changed and went, in order of service and node."""
    for key in sorted({*before, *now}):
        kind = "removed" if key not in now else "added" if key not in before else "changed"
        if before.get(key) != now.get(key):
            version, node = now[key] if key in now else before[key]
            yield {"event": kind, "service": key[0], "version": version, "node": node.id, "address": node.address}


def _tell(change: dict[str, str], *, programs: bool) -> None:
    if programs:
        emit(change)
    else:
        sign = _SIGNS[change["event"]]
        say(f"{sign} {change['service']} {change['version']}  {change['node']}  {change['address']}")


def _tell_of_registry(lost: bool, *, programs: bool) -> None:
    if programs:
        emit({"event": "lost" if lost else "back"})
    else:
        say("! the registry does not answer" if lost else "! the registry answers")
