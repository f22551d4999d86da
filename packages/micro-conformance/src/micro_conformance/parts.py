"""The plain parts around a client and a server under test: discovery, selector and codecs without a plugin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from micro_core import (
    Buffer,
    Codec,
    Decode,
    DecodeError,
    Discovery,
    Encode,
    Endpoint,
    Filter,
    Node,
    NodeSet,
    Outcome,
    Selector,
    ServiceNotFound,
    ServiceRecord,
    UnsupportedContentType,
    UnsupportedType,
)

CARRIED = (str, int, float, bool, list, dict)


class FixedDiscovery(Discovery):
    """Knows what it was told. `lookups` holds the filters that it was asked for, `reports` how attempts ended."""

    def __init__(self, service: str, nodes: list[Node]) -> None:
        self.service = service
        self.nodes = nodes
        self.endpoints: dict[str, Endpoint] = {}
        self.lookups: list[Filter | None] = []
        self.reports: list[tuple[str, str, Outcome]] = []
        self._sets: dict[Filter | None, NodeSet] = {}

    def known(self, service: str, filter: Filter | None = None) -> NodeSet | None:  # noqa: D102
        self.lookups.append(filter)
        if service != self.service:
            return None
        record = ServiceRecord(service, "1", tuple(self.nodes))
        nodes = tuple(node for node in self.nodes if filter is None or filter.matches(record, node))
        before = self._sets.get(filter)
        if before is None or before.nodes != nodes:
            self._sets[filter] = NodeSet(service, nodes, self.endpoints)
        return self._sets[filter] if nodes else None

    async def find(self, service: str, filter: Filter | None = None, *, deadline: float) -> NodeSet:  # noqa: D102
        found = self.known(service, filter)
        if found is None:
            raise ServiceNotFound(f"no node of {service!r} in the kit's fixed discovery")
        return found

    def report(self, service: str, node: Node, outcome: Outcome) -> None:  # noqa: D102
        self.reports.append((service, node.id, outcome))


class OrderedSelector(Selector):
    """Tries nodes in the order of the set, and keeps what was taken and given back."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.outcomes: list[tuple[str, Outcome]] = []
        self.keys: list[bytes | None] = []

    def select(self, nodes: NodeSet, *, key: bytes | None = None) -> Iterator[Node]:  # noqa: D102
        self.keys.append(key)
        for node in nodes.nodes:
            self.taken.append(node.id)
            yield node

    def done(self, node: Node, outcome: Outcome, seconds: float) -> None:  # noqa: D102
        self.outcomes.append((node.id, outcome))


class PlainCodec(Codec):
    """JSON of plain values; the annotations it carries are `Any`, None and the plain types."""

    content_types = ("application/json", "application/x-kit")

    def encoder(self, type_: Any) -> Encode:  # noqa: D102
        _check(type_)
        return _encode

    def decoder(self, type_: Any) -> Decode:  # noqa: D102
        _check(type_)

        def decode(body: Buffer) -> Any:
            try:
                value = json.loads(bytes(body))
            except ValueError as error:
                raise DecodeError(f"no JSON: {error}") from error
            if type_ in CARRIED and not isinstance(value, type_):
                raise DecodeError(f"expected {type_.__name__}, got {type(value).__name__} at $")
            return value

        return decode


def _check(type_: Any) -> None:
    if type_ not in (Any, None, type(None), *CARRIED):
        raise UnsupportedType(f"the kit's codec cannot carry {type_!r}")


def _encode(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError) as error:
        raise UnsupportedType(str(error)) from error


class PlainCodecs:
    """The codec under the content types that are given."""

    def __init__(self, *content_types: str) -> None:
        self._content_types = content_types

    @property
    def content_types(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted(self._content_types))

    def __call__(self, content_type: str) -> Codec:
        """The codec. Raises UnsupportedContentType."""
        if content_type not in self._content_types:
            raise UnsupportedContentType(f"no codec for {content_type!r}; there are {', '.join(self.content_types)}")
        return PlainCodec()
