"""Go Micro's names: bytes captured from its releases, a simulated network, and hostile packets. No sockets."""

from __future__ import annotations

import heapq
import json
import random
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from micro_core import Endpoint, Node, ServiceRecord
from micro_registry_mdns import go_listener, packets
from micro_registry_mdns.engine import Engine
from micro_registry_mdns.go_names import (
    ASK,
    CHECK,
    CHECKS,
    DOMAINS,
    Asked,
    announcement,
    answer,
    encode_name,
    listing,
    question,
    read_text,
    spoken,
    told_in,
)
from micro_registry_mdns.packets import ANY, BEATS, PTR, SRV, TXT, A
from micro_registry_mdns.record_text import BadRecord, to_strings
from zeroconf import DNSIncoming  # type: ignore[attr-defined]

VECTORS = Path(__file__).parent / "vectors"
RELEASES = {"v1.1.0": "local", "v1.18.0": "micro", "v2.9.1": "micro", "v4.11.0": "micro"}
PORT = 5353
LO = "127.0.0.1"
ID = "go.micro.srv.greeter-11111111-2222-3333-4444-555555555555"


def captured(release: str, case: str) -> list[tuple[dict[str, Any], bytes]]:
    found = json.loads((VECTORS / release / f"mdns-{case}.json").read_text())["packets"]
    return [(packet, bytes.fromhex(packet["hex"])) for packet in found]


def parsed(data: bytes) -> DNSIncoming:
    packet = packets.parse(data)
    assert packet is not None
    return packet


def record(
    service: str = "greeter", id: str = "greeter-1", address: str = "127.0.0.1:7001", **meta: str
) -> ServiceRecord:
    endpoint = Endpoint("Say.Hello", None, None, {"stream": "true"})
    return ServiceRecord(service, "1.2.3", (Node(id, address, {"protocol": "mucp", **meta}),), (endpoint,))


def shape(data: bytes) -> list[tuple[str, int, int, float]]:
    """Names, types, classes and lifetimes in their order; host names are everybody's own."""
    answers = parsed(data).answers()
    return [("" if one.type == A else one.name, one.type, one.class_, one.ttl) for one in answers]


# bytes


@pytest.mark.parametrize("release", RELEASES)
def test_what_go_says_of_a_node_is_read(release: str) -> None:
    for case, leaves in (("get", False), ("register", False), ("deregister", True)):
        answers = [data for _, data in captured(release, case) if data[2] & 0x80]
        assert answers
        for data in answers:
            ((told,), listed) = told_in(parsed(data))
            if told.instance.endswith("http.broker"):
                continue  # every server of v1.18 subscribes, too
            assert (told.instance, told.domain) == (f"{ID}.go.micro.srv.greeter", RELEASES[release])
            assert (told.address, told.leaves, listed) == ("127.0.0.1:7001", leaves, [])
            found, _ = read_text(told.text)
            assert (found.name, found.version, told.beats) == ("go.micro.srv.greeter", "1.2.3", False)
            assert found.metadata["registry"] == "mdns"
            assert {endpoint.name for endpoint in found.endpoints} >= {"Say.Hello", "Say.Chat"}


@pytest.mark.parametrize("release", RELEASES)
def test_what_go_lists_is_read(release: str) -> None:
    data = next(data for _, data in captured(release, "list") if data[2] & 0x80)
    assert told_in(parsed(data)) == ([], ["go.micro.srv.greeter"])


@pytest.mark.parametrize("release", RELEASES)
def test_what_go_asks_is_answered_as_go_answers_and_the_question_repeated(release: str) -> None:
    engine = alone()
    engine.register([record("go.micro.srv.greeter", ID)], 0, 0.0)
    settle(engine)
    for case in ("get", "list"):
        (asked, question_data), *others = captured(release, case)
        theirs = next(data for packet, data in others if packet["dport"] == asked["sport"])
        engine.receive(LO, (LO, asked["sport"]), question_data, 10.0)
        (out,) = engine.poll(10.0)
        assert (out.to, out.question) == ((LO, asked["sport"]), False)
        assert shape(out.packet) == shape(theirs)
        ours = parsed(out.packet)
        assert (ours.flags, ours.id) == (0x8400, 0)
        assert [(one.name, one.type, one.class_) for one in ours.questions] == [
            (one.name, one.type, one.class_) for one in parsed(question_data).questions
        ]


