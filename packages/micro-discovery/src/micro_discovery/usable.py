"""What strangers' records are good for: those that can be dialled, in a stable order, each node once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from micro_core import Endpoint, Node, ServiceRecord

from micro_discovery.addresses import local, unusable
from micro_discovery.host import HOST_KEY

MAX_NODES = 10_000
"""Nodes of one service; of more, the first by id are used."""

MAX_ENDPOINTS = 1_000
"""Endpoints of one version."""

MAX_ID = 255


@dataclass(frozen=True, slots=True)
class Listed:
    """Usable records of one service, one per version and in their order, and why nodes were left out, by node id."""

    records: tuple[ServiceRecord, ...]
    rejected: dict[str, str]


def usable(service: str, services: Iterable[ServiceRecord], host: str, limit: int = MAX_NODES) -> Listed:
    """What may be dialled of a snapshot.

    Of a node that is listed twice the highest version counts, then the greatest address: whoever reads the same records
    comes to the same answer, in whatever order they came.
    """
    versions: dict[str, list[ServiceRecord]] = {}
    for record in services:
        if record.name == service:
            versions.setdefault(record.version, []).append(record)
    ordered = sorted(versions, key=lambda version: (version_order(version), version))
    rejected: dict[str, str] = {}
    chosen: dict[str, tuple[str, Node]] = {}
    for version in ordered:
        for node in sorted(_nodes(versions[version]), key=lambda node: node.address):
            reason = _refused(node, host)
            if reason:
                rejected[node.id[:MAX_ID]] = reason
            else:
                chosen[node.id] = (version, node)
    kept = sorted(chosen)
    for key in kept[limit:]:
        rejected[key] = f"there are more than {limit} nodes"
    by_version: dict[str, list[Node]] = {}
    for key in kept[:limit]:
        version, node = chosen[key]
        by_version.setdefault(version, []).append(node)
    records = tuple(_joined(versions[version], by_version[version]) for version in ordered if version in by_version)
    return Listed(records, rejected)


def _nodes(records: Iterable[ServiceRecord]) -> Iterator[Node]:
    return (node for record in records for node in record.nodes)


def _refused(node: Node, host: str) -> str:
    if not node.id or len(node.id) > MAX_ID:
        return "its id is empty or too long"
    reason = unusable(node.address)
    if not reason and node.metadata.get(HOST_KEY, host) != host and local(node.address):
        return "its address is a loopback of another host"
    return reason


def _joined(records: list[ServiceRecord], nodes: list[Node]) -> ServiceRecord:
    endpoints: dict[str, Endpoint] = {}
    for record in records:
        for endpoint in record.endpoints[:MAX_ENDPOINTS]:
            endpoints[endpoint.name] = endpoint
    return replace(records[0], nodes=tuple(nodes), endpoints=tuple(endpoints.values())[:MAX_ENDPOINTS])


_PARTS = re.compile(r"([0-9]+)|([^0-9]+)")


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key by which 1.10 comes after 1.9."""
    parts = _PARTS.findall(version[:MAX_ID])
    return tuple((1, len(digits.lstrip("0")), digits.lstrip("0")) if digits else (0, 0, text) for digits, text in parts)
