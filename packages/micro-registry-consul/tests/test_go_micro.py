"""The wire of Go Micro, by requests that real releases sent (WIRE §2)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from consul_agent import Agent
from micro_conformance.polling import eventually
from micro_core import Endpoint, Node, NotRegistered, ServiceRecord, Value
from micro_registry_consul import ConsulRegistry, records
from scripted import answer, scripted

pytestmark = pytest.mark.anyio
CASES: dict[str, Any] = json.loads((Path(__file__).parent / "go_micro.json").read_text())
TTL = {"v1.1.0 defaults": 0.0, "v1.1.0 with-ttl": 90.0, "v1.18.0 defaults": 60.0, "v1.18.0 with-ttl": 20.0}


def value(plain: Any) -> Value | None:
    if plain is None:
        return None
    inner = [value(one) for one in plain["values"] or ()]
    return Value(plain["name"], plain["type"], tuple(one for one in inner if one))


def understood(case: Any) -> ServiceRecord:
    """What Go's own reader made of the registration."""
    (plain,) = case["understood"]
    (node,) = plain["nodes"]
    address = f"{node['address']}:{node['port']}" if "port" in node else node["address"]
    endpoints = tuple(
        Endpoint(one["name"], value(one["request"]), value(one["response"]), one["metadata"] or {})
        for one in plain["endpoints"]
    )
    return ServiceRecord(plain["name"], plain["version"], (Node(node["id"], address, node["metadata"]),), endpoints)


def unpacked(tags: list[str]) -> set[tuple[str, str]]:
    def plain(tag: str) -> str:
        data = zlib.decompress(bytes.fromhex(tag[2:])).decode()
        return data if tag[0] == "v" else json.dumps(json.loads(data), sort_keys=True)

    assert all(tag == tag.lower() for tag in tags)
    return {(tag[:2], plain(tag)) for tag in tags}


@pytest.mark.parametrize("name", CASES)
async def test_it_reads_what_go_micro_registered(name: str, agent: Agent, make: Callable[..., ConsulRegistry]) -> None:
    case = CASES[name]
    agent.ask("PUT", "/v1/agent/service/register", case["register"])
    node = case["register"]["ID"]
    if case["register"]["Check"]:
        agent.ask("PUT", f"/v1/agent/check/pass/service:{node}?note=")
    try:
        async with make() as registry:
            wanted = understood(case)

            async def read() -> bool:
                try:
                    return await registry.get_service(wanted.name) == (wanted,)
                except NotRegistered:
                    return False

            await eventually(read, within=20)
            assert ServiceRecord(wanted.name, wanted.version) in await registry.list_services()
    finally:
        agent.ask("PUT", f"/v1/agent/service/deregister/{node}")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_sends_what_go_micro_sends(name: str) -> None:
    case, wanted = CASES[name], understood(CASES[name])
    async with (
        scripted(lambda asked: answer({} if "services" in asked.path else [])) as server,
        ConsulRegistry(ConsulRegistry.Options(address=(server.address,), liveness=0)) as registry,
    ):
        await registry.register(wanted, ttl=TTL[name])
        sent = [asked for asked in server.asked if asked.method == "PUT"]
        await registry.deregister(wanted)
        with pytest.raises(NotRegistered):
            await registry.get_service(wanted.name)
        await registry.list_services()
    body = {key.lower(): part for key, part in json.loads(sent[0].body).items()}
    theirs = {key.lower(): part for key, part in case["register"].items() if part is not None}
    assert unpacked(body.pop("tags")) == unpacked(theirs.pop("tags"))
    assert body.pop("meta") == dict(wanted.nodes[0].metadata)  # Go Micro's from 5.7 on
    assert body == theirs
    paths = [f"{asked.method} {asked.path}".removesuffix("?note=") for asked in server.asked]
    for step in ("get", "list"):
        assert case["paths"][step][-1] in paths
    assert case["paths"]["deregister"][0] in paths
    beats = {path.removesuffix("?note=") for path in case["paths"]["register"] if "check/pass" in path}
    assert beats == {path for path in paths if "check/pass" in path}