@pytest.mark.parametrize("release", RELEASES)
def test_announcements_and_goodbyes_are_gos(release: str) -> None:
    domain = RELEASES[release]
    node = spoken(record("go.micro.srv.greeter", ID))
    for case, leaves in (("register", False), ("deregister", True)):
        theirs = next(data for _, data in captured(release, case) if data[2] & 0x80)
        ours = announcement(node, domain, leaves=leaves)
        assert shape(ours) == shape(theirs)
        assert ours[:12] == theirs[:12]


@pytest.mark.parametrize(
    ("name", "kind", "kinds"),
    [
        ("greeter.micro.", PTR, [PTR, SRV, A, TXT]),
        ("greeter.local.", ANY, [PTR, SRV, A, TXT]),
        ("greeter-1.greeter.micro.", ANY, [SRV, A, TXT]),
        ("greeter-1.greeter.micro.", SRV, [SRV, A]),
        ("greeter-1.greeter.micro.", TXT, [TXT]),
        ("_services.micro.", PTR, [PTR, SRV, A, TXT]),
        ("greeter-1.greeter.micro.", PTR, None),
        ("greeter.micro.", SRV, None),
        ("Greeter.micro.", PTR, None),
        ("greeter.example.", PTR, None),
        ("micro.", PTR, None),
        ("other.micro.", PTR, None),
    ],
)
def test_what_is_asked_is_answered(name: str, kind: int, kinds: list[int] | None) -> None:
    engine = alone()
    engine.register([record()], 0, 0.0)
    settle(engine)
    engine.receive(LO, (LO, 40000), question(name, kind, 7, beats=False), 10.0)
    outs = engine.poll(10.0)
    assert [[one.type for one in parsed(out.packet).answers()] for out in outs] == ([kinds] if kinds else [])


def test_an_id_is_repeated_for_who_asks_for_unicast() -> None:
    engine = alone()
    engine.register([record()], 0, 0.0)
    settle(engine)
    asked = bytearray(question("greeter.micro.", PTR, 7, beats=False))
    asked[-2] |= 0x80
    engine.receive(LO, (LO, 40000), bytes(asked), 10.0)
    assert [parsed(out.packet).id for out in engine.poll(10.0)] == [7]


@pytest.mark.parametrize(
    ("id", "address"),
    [
        ("x" * 64, "127.0.0.1:1"),
        ("a..b", "127.0.0.1:1"),
        (".a", "127.0.0.1:1"),
        ("ü" * 32, "127.0.0.1:1"),
        ("a.b." * 60 + "c", "127.0.0.1:1"),
        ("a", "example.org:1"),
        ("a", "127.0.0.1:0"),
        ("a", "127.0.0.1:65536"),
        ("a", "127.0.0.1:http"),
    ],
)
def test_what_these_names_cannot_hold_is_left_out_and_told(
    id: str, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = alone()
    engine.register([record(id=id, address=address)], 0, 0.0)
    assert engine.poll(0.0) == []
    assert "Go Micro will not find node" in caplog.text


def test_the_longest_names_are_spoken() -> None:
    assert encode_name("x" * 63 + ".micro.")[0] == 63
    node = spoken(record(id="x" * 63))
    assert shape(announcement(node, "micro"))[0][0] == "x" * 63 + ".greeter.micro."


def test_ipv6_addresses_are_told_and_read() -> None:
    node = spoken(record(address="[2001:db8::1]:7001"))
    ((told,), _) = told_in(parsed(announcement(node, "micro")))
    assert told.address == "[2001:db8::1]:7001"


def test_endpoints_that_fit_no_packet_are_left_out_and_metadata_is_refused() -> None:
    noise = random.Random(1).randbytes(5000).hex()
    crowded = replace(record(), endpoints=(Endpoint("A.B", None, None, {"noise": noise}),))
    packet = announcement(spoken(crowded), "micro")
    assert len(packet) < 9000
    ((told,), _) = told_in(parsed(packet))
    assert read_text(told.text)[0].endpoints == ()
    with pytest.raises(ValueError, match="its metadata takes"):
        spoken(record(noise=noise))


@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=5),
)
def test_whatever_is_spoken_is_read(service: str, id: str, metadata: dict[str, str]) -> None:
    one = ServiceRecord(service, "1", (Node(id, "10.0.0.1:80", metadata),))
    try:
        node = spoken(one)
    except (ValueError, UnicodeEncodeError):
        return
    for domain in DOMAINS:
        heard = told_in(parsed(announcement(node, domain)))[0]
        assert [(told.instance, told.domain, told.address) for told in heard] == [
            (f"{id}.{service}", domain, "10.0.0.1:80")
        ]


