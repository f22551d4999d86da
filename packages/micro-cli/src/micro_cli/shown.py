"""The tables of `micro get`: endpoints, subscribers, and the fields of every type that they name."""

from __future__ import annotations

from collections.abc import Sequence

from micro_core import ServiceRecord

from micro_cli.annotations import Annotations, is_struct
from micro_cli.interface import SAID, Interface, Interfaces, Schema

Row = tuple[str, ...]


def endpoint_rows(record: ServiceRecord, types: Interfaces) -> Sequence[Row]:
    """Endpoint, request, reply, and what else was registered with it."""
    written = Annotations(types, str)
    metadata = {endpoint.name: endpoint.metadata for endpoint in record.endpoints}
    rows = []
    for each in types.endpoints.values():
        rest = " ".join(f"{key}={value}" for key, value in sorted(metadata[each.name].items()) if key not in SAID)
        rows.append((each.name, *_sides(each, written), rest))
    return rows


def _sides(interface: Interface, written: Annotations) -> tuple[str, str]:
    request, reply = (
        "-" if side is None else _plain(written.of(side)) for side in (interface.request, interface.reply)
    )
    if interface.stream in ("client", "both"):
        request = f"stream of {request}"
    return request, f"stream of {reply}" if interface.stream in ("server", "both") else reply


def event_rows(record: ServiceRecord) -> Sequence[Row]:
    """Subscriber, topic, and the name of what it takes."""
    subscribers = [endpoint for endpoint in record.endpoints if "topic" in endpoint.metadata]
    return [
        (each.name, each.metadata["topic"], (each.request and each.request.type) or "-")
        for each in sorted(subscribers, key=lambda each: each.name)
    ]


def type_rows(types: Interfaces) -> Sequence[Row]:
    """Type, field, what it holds, and what it is when it is left out; one row for a type that is a choice of values."""
    written = Annotations(types, str)
    return [row for name in sorted(types.defs) for row in _type(name, types.defs[name], written)]


def _type(name: str, schema: Schema, written: Annotations) -> Sequence[Row]:
    if not is_struct(schema):
        return []
    required = schema.get("required", ())
    return [
        (name if not at else "", field, _plain(written.of(each)), _left_out(each, field in required))
        for at, (field, each) in enumerate(schema["properties"].items())
    ]


def _left_out(schema: Schema, required: bool) -> str:
    from micro_cli.output import as_json

    if "default" in schema:
        return as_json(schema["default"])
    return "required" if required else "-"


def _plain(annotation: str) -> str:
    """Without the names of modules."""
    for module in ("dt.", "uuid.", "decimal."):
        annotation = annotation.replace(module, "")
    return annotation