def entry(id: str, *tags: str, status: str = "passing", **service: Any) -> dict[str, Any]:
    return {
        "Node": {"Address": "10.0.0.1"},
        "Service": {"ID": id, "Service": "greeter", "Tags": [*tags], "Address": "", "Port": 7001, **service},
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": f"service:{id}", "Status": status}],
    }


def packed(letter: str, text: str) -> str:
    return f"{letter}-{zlib.compress(text.encode()).hex()}"


async def test_nodes_with_a_critical_check_are_left_out_and_warnings_kept() -> None:
    answer = [entry(status, "v=1", status=status) for status in ("passing", "warning", "critical")]
    (record,) = records.read_health("greeter", answer).records
    assert [node.id for node in record.nodes] == ["passing", "warning"]


async def test_an_empty_address_is_the_consul_nodes_and_ipv6_has_brackets() -> None:
    answer = [entry("a", "v=1"), entry("b", "v=1", Address="::1"), entry("c", "v=1", Port=0, Address="10.0.0.2")]
    (record,) = records.read_health("greeter", answer).records
    assert [node.address for node in record.nodes] == ["10.0.0.1:7001", "[::1]:7001", "10.0.0.2"]
    assert records.host_and_port("[::1]:7001") == ("::1", 7001)


async def test_plain_tags_are_read_and_the_form_that_comes_first_counts() -> None:
    tags = ["v=7", packed("v", "8"), 't={"zone":"x"}', packed("t", '{"zone":"y"}'), 'e={"name":"Say.Hello"}', "other"]
    (record,) = records.read_health("greeter", [entry("a", *tags)]).records
    assert (record.version, dict(record.nodes[0].metadata)) == ("7", {"zone": "x"})
    assert record.endpoints == (Endpoint("Say.Hello"),)


@pytest.mark.parametrize(
    "broken",
    [
        entry("a", "v-zz"),
        entry("a", packed("v", "x" * 300)),
        entry("a", packed("v", "x" * 200_000)),
        entry("a", packed("v", "1")[:-6]),
        entry("a", "v=1", Port="7001"),
        entry("a", "v=1", Service=7),
        entry("a", "v=1", Tags={"v": 1}),
        entry("", "v=1"),
        {"Service": None},
        "entry",
    ],
)
async def test_a_node_that_cannot_be_read_is_left_out_and_told(broken: Any) -> None:
    read = records.read_health("greeter", [broken, entry("whole", "v=1")])
    assert [node.id for record in read.records for node in record.nodes] == ["whole"]
    assert len(read.unreadable) == 1


@pytest.mark.parametrize(
    "tag", ["e-zz", "t-zz", packed("e", "[" * 100_000), packed("t", "[1]"), packed("t", '{"a":1}'), packed("e", "{}")]
)
async def test_tags_of_other_people_that_look_alike_do_no_harm(tag: str) -> None:
    (record,) = records.read_health("greeter", [entry("a", "v=1", tag)]).records
    assert (record.endpoints, dict(record.nodes[0].metadata)) == ((), {})


async def test_what_is_not_go_micros_is_callable_by_name_but_not_listed(
    agent: Agent, make: Callable[..., ConsulRegistry]
) -> None:
    name = f"plain-{uuid4().hex[:8]}"
    agent.ask("PUT", "/v1/agent/service/register", {"Name": name, "Address": "127.0.0.1", "Port": 80})
    async with make() as registry:

        async def there() -> bool:
            try:
                return await registry.get_service(name) == (ServiceRecord(name, "", (Node(name, "127.0.0.1:80"),)),)
            except NotRegistered:
                return False

        await eventually(there, within=20)
        assert {"consul", name}.isdisjoint(record.name for record in await registry.list_services())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(90, "1m30s"), (60, "1m0s"), (20, "20s"), (0.2, "200ms"), (1.5, "1.5s"), (3600, "1h0m0s"), (0.00001, "1ms")],
)
async def test_durations_are_written_as_go_does(seconds: float, text: str) -> None:
    assert records.duration(seconds) == text