# a simulated network


class Network:
    """Engines on one link. Questions leave from a port of the asker's own, and are answered there."""

    def __init__(self, *, loss: float = 0.0, seed: int = 0) -> None:
        self.now = 100.0
        self.rng = random.Random(seed)
        self.loss = loss
        self.engines: dict[tuple[str, int], Engine] = {}
        self.sent: list[tuple[tuple[str, int], packets.Out]] = []
        self._count = 0
        self._flying: list[tuple[float, int, Engine, str, tuple[str, int], bytes]] = []

    def add(self, address: str, *, beats: bool = True, go: bool = True) -> Engine:
        engine = Engine(PORT, random.Random(self.rng.random()), beats=beats, go=go)
        self.engines[address, 40_000 + len(self.engines)] = engine
        engine.add_link(address, self.now)
        return engine

    def crash(self, engine: Engine) -> None:
        self.engines = {place: one for place, one in self.engines.items() if one is not engine}

    def pump(self, place: tuple[str, int]) -> None:
        for out in self.engines[place].poll(self.now):
            source = place if out.question else (place[0], PORT)
            self.sent.append((source, out))
            for other, engine in self.engines.items():
                if out.to in (None, other) and self.rng.random() >= self.loss:
                    self._count += 1
                    entry = (self.now + 0.001, self._count, engine, other[0], source, out.packet)
                    heapq.heappush(self._flying, entry)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        for place in list(self.engines):
            self.pump(place)
        while (at := self._next()) <= until:
            self.now = max(self.now, at)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, engine, link, source, data = heapq.heappop(self._flying)
                if engine in self.engines.values():
                    engine.receive(link, source, data, self.now)
            for place, engine in list(self.engines.items()):
                if engine.next_due() <= self.now:
                    self.pump(place)
        self.now = until

    def _next(self) -> float:
        due = [engine.next_due() for engine in self.engines.values()]
        return min([*due, *(entry[0] for entry in self._flying[:1])], default=float("inf"))


def alone(*, beats: bool = False) -> Engine:
    engine = Engine(PORT, random.Random(1), beats=beats, go=True)
    engine.add_link(LO, 0.0)
    return engine


def settle(engine: Engine) -> None:
    for now in (0.0, 1.0, 3.0):
        engine.poll(now)


def ids(engine: Engine, name: str | None = "greeter") -> list[str]:
    return sorted(node.id for service in engine.services(name) for node in service.nodes)


def go_and_reader(**network: Any) -> tuple[Network, Engine, Engine]:
    """One that speaks as Go Micro does, and a watcher of ours."""
    net = Network(**network)
    go, reader = net.add("10.0.0.1", beats=False), net.add("10.0.0.2")
    return net, go, reader


def test_a_node_is_announced_three_times_in_each_domain_by_a_datagram_of_its_own() -> None:
    engine = alone()
    engine.register([record(id="greeter-1"), record(id="greeter-2")], 0, 0.0)
    times = [len(engine.poll(now)) for now in (0.0, 0.5, 1.0, 2.9, 3.0, 60.0)]
    assert times == [4, 0, 4, 0, 4, 0]


def test_registering_again_says_nothing_and_a_change_is_announced() -> None:
    engine = alone()
    engine.register([record()], 60, 0.0)
    settle(engine)
    engine.register([record()], 60, 10.0)
    assert engine.poll(10.0) == []
    engine.register([record(zone="b")], 60, 11.0)
    assert len(engine.poll(11.0)) == 2


