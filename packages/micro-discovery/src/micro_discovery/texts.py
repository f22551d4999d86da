"""What a person reads when no node was found. Names and labels in it come from strangers: quoted, cut, counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from micro_core import Filter, ServiceRecord

from micro_discovery.namespaced import DEFAULT_NAMESPACE

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Missing:
    """A lookup that found nothing.

    Attributes:
        service, filter: what was looked for.
        registry, namespace: where.
        seconds: for how long.
        trouble: why the registry did not answer; empty when it did.
        records: what there is of that service all the same.
        rejected: why its nodes cannot be called, by node id.
        names: the services that there are; None when that could not be learnt in time.
    """

    service: str
    filter: Filter | None
    registry: str
    namespace: str
    seconds: float
    trouble: str
    records: Sequence[ServiceRecord]
    rejected: Mapping[str, str]
    names: Sequence[str] | None

    def __str__(self) -> str:
        """No node of 'greter' in registry 'mdns' after 1.0 s, namespace 'default'; did you mean 'greeter'?"""
        after = f"after {self.seconds:.1f} s, namespace {self.namespace or DEFAULT_NAMESPACE!r}"
        if self.records and self.filter is not None:
            return (
                f"no node of {self.service!r} with {wanted(self.filter)} in registry {self.registry!r} {after}; "
                f"there is {present(self.filter, self.records)}"
            )
        if self.trouble:
            return f"no node of {self.service!r}: registry {self.registry!r} did not answer {after} ({self.trouble})"
        text = f"no node of {self.service!r} in registry {self.registry!r} {after}"
        if self.rejected:
            key, reason = min(self.rejected.items())
            return f"{text}; {len(self.rejected)} cannot be called, {key[:60]!r} for one: {reason}"
        hint = suggestion(self.service, self.names)
        return f"{text}; {hint}" if hint else text


def wanted(filter: Filter) -> str:
    """What a filter asks for."""
    parts = [] if filter.version is None else [f"version {filter.version!r}"]
    parts += [f"{key}={value!r}" for key, value in sorted(filter.labels)]
    if filter.predicate is not None:
        parts.append("what the filter function asks for")
    return " and ".join(parts) or "nothing asked for"


def present(filter: Filter, records: Iterable[ServiceRecord]) -> str:
    """What the nodes have where the filter asks: their versions, and the values of each label."""
    records = list(records)
    parts = [f"version {_listed(record.version for record in records)}"]
    for key in sorted({key for key, _ in filter.labels}):
        values = {node.metadata.get(key, record.metadata.get(key)) for record in records for node in record.nodes}
        found = [value for value in values if value is not None]
        parts.append(f"{key}={_listed(found)}" if found else f"no {key}")
    return " and ".join(parts)


def suggestion(service: str, names: Sequence[str] | None) -> str:
    """What to write instead, as far as it is known."""
    if names is None:
        return ""
    if not names:
        return "it lists no service at all"
    from difflib import get_close_matches  # a slow import, for error texts alone

    lowered = {name.lower(): name for name in names[:1_000] if name != service}
    close = get_close_matches(service.lower(), lowered, n=1, cutoff=0.6)
    return f"did you mean {lowered[close[0]][:60]!r}?" if close else f"it lists {_listed(names)}"


def _listed(values: Iterable[str]) -> str:
    distinct = sorted(set(values))
    text = ", ".join(repr(value[:60]) for value in distinct[:SHOWN])
    return f"{text} and {len(distinct) - SHOWN} more" if len(distinct) > SHOWN else text
