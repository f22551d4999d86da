"""What a server says of itself: in JSON, and in protobuf as the releases of Go Micro number it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from micro_core import Head
from micro_rpc.envelopes import PROTO_RPC
from rpc_rig import Rig, Wire, hello, unary, wire_of

pytestmark = pytest.mark.anyio

PROTOBUF = "application/protobuf"
OLD = ["started", "uptime", "memory", "threads", "gc"]
"""The fields of StatsResponse in v1.1.0, from 1 on."""
NEW = ["timestamp", *OLD]
"""Those of v1.18.0, v2.9.1 and v4.11.0, of which the last two have two more."""


async def test_in_json(rig: Rig) -> None:
    await rig.serve()
    client = await rig.client()
    assert (await client.call(hello({}, endpoint="Debug.Health"))).value == {"status": "ok"}
    stats = (await client.call(hello({}, endpoint="Debug.Stats"))).value
    assert sorted(stats) == sorted(OLD)
    assert stats["memory"] > 1_000_000
    assert all(isinstance(value, int) for value in stats.values())


@pytest.mark.parametrize("body", [b"", b"\n\x07greeter"])
async def test_health_in_protobuf(rig: Rig, body: bytes) -> None:
    reply = await (await wire_of(rig)).answer(head_of("Debug.Health"), body)
    assert reply.head["content-type"] == PROTOBUF
    assert reply.body == b"\x0a\x02ok"


async def test_stats_in_protobuf_have_the_numbers_that_their_caller_knows(rig: Rig) -> None:
    wire = await wire_of(rig)
    for _ in range(2):
        await _check(wire, head_of("Debug.Stats"), NEW)
        await _check(wire, head_of("Debug.Stats") | {"x-micro-endpoint": "Debug.Stats"}, OLD)
    without_content_type = head_of("Debug.Stats")
    del without_content_type["content-type"]
    await _check(wire, without_content_type, NEW)


async def _check(wire: Wire, head: Head, names: list[str]) -> None:
    stats = dict(zip(names, _numbers((await wire.answer(head, b"")).body, len(names)), strict=True))
    assert abs(stats.get("timestamp", time.time()) - time.time()) < 5
    assert stats["started"] <= time.time() < stats["started"] + stats["uptime"] + 5
    assert stats["memory"] > 1_000_000
    assert 0 < stats["threads"] < 100


async def test_in_the_envelope_of_proto_rpc(rig: Rig) -> None:
    wire = await wire_of(rig)
    head = head_of("Debug.Health") | {"content-type": "application/proto-rpc"}
    reply = await wire.answer(head, PROTO_RPC.write_request("Debug.Health", "7", b""))
    assert PROTO_RPC.read_reply(reply.body).payload == b"\x0a\x02ok"


async def test_by_grpc(rig: Rig) -> None:
    wire = await wire_of(rig)
    reply = await wire.answer({":path": "/greeter.Debug/Health", "content-type": "application/grpc"}, b"")
    assert reply.body == b"\x0a\x02ok"
    assert reply.head["grpc-status"] == "0"


async def test_in_a_content_type_that_cannot_carry_it(rig: Rig) -> None:
    error = await (await wire_of(rig)).error(head_of("Debug.Health") | {"content-type": "application/octet-stream"})
    assert error["code"] == 415


async def test_an_endpoint_of_that_name_takes_its_place(rig: Rig) -> None:
    await rig.serve(unary(lambda call: {"mine": True}, name="Debug.Stats"))
    client = await rig.client()
    assert (await client.call(hello({}, endpoint="Debug.Stats"))).value == {"mine": True}
    wire = Wire(rig, rig.listeners[0], [])
    assert json.loads((await wire.answer(head_of("Debug.Stats"))).head["micro-error"])["code"] == 415


def head_of(endpoint: str) -> dict[str, Any]:
    return {"micro-service": "greeter", "micro-endpoint": endpoint, "content-type": PROTOBUF}


def _numbers(body: bytes, count: int) -> list[int]:
    """The fields from 1 on, all of them varints; those that are not there are 0."""
    found, position = [0] * count, 0
    while position < len(body):
        field, shift = body[position], 0
        assert field & 7 == 0
        more = True
        while more:
            position += 1
            found[(field >> 3) - 1] |= (body[position] & 127) << shift
            shift, more = shift + 7, body[position] > 127
        position += 1
    return found