@pytest.mark.parametrize("how", ["deregister", "expire", "close"])
def test_a_goodbye_is_said_in_each_domain(how: str) -> None:
    engine = alone()
    engine.register([record()], 5, 0.0)
    engine.poll(0.0)
    if how == "deregister":
        engine.deregister([("greeter", "greeter-1")], 1.0)
    outs = engine.farewell() if how == "close" else engine.poll(6.0 if how == "expire" else 1.0)
    told = [one for out in outs for one in told_in(parsed(out.packet))[0]]
    assert [(one.domain, one.leaves) for one in told] == [("local", True), ("micro", True)]
    assert engine.poll(7.0) == []


def test_who_was_there_before_is_found_and_who_comes_later_is_heard_of() -> None:
    net, go, reader = go_and_reader()
    go.register([record(address="10.0.0.1:7001", zone="größe")], 0, net.now)
    net.run(5.0)
    reader.watch(net.now, "greeter")
    net.run(0.05)
    assert not reader.go_listener.settled("greeter", net.now)
    net.run(0.06)
    assert reader.go_listener.settled("greeter", net.now)
    (service,) = reader.services("greeter")
    assert (service.version, service.nodes[0].address, service.metadata) == ("1.2.3", "10.0.0.1:7001", {})
    assert service.nodes[0].metadata == {"protocol": "mucp", "zone": "größe"}
    assert service.endpoints == record().endpoints
    net.run(20.0)
    go.register([record(id="greeter-2", address="10.0.0.1:7002")], 0, net.now)
    net.run(0.01)
    assert ids(reader) == ["greeter-1", "greeter-2"]


def test_a_goodbye_is_believed_at_once_and_is_a_departure() -> None:
    net, go, reader = go_and_reader()
    reader.watch(net.now, "greeter")
    go.register([record(address="10.0.0.1:7001")], 0, net.now)
    net.run(0.2)
    go.deregister([("greeter", "greeter-1")], net.now)
    net.run(0.01)
    assert (ids(reader), reader.departures()) == ([], [("greeter", "greeter-1")])


def test_a_changed_record_replaces_the_old_one() -> None:
    net, go, reader = go_and_reader()
    reader.watch(net.now, "greeter")
    go.register([record(address="10.0.0.1:7001", zone="a")], 0, net.now)
    net.run(0.2)
    go.register([record(address="10.0.0.1:7002", zone="b")], 0, net.now)
    net.run(0.2)
    ((node,),) = [service.nodes for service in reader.services("greeter")]
    assert (node.address, node.metadata["zone"]) == ("10.0.0.1:7002", "b")


def test_who_was_killed_is_missed_when_it_is_asked_next_and_is_no_departure() -> None:
    net, go, reader = go_and_reader()
    go.register([record(address="10.0.0.1:7001")], 0, net.now)
    reader.watch(net.now, "greeter")
    net.run(60.0)
    net.crash(go)
    assert ids(reader) == ["greeter-1"]
    net.run(1.1 * ASK + (CHECKS + 2) * CHECK)
    assert (ids(reader), reader.departures()) == ([], [])


def test_everything_is_listed_and_who_is_gone_is_not() -> None:
    net, go, reader = go_and_reader()
    go.register([record("a", "a-1", "10.0.0.1:1"), record("b", "b-1", "10.0.0.1:2")], 0, net.now)
    net.run(10.0)
    reader.watch(net.now, None)
    net.run(0.3)
    assert reader.settled(net.now, None)
    assert [service.name for service in reader.services(None)] == ["a", "b"]
    go.register([record("c", "c-1", "10.0.0.1:3")], 0, net.now)
    net.run(0.1)
    assert ids(reader, None) == ["a-1", "b-1", "c-1"]
    net.run(100.0)
    assert ids(reader, None) == ["a-1", "b-1", "c-1"]
    net.crash(go)
    net.run(2.5 * ASK)
    assert ids(reader, None) == []


def test_no_node_is_lost_though_a_fifth_of_all_packets_is() -> None:
    net, go, reader = go_and_reader(loss=0.2, seed=3)
    go.register([record(id=f"greeter-{at}", address=f"10.0.0.1:{7000 + at}") for at in range(30)], 0, net.now)
    net.run(10.0)
    reader.watch(net.now, "greeter")
    net.run(5.0)
    lost = 0
    for _ in range(60):
        net.run(2.0)
        lost += 30 - len(ids(reader))
    assert lost < 30, "one in 125 checks of three may fail; the node is found again by the next question"


