"""What is known of one service: snapshots and reports in, node sets out. No I/O, no clock.

Whether to believe a registry (the design's "registry loss"):

    snapshot                            what is known afterwards
    lists nodes                         those
    empty, every node said goodbye      none
    empty, some node said no goodbye    those that said none, in doubt (a revoked token makes Consul answer an empty
                                        list for ever)
    stale                               what was known, less goodbyes, and whatever it lists; for ever

    report, in doubt
    NOT_PROCESSED of the last node      none: the registry was right
      that had not refused yet
    anything else of a node             that node has not refused after all

A goodbye counts only for a node that the snapshot does not list: one that is listed came back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType

from micro_core import Endpoint, Filter, Node, NodeSet, Outcome, ServiceRecord, Snapshot

from micro_discovery.usable import MAX_NODES, usable

MAX_FILTERS = 128
"""Node sets kept per service; the oldest is derived anew when it is asked for again."""


class ServiceNodes:
    """The nodes of one service.

    Attributes:
        records: what is known, one record per version, with usable nodes alone.
        rejected: why nodes of the last snapshot were left out, by node id.
        refused: ids of nodes that refused since the registry listed none; None while there is no doubt.
        stale: whether the registry does not answer.
        everything: what `select` gives without a filter; None also while nobody has asked.
    """

    __slots__ = (
        "_old_sets",
        "_sets",
        "everything",
        "host",
        "limit",
        "records",
        "refused",
        "rejected",
        "service",
        "stale",
    )

    def __init__(self, service: str, host: str, limit: int = MAX_NODES) -> None:
        self.service = service
        self.host = host
        self.limit = limit
        self.records: tuple[ServiceRecord, ...] = ()
        self.rejected: dict[str, str] = {}
        self.stale = False
        self.refused: set[str] | None = None
        self.everything: NodeSet | None = None
        self._sets: dict[Filter | None, NodeSet] = {}
        self._old_sets: dict[Filter | None, NodeSet] = {}

    def __repr__(self) -> str:
        state = "stale" if self.stale else "in doubt" if self.doubted else "current"
        return f"<ServiceNodes {self.service}: {len(self.ids())} nodes, {state}>"

    @property
    def doubted(self) -> bool:
        """Whether nodes are kept that the registry no longer lists."""
        return self.refused is not None

    def ids(self) -> set[str]:
        """The ids of all nodes."""
        return {node.id for record in self.records for node in record.nodes}

    def apply(self, snapshot: Snapshot) -> bool:
        """Takes a snapshot in; says whether the nodes are different now."""
        listed = usable(self.service, snapshot.services, self.host, self.limit)
        self.rejected = listed.rejected
        self.stale = snapshot.stale_since is not None
        staying = _without(self.records, snapshot.departed)
        if self.stale:
            joined = usable(self.service, (*_without(staying, _ids(listed.records)), *listed.records), self.host)
            return self._become(joined.records, self.refused)
        if listed.records or not staying:
            return self._become(listed.records, None)
        return self._become(staying, self.refused or set())

    def report(self, node: Node, outcome: Outcome) -> bool:
        """Takes the end of an attempt in; says whether the nodes are different now."""
        if self.refused is None or outcome is Outcome.CANCELLED:
            return False
        if outcome is not Outcome.NOT_PROCESSED:
            self.refused.discard(node.id)
            return False
        self.refused.add(node.id)
        return self.ids() <= self.refused and self._become((), None)

    def select(self, filter: Filter | None) -> NodeSet | None:
        """The nodes that pass the filter, the same object while they are the same; None when there are none."""
        try:
            found = self._sets.get(filter)
        except TypeError:  # a predicate without a hash
            found = self._derive(filter)
            return found if found.nodes else None
        if found is None:
            found = self._kept(filter, self._derive(filter))
        found = found if found.nodes else None
        if filter is None:
            self.everything = found
        return found

    def _become(self, records: tuple[ServiceRecord, ...], refused: set[str] | None) -> bool:
        self.refused = refused if records else None
        if records == self.records:
            return False
        self.records = records
        self._old_sets = self._old_sets | self._sets if len(self._old_sets) < MAX_FILTERS else self._sets
        self._sets = {}
        self.everything = None
        return True

    def _kept(self, filter: Filter | None, made: NodeSet) -> NodeSet:
        old = self._old_sets.pop(filter, None)
        if old is not None and old.nodes == made.nodes and old.endpoints == made.endpoints:
            made = old
        while len(self._sets) >= MAX_FILTERS:
            del self._sets[next(iter(self._sets))]
        self._sets[filter] = made
        return made

    def _derive(self, filter: Filter | None) -> NodeSet:
        nodes: list[Node] = []
        endpoints: dict[str, Endpoint] = {}
        for record in self.records:
            passing = [node for node in record.nodes if filter is None or filter.matches(record, node)]
            if passing:
                nodes += passing
                endpoints |= {endpoint.name: endpoint for endpoint in record.endpoints}
        nodes.sort(key=lambda node: node.id)
        return NodeSet(self.service, tuple(nodes), MappingProxyType(endpoints))


def _ids(records: Iterable[ServiceRecord]) -> set[str]:
    return {node.id for record in records for node in record.nodes}


def _without(records: tuple[ServiceRecord, ...], gone: frozenset[str] | set[str]) -> tuple[ServiceRecord, ...]:
    if not gone:
        return records
    left = (replace(record, nodes=tuple(node for node in record.nodes if node.id not in gone)) for record in records)
    return tuple(record for record in left if record.nodes)
