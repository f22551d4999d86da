"""Records and packets, byte by byte."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from micro_core import Endpoint, Node, RegistryUnavailable, ServiceRecord, Value
from micro_registry_mdns import packets
from micro_registry_mdns.engine import Engine
from micro_registry_mdns.record_text import BadRecord, decode_record, encode_record, to_strings
from zeroconf import DNSIncoming  # type: ignore[attr-defined]

PORT = 5353
LO = "127.0.0.1"
NAMES = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40)
TEXTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), NAMES, max_size=4)
VALUES = st.recursive(
    st.builds(Value, NAMES, NAMES), lambda inner: st.builds(Value, NAMES, NAMES, st.tuples(inner, inner)), max_leaves=5
)
ENDPOINTS = st.builds(Endpoint, NAMES, st.none() | VALUES, st.none() | VALUES, TEXTS)
NODES = st.builds(Node, NAMES, NAMES, TEXTS)
RECORDS = st.builds(ServiceRecord, NAMES, NAMES, st.tuples(NODES), st.lists(ENDPOINTS, max_size=3).map(tuple), TEXTS)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: ServiceRecord) -> None:
    assert decode_record(encode_record(record))[0] == record


@given(RECORDS)
def test_any_record_fits_names_and_packets(record: ServiceRecord) -> None:
    text = encode_record(record)
    parsed = [packets.parse(packet) for packet in packets.answer([packets.announced(record, text)], None)]
    read = [packets.read(packet) for packet in parsed if packet is not None]
    assert len(read) == len(parsed)
    assert [heard.texts for heard in read if heard.texts] == [(text,)]  # a large text travels alone


WHOLE: dict[str, Any] = {
    "Service": "greeter",
    "Version": "1",
    "Metadata": {},
    "Endpoints": [],
    "Node": {"id": "a", "address": "127.0.0.1:1", "metadata": {}},
}
DEEP: dict[str, Any] = {"name": "a", "type": "b", "values": []}
for _ in range(20):
    DEEP = {"name": "a", "type": "b", "values": [DEEP]}
WRONG = [
    {"Service": ""},
    {"Service": 7},
    {"Service": "a\nb"},
    {"Service": "x" * 256},
    {"Version": None},
    {"Metadata": []},
    {"Metadata": {"a": 1}},
    {"Endpoints": {}},
    {"Endpoints": [{"name": "A.B", "request": DEEP, "response": None, "metadata": {}}]},
    {"Endpoints": [{"name": "A.B", "request": "x", "response": None, "metadata": {}}]},
    {"Node": None},
    {"Node": {"id": "a", "address": "", "metadata": {}}},
    {"Node": {"id": True, "address": "a:1", "metadata": {}}},
]


def text_of(body: bytes) -> bytes:
    return to_strings(zlib.compress(body))


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_record_of_wrong_types_or_lengths_is_bad(wrong: dict[str, Any]) -> None:
    decode_record(text_of(json.dumps(WHOLE).encode()))
    with pytest.raises(BadRecord):
        decode_record(text_of(json.dumps({**WHOLE, **wrong}).encode()))


BAD = {
    "empty": b"",
    "string cut short": b"\x05ab",
    "not deflated": b"\x05hello",
    "deflate cut short": to_strings(zlib.compress(json.dumps(WHOLE).encode())[:-3]),
    "bomb": text_of(b" " * 5_000_000),
    "not JSON": text_of(b"{"),
    "not UTF-8": text_of(b'{"Service": "\xff"}'),
    "nested": text_of(b"[" * 60_000),
    "huge number": text_of(b"9" * 60_000),
    "a list": text_of(b"[]"),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_what_is_no_record_is_bad(text: bytes) -> None:
    with pytest.raises(BadRecord):
        decode_record(text)


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for text in (data, to_strings(data), text_of(data)):
        with pytest.raises(BadRecord):
            decode_record(text)


def test_a_record_that_fits_no_packet_says_what_to_do() -> None:
    noise = random.Random(1).randbytes(12_000).hex()
    with pytest.raises(RegistryUnavailable, match=r"'greeter' takes \d+ bytes.*less metadata"):
        encode_record(ServiceRecord("greeter", "1", (Node("a", "h:1", {"noise": noise}),)))


def test_an_unprintable_name_cannot_be_announced() -> None:
    with pytest.raises(ValueError, match="'gree\\\\nter' cannot be announced"):
        encode_record(ServiceRecord("gree\nter", "1", (Node("a", "h:1"),)))


# what other DNS-SD software sees


def node(id: str, noise: int = 0) -> ServiceRecord:
    return ServiceRecord("greeter", "1", (Node(id, "127.0.0.1:9000", {"x": random.Random(id).randbytes(noise).hex()}),))


def speaker(count: int, noise: int = 0) -> Engine:
    engine = Engine(PORT, random.Random(1))
    engine.add_link(LO, 0.0)
    engine.register([node(f"node-{at}", noise) for at in range(count)], 0, 0.0)
    engine.poll(0.0)
    engine.poll(2.0)
    return engine


def answers(engine: Engine, name: str, kind: int, now: float = 10.0) -> list[Any]:
    engine.receive(LO, (LO, PORT), packets.ask([(name, kind)]), now)
    sent = [out.packet for out in engine.poll(now + 0.02)]
    return [record for packet in sent for record in DNSIncoming(packet).answers()]


def test_the_type_is_answered_with_instances_targets_and_addresses() -> None:
    records = answers(speaker(2), packets.TYPE, packets.PTR)
    kinds = [packets.A, *[packets.PTR, packets.TXT, packets.SRV] * 2]
    assert sorted(record.type for record in records) == sorted(kinds)
    pointers = {record.alias for record in records if record.type == packets.PTR}
    assert pointers == {record.name for record in records if record.type == packets.SRV}
    assert {(record.server, record.port) for record in records if record.type == packets.SRV} == {
        ("micro-127-0-0-1.local.", 9000)
    }


def test_an_instance_a_target_and_the_types_are_answered_in_any_case() -> None:
    engine = speaker(2)
    (instance, *_) = [own.announced.instance for own in engine.responder.nodes.values()]
    for kind in (packets.SRV, packets.TXT, packets.ANY):
        engine = speaker(2)
        assert {record.alias for record in answers(engine, instance.upper(), kind) if record.type == packets.PTR} == {
            instance
        }
    assert packets.A in {record.type for record in answers(speaker(1), "micro-127-0-0-1.local.", packets.A)}
    assert [record.alias for record in answers(speaker(1), packets.TYPES, packets.PTR)] == [packets.TYPE]
    assert answers(speaker(1), "_other._tcp.local.", packets.PTR) == []


def test_an_ipv6_address_is_answered_too() -> None:
    engine = Engine(PORT, random.Random(1))
    engine.add_link(LO, 0.0)
    engine.register([ServiceRecord("greeter", "1", (Node("a", "[fd00::2]:9000"),))], 0, 0.0)
    engine.poll(0.0)
    engine.poll(2.0)
    records = answers(engine, "micro-fd00--2.local.", packets.AAAA)
    assert {record.server for record in records if record.type == packets.SRV} == {"micro-fd00--2.local."}
    assert [record.address[-1] for record in records if record.type == packets.AAAA] == [2]


def test_a_question_that_is_repeated_is_not_answered_each_time() -> None:
    engine = speaker(1)
    assert answers(engine, packets.TYPE, packets.PTR, 10.0)
    assert not answers(engine, packets.TYPE, packets.PTR, 10.03)
    assert answers(engine, packets.TYPE, packets.PTR, 10.5)


def test_nodes_share_packets_that_stay_below_1400_bytes_and_a_large_one_goes_alone() -> None:
    engine = Engine(PORT, random.Random(1))
    engine.add_link(LO, 0.0)
    engine.register([node(f"node-{at}", 40) for at in range(30)], 0, 0.0)
    sizes = [len(out.packet) for out in engine.poll(0.0)]
    assert max(sizes) <= 1400
    assert len(sizes) < 12
    engine.register([node("large", 3500)], 0, 5.0)
    assert 3500 < max(len(out.packet) for out in engine.poll(5.0)) < 9000


def test_more_nodes_than_a_beat_holds_are_refused() -> None:
    engine = Engine(PORT, random.Random(1))
    engine.add_link(LO, 0.0)
    engine.register([node(f"node-{at}") for at in range(1000)], 0, 0.0)
    with pytest.raises(RegistryUnavailable, match="at most 1000"):
        engine.register([node("one more")], 0, 0.0)
    assert max(len(out.packet) for out in engine.poll(0.0)) < 9000