def test_a_reader_that_was_held_up_loses_nobody() -> None:
    net, go, reader = go_and_reader()
    go.register([record(address="10.0.0.1:7001")], 0, net.now)
    reader.watch(net.now, "greeter")
    net.run(30.0)
    net.now += 40.0
    net.run(30.0)
    assert ids(reader) == ["greeter-1"]


def test_ours_are_not_found_twice_and_not_asked_in_vain() -> None:
    net = Network()
    speaker, reader = net.add("10.0.0.1"), net.add("10.0.0.2")
    reader.watch(net.now, "greeter")
    net.run(1.0)
    speaker.register([record(address="10.0.0.1:7001")], 0, net.now)
    net.run(1.0)
    assert ids(reader) == ["greeter-1"]
    assert reader.go_listener.nodes() == {}
    assert [out for _, out in net.sent if out.to is not None] == [], "no answer by unicast"
    net.crash(speaker)
    net.run(6.0)
    assert ids(reader) == [], "beats tell of it, as ever"


@pytest.mark.parametrize("beats", [True, False])
def test_who_does_not_beat_is_found_by_who_does_and_the_reverse(beats: bool) -> None:
    net = Network()
    speaker, reader = net.add("10.0.0.1", beats=beats), net.add("10.0.0.2", beats=not beats)
    speaker.register([record(address="10.0.0.1:7001")], 0, net.now)
    net.run(5.0)
    reader.watch(net.now, "greeter")
    net.run(0.3)
    assert ids(reader) == ["greeter-1"]


def test_turned_off_nothing_is_said_or_heard() -> None:
    net = Network()
    go, reader = net.add("10.0.0.1", beats=False), net.add("10.0.0.2", go=False)
    reader.watch(net.now, "greeter")
    go.register([record(address="10.0.0.1:7001")], 0, net.now)
    reader.register([record("other", "other-1", "10.0.0.2:1")], 0, net.now)
    go.watch(net.now, "other")
    net.run(5.0)
    assert (ids(reader), ids(go, "other")) == ([], [])


def test_a_node_of_the_own_host_alone_is_told_there_alone_and_a_strangers_not_believed() -> None:
    engine = alone()
    engine.add_link("10.0.0.1", 0.0)
    engine.register([record()], 0, 0.0)
    assert {out.link for out in engine.poll(0.0)} == {LO}
    engine.receive("10.0.0.1", ("10.0.0.2", 40000), question("greeter.micro.", PTR, 1, beats=False), 0.5)
    assert engine.poll(0.5) == []
    reader = alone()
    reader.watch(0.0, "greeter")
    packet = announcement(spoken(record()), "micro")
    reader.receive(LO, ("10.0.0.2", PORT), packet, 1.0)
    assert ids(reader) == []
    reader.receive(LO, (LO, PORT), packet, 1.0)
    assert ids(reader) == ["greeter-1"]


def test_a_link_that_returns_is_announced_on_and_asked_again() -> None:
    engine = alone()
    engine.register([record()], 0, 0.0)
    engine.watch(0.0, "other")
    settle(engine)
    engine.remove_link(LO)
    assert engine.poll(50.0) == []
    engine.add_link(LO, 51.0)
    outs = engine.poll(51.0)
    assert len([out for out in outs if out.question]) == 2
    assert len([out for out in outs if not out.question]) == 2


def test_names_that_nobody_wants_any_more_are_not_asked_for() -> None:
    net, go, reader = go_and_reader()
    go.register([record(address="10.0.0.1:7001")], 0, net.now)
    reader.want(net.now, "greeter")
    net.run(0.2)
    assert ids(reader) == ["greeter-1"]
    net.run(100.0)
    before = len(net.sent)
    net.run(100.0)
    assert (ids(reader), net.sent[before:]) == ([], [])


# hostile packets


