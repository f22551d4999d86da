"""What registries keep and selectors choose from. Frozen, since they are shared by every caller of a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Value:
    """The shape of a request or reply, as Go Micro registers it: a name, a Go type name, the fields inside."""

    name: str
    type: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of a service, named `Type.Method`."""

    name: str
    request: Value | None = None
    response: Value | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Node:
    """One process that serves. `address` is `host:port`, with brackets around an IPv6 host."""

    id: str
    address: str
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """One version of a service and its nodes."""

    name: str
    version: str
    nodes: tuple[Node, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a registry knows now.

    Attributes:
        services: one record per name and version.
        departed: ids of nodes that said goodbye since the watch began and did not come back: absence without a
            goodbye is doubted.
        stale_since: clock seconds since when the registry does not answer, or None while it does.
    """

    services: tuple[ServiceRecord, ...]
    departed: frozenset[str] = frozenset()
    stale_since: float | None = None


Predicate: TypeAlias = Callable[[ServiceRecord, Node], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which nodes of a service a call may go to: a version, node metadata that must be equal, a predicate."""

    version: str | None = None
    labels: frozenset[tuple[str, str]] = frozenset()
    predicate: Predicate | None = None

    def matches(self, record: ServiceRecord, node: Node) -> bool:
        """Whether the node may be called; a label is looked up in the node's metadata, then in the service's."""
        if self.version is not None and record.version != self.version:
            return False
        if any(node.metadata.get(key, record.metadata.get(key)) != value for key, value in self.labels):
            return False
        return self.predicate is None or self.predicate(record, node)


class NodeSet:
    """What selectors choose from: a new object per change, so `is` tells whether anything changed.

    Attributes:
        service: the service's name.
        nodes: every node that may be called, in a stable order.
        endpoints: the service's endpoints by name, of all versions together.
    """

    __slots__ = ("__weakref__", "endpoints", "nodes", "service")

    def __init__(
        self, service: str, nodes: tuple[Node, ...], endpoints: Mapping[str, Endpoint] = MappingProxyType({})
    ) -> None:
        self.service = service
        self.nodes = nodes
        self.endpoints = endpoints

    def __repr__(self) -> str:
        return f"<NodeSet {self.service}: {', '.join(node.address for node in self.nodes) or 'no node'}>"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end: `identity` is the verified name of its certificate, where there is one."""

    address: str
    identity: str | None = None
    protocol: str = ""
