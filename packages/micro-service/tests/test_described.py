"""The schemas of records: as many as there is room for, and left out where a type has none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import micro
import pytest
from micro.described import KEY, described, packed_size
from micro.handlers import handlers_of
from micro_core import ServiceRecord


@dataclass
class Address:
    city: str
    zip: str | None = None


@dataclass
class Everything:
    text: str
    number: int
    size: float = 1.5
    flag: bool = False
    data: bytes = b"x"
    addresses: dict[str, Address] = field(default_factory=dict)
    either: int | str | None = 1
    whatever: Any = None


class Say:
    async def hello(self, request: Address) -> str:
        return ""

    async def long(self, request: Everything) -> Everything:
        return request

    def count(self, to: int) -> AsyncIterator[Address]:
        raise AssertionError

    async def anything(self, request: Any) -> Any:
        return request


def with_schema(room: int) -> dict[str, Any]:
    endpoints = described(handlers_of(Say), room)
    return {each.name: json.loads(each.metadata[KEY]) for each in endpoints if KEY in each.metadata}


def test_all_have_a_schema_where_there_is_room() -> None:
    found = with_schema(10_000)
    assert found.keys() == {"Say.Hello", "Say.Long", "Say.Count"}
    assert found["Say.Count"]["request"] == {"type": "integer"}
    assert found["Say.Count"]["reply"] == {"$ref": "#/$defs/Address"}


def test_the_shortest_come_first_and_no_more_than_fit() -> None:
    whole = packed_size(described(handlers_of(Say), 10_000))
    assert with_schema(whole).keys() == {"Say.Hello", "Say.Long", "Say.Count"}
    assert with_schema(whole - 1).keys() == {"Say.Hello", "Say.Count"}
    for room in (0, 1, packed_size(handler.endpoint for handler in handlers_of(Say))):
        assert with_schema(room) == {}
        assert len(described(handlers_of(Say), room)) == 4


def test_a_type_that_has_no_schema_is_served_without() -> None:
    class Odd:
        async def hello(self, request: complex) -> str:
            return ""

    (endpoint,) = described(handlers_of(Odd), 1000)
    assert endpoint.metadata == {}


@pytest.mark.anyio
async def test_a_service_registers_them_as_its_setting_says(memory: dict[str, Any]) -> None:
    def record(service: micro.Service) -> ServiceRecord:
        return service.record

    whole = packed_size(described(handlers_of(Say), 10_000))
    for room, expected in (
        (whole, {"Say.Hello", "Say.Long", "Say.Count"}),
        (whole - 50, {"Say.Hello", "Say.Count"}),
        (0, set()),
    ):
        memory["options"]["register.schemas"] = room
        service = micro.Service("greeter", **memory)
        service.handler(Say)
        async with service:
            found = {endpoint.name for endpoint in record(service).endpoints if KEY in endpoint.metadata}
            assert found == expected