def heard_by_a_reader() -> Engine:
    reader = alone()
    reader.watch(0.0, "greeter")
    reader.receive(LO, ("10.0.0.1", PORT), announcement(spoken(record(address="10.0.0.1:7001")), "micro"), 0.0)
    assert ids(reader) == ["greeter-1"]
    return reader


def test_nobody_else_says_goodbye_for_a_node_or_changes_it() -> None:
    reader = heard_by_a_reader()
    for source, port in (("10.0.0.9", PORT), ("10.0.0.1", 40000), (LO, PORT)):
        goodbye = announcement(spoken(record(address="10.0.0.1:7001")), "micro", leaves=True)
        for packet in (goodbye, announcement(spoken(record(address="10.0.0.9:666")), "micro")):
            reader.receive(LO, (source, port), packet, 1.0)
    ((node,),) = [service.nodes for service in reader.services("greeter")]
    assert (node.address, reader.departures()) == ("10.0.0.1:7001", [])


def test_a_node_that_is_heard_by_both_versions_of_ip_is_one_and_its_own_address_says_goodbye() -> None:
    reader = heard_by_a_reader()
    node = spoken(record(address="10.0.0.1:7001"))
    reader.receive(LO, ("fe80::1%lan", PORT), announcement(node, "micro"), 0.0)
    assert ids(reader) == ["greeter-1"]
    for other in ("fe80::9%lan", "10.0.0.9"):
        reader.receive(LO, (other, PORT), announcement(node, "micro", leaves=True), 1.0)
    assert (ids(reader), reader.departures()) == (["greeter-1"], [])
    reader.receive(LO, ("10.0.0.1", PORT), announcement(node, "micro", leaves=True), 1.0)
    assert ids(reader) == []
    assert set(reader.departures()) == {("greeter", "greeter-1")}


def told(text: bytes, instance: str = "x.greeter.micro.", port: int = 1) -> bytes:
    """An announcement that is put together by hand."""
    name, host = encode_name(instance), encode_name("h.local.")
    records = [
        name + struct.pack(">HHIHHHH", SRV, 1, 120, 6 + len(host), 10, 1, port) + host,
        host + struct.pack(">HHIH", A, 1, 120, 4) + bytes([10, 0, 0, 1]),
        name + struct.pack(">HHIH", TXT, 1, 120, len(text)) + text,
    ]
    return struct.pack(">HHHHHH", 0, 0x8000, 0, 3, 0, 0) + b"".join(records)


def hexed(body: bytes) -> bytes:
    return to_strings(zlib.compress(body).hex().encode())


