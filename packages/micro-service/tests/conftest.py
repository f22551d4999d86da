"""Services of one test see each other and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2


@pytest.fixture
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> dict[str, Any]:
    """What to choose so that everything stays in this test."""
    monkeypatch.chdir(tmp_path)
    store = request.node.nodeid
    return {
        "registry": "memory",
        "transport": "memory",
        "broker": "memory",
        "options": {f"{kind}.memory.address": store for kind in ("registry", "transport", "broker")},
    }


@pytest.fixture
def message() -> Callable[..., Any]:
    """Makes the class of a message `peer.Request`; a field is (type, label, name of its type)."""

    def make(fields: dict[str, tuple[Any, Any, str]]) -> Any:
        file = descriptor_pb2.FileDescriptorProto(
            name="peer.proto", package="peer", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
        )
        made = file.message_type.add(name="Request")
        for number, (field, (type_, label, type_name)) in enumerate(fields.items(), 1):
            made.field.add(name=field, number=number, type=type_, label=label, type_name=type_name or None)
        made.nested_type.add(name="Part").field.add(name="size", number=1, type=13, label=1)
        entry = made.nested_type.add(name="CountsEntry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=9, label=1)
        entry.field.add(name="value", number=2, type=5, label=1)
        made.enum_type.add(name="Kind").value.add(name="NONE", number=0)
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
        pool.AddSerializedFile(file.SerializeToString())
        return message_factory.GetMessageClass(pool.FindMessageTypeByName("peer.Request"))

    return make