WHOLE = {"Service": "greeter", "Version": "1", "Endpoints": None, "Metadata": None}
BAD = {
    "empty": b"",
    "cut short": b"\x05ab",
    "no hex": to_strings(b"zz"),
    "odd hex": to_strings(b"abc"),
    "not deflated": to_strings(b"hello".hex().encode()),
    "bomb": hexed(b" " * 20_000_000),
    "not JSON": hexed(b"{"),
    "a list": hexed(b"[]"),
    "nested": hexed(b"[" * 60_000),
    "no version": hexed(json.dumps({**WHOLE, "Version": ""}).encode()),
    "another service": hexed(json.dumps({**WHOLE, "Service": "other"}).encode()),
    "unprintable": hexed(json.dumps({**WHOLE, "Version": "a\nb"}).encode()),
    "metadata of numbers": hexed(json.dumps({**WHOLE, "Metadata": {"a": 1}}).encode()),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_text_that_is_no_record_changes_nothing_and_is_told_once(
    text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader = heard_by_a_reader()
    reader.receive(LO, ("10.0.0.1", PORT), told(hexed(json.dumps(WHOLE).encode())), 1.0)
    assert ids(reader) == ["greeter-1", "x"], "a whole one is taken"
    for _ in range(3):
        reader.receive(LO, ("10.0.0.1", PORT), told(text, "y.greeter.micro."), 1.0)
    assert ids(reader) == ["greeter-1", "x"]
    assert caplog.text.count("is left out") == 1


def test_texts_that_nobody_wants_are_not_even_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = heard_by_a_reader()
    monkeypatch.setattr(go_listener, "read_text", lambda text: pytest.fail("it was read"))
    reader.receive(LO, ("10.0.0.1", PORT), told(hexed(b"{}"), "y.other.micro."), 1.0)


def test_records_of_ordinary_dns_sd_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    reader = alone()
    reader.watch(0.0, None)
    reader.receive(LO, (LO, PORT), told(hexed(b"{}"), "printer._ipp._tcp.local."), 1.0)
    assert (ids(reader, None), caplog.text) == ([], "")


def test_a_flood_of_nodes_and_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_listener, "MAX_NODES", 50)
    monkeypatch.setattr(go_listener, "MAX_NAMES", 20)
    reader = alone()
    reader.watch(0.0, None)
    for at in range(200):
        node = spoken(record(f"s{at}", f"n{at}", f"10.0.0.1:{at + 1}"))
        reader.receive(LO, ("10.0.0.1", PORT), announcement(node, "micro"), 0.0)
        reader.receive(
            LO, ("10.0.0.1", PORT), listing(f"t{at}", "10.0.0.1", "micro", Asked("_services.micro.", PTR, 0)), 0.0
        )
    assert len(ids(reader, None)) == 50
    assert len(reader.poll(0.0)) == 2 * 20


def test_forged_questions_are_answered_only_so_often() -> None:
    engine = alone()
    engine.register([record()], 0, 0.0)
    settle(engine)
    answered = 0
    for at in range(10_000):
        engine.receive(LO, ("10.0.0.9", 53), question("greeter.micro.", PTR, 1, beats=False), 10.0 + at / 10_000)
        answered += len(engine.poll(10.0 + at / 10_000))
    assert answered <= 2501


def test_a_response_that_holds_a_question_is_not_answered() -> None:
    engine = alone()
    engine.register([record()], 0, 0.0)
    settle(engine)
    reply = answer(spoken(record()), "micro", Asked("greeter.micro.", PTR, 0))
    assert reply is not None
    engine.receive(LO, ("10.0.0.9", PORT), reply, 10.0)
    assert engine.poll(10.0) == []


def loops() -> Iterator[Any]:
    head = struct.pack(">HHHHHH", 0, 0x8000, 0, 3, 0, 0)
    yield pytest.param(head + b"\xc0\x0c" + struct.pack(">HHIH", TXT, 1, 120, 0), id="a name that points to itself")
    yield pytest.param(head + b"\x01a\xc0\x0c" + struct.pack(">HHIH", SRV, 1, 120, 0), id="a name that grows")
    yield pytest.param(head, id="records that are not there")
    yield pytest.param(told(b"")[:-5], id="a record that is cut short")
    yield pytest.param(b"", id="nothing")


@pytest.mark.parametrize("packet", [*loops()])
def test_a_broken_packet_changes_nothing(packet: bytes) -> None:
    reader = heard_by_a_reader()
    before = reader.version
    reader.receive(LO, ("10.0.0.1", PORT), packet, 1.0)
    assert (reader.version, ids(reader)) == (before, ["greeter-1"])


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_a_damaged_packet_raises_nothing_and_a_cut_one_changes_nothing(data: st.DataObject) -> None:
    reader = heard_by_a_reader()
    good = data.draw(
        st.sampled_from(
            [
                announcement(spoken(record(id="y", address="10.0.0.1:1")), "micro"),
                announcement(spoken(record(address="10.0.0.1:7001")), "micro", leaves=True),
                listing("greeter", "10.0.0.1", "local", Asked("_services.local.", PTR, 0)),
            ]
        )
    )
    cut = good[: data.draw(st.integers(0, len(good) - 1))]
    reader.receive(LO, ("10.0.0.1", PORT), cut, 1.0)
    assert ids(reader) == ["greeter-1"]
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    reader.receive(LO, ("10.0.0.1", PORT), bytes(damaged), 1.0)
    reader.poll(1.0)


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_a_bad_text(text: bytes) -> None:
    with suppress(BadRecord):
        read_text(text)


def test_what_goes_by_beats_is_said_behind_the_question() -> None:
    asked = parsed(question("greeter.micro.", PTR, 1, beats=True))
    assert [one.name for one in asked.questions] == ["greeter.micro."]
    assert [one.name for one in asked.answers()] == [BEATS]
