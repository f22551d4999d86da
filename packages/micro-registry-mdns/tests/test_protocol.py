"""The protocol on a simulated network and clock: no sockets, no sleeping."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from micro_core import Node, ServiceRecord
from micro_registry_mdns import packets
from micro_registry_mdns.engine import Engine
from micro_registry_mdns.protocol import LEASE, MAX_NAMED
from micro_registry_mdns.record_text import encode_record, fingerprint
from zeroconf import DNSOutgoing, DNSQuestion  # type: ignore[attr-defined]

PORT = 5353
LO = "127.0.0.1"


class Network:
    """Engines on one link, each a host or process, with loss, doubling and delay."""

    def __init__(self, seed: int = 0, loss: float = 0.0, twice: float = 0.0, delay: float = 0.002) -> None:
        self.rng = random.Random(seed)
        self.now = 100.0
        self.loss, self.twice, self.delay = loss, twice, delay
        self.engines: dict[str, Engine] = {}
        self.address: dict[str, str] = {}
        self.held_up: set[str] = set()
        self.sent: list[tuple[float, str, bytes]] = []
        self._flying: list[tuple[float, int, str, tuple[str, int], bytes]] = []
        self._count = 0

    def add(self, name: str, address: str = LO, *, listens: bool = True) -> Engine:
        engine = self.engines[name] = Engine(PORT, random.Random(self.rng.random()))
        self.address[name] = address
        engine.add_link(address, self.now)
        if listens:
            engine.watchers = 1
            engine.want(self.now)
        return engine

    def crash(self, name: str) -> None:
        del self.engines[name]

    def say(self, sender: str, packet: bytes, port: int = PORT) -> None:
        """Multicasts, from an address."""
        self.sent.append((self.now, sender, packet))
        for name in self.engines:
            for _ in range(2 if self.rng.random() < self.twice else 1):
                if self.rng.random() >= self.loss:
                    self._count += 1
                    arrives = self.now + self.rng.uniform(0, self.delay)
                    heapq.heappush(self._flying, (arrives, self._count, name, (sender, port), packet))

    def pump(self, name: str) -> None:
        for out in self.engines[name].poll(self.now):
            self.say(self.address[name], out.packet)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        for name in list(self.engines):
            self.pump(name)
        while (at := self._next()) <= until:
            self.now = max(self.now, at)
            self._deliver()
            for name, engine in list(self.engines.items()):
                if name not in self.held_up and engine.next_due() <= self.now:
                    self.pump(name)
        self.now = until

    def _next(self) -> float:
        due = [engine.next_due() for name, engine in self.engines.items() if name not in self.held_up]
        flying = [entry[0] for entry in self._flying if entry[2] not in self.held_up]
        return min([*due, *flying], default=float("inf"))

    def _deliver(self) -> None:
        kept = []
        while self._flying and self._flying[0][0] <= self.now:
            entry = heapq.heappop(self._flying)
            if entry[2] in self.held_up:
                kept.append(entry)
            elif entry[2] in self.engines:
                self.engines[entry[2]].receive(self.address[entry[2]], entry[3], entry[4], self.now)
        for entry in kept:
            heapq.heappush(self._flying, entry)


def record(name: str, id: str, address: str = "127.0.0.1:9000", version: str = "1") -> ServiceRecord:
    return ServiceRecord(name, version, (Node(id, address, {"zone": "a"}),), (), {"m": "1"})


def ids(engine: Engine, name: str | None = None) -> set[str]:
    return {node.id for service in engine.services(name) for node in service.nodes}


def pair(**network: float) -> tuple[Network, Engine, Engine]:
    net = Network(**network)  # type: ignore[arg-type]
    speaker, reader = net.add("speaker", listens=False), net.add("reader")
    net.run(0.5)
    return net, speaker, reader


def test_a_node_is_seen_soon_after_it_was_registered() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 90, net.now)
    net.run(0.02)
    assert reader.services("greeter") == (record("greeter", "a"),)
    assert reader.services("GREETER") == ()


def test_a_newcomer_learns_what_was_there_before_it() -> None:
    net = Network()
    for at in range(5):
        engine = net.add(f"speaker-{at}", listens=False)
        engine.register([record("greeter", f"{at}-{n}") for n in range(40)], 0, net.now)
    net.run(60)
    reader = net.add("reader")
    net.run(0.3)
    assert len(ids(reader)) == 200
    assert reader.listener.settled(net.now)


def test_a_goodbye_is_believed_at_once_and_is_a_departure() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a"), record("greeter", "b")], 90, net.now)
    net.run(1)
    speaker.deregister([("greeter", "a")], net.now)
    net.run(0.02)
    assert ids(reader) == {"b"}
    assert reader.departures() == [("greeter", "a")]


def test_closing_says_goodbye_to_every_node() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a"), record("greeter", "b")], 90, net.now)
    net.run(1)
    for _, packet in speaker.responder.farewell():
        net.say(LO, packet)
    net.crash("speaker")
    net.run(0.02)
    assert ids(reader) == set()
    assert sorted(reader.departures()) == [("greeter", "a"), ("greeter", "b")]


def test_a_killed_process_disappears_within_seconds_and_is_no_departure() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 90, net.now)
    net.run(20)
    net.crash("speaker")
    net.run(3)
    assert ids(reader) == {"a"}
    net.run(3)
    assert ids(reader) == set()
    assert reader.departures() == []


def test_a_node_whose_ttl_is_over_disappears_and_is_no_departure() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 2, net.now)
    net.run(1.9)
    speaker.register([record("greeter", "a")], 2, net.now)
    net.run(1.9)
    assert ids(reader) == {"a"}
    net.run(0.3)
    assert ids(reader) == ids(speaker) == set()
    assert reader.departures() == []


def test_a_changed_record_replaces_the_old_one() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    net.run(1)
    speaker.register([record("greeter", "a", version="2")], 0, net.now)
    net.run(0.05)
    assert [service.version for service in reader.services("greeter")] == ["2"]
    assert reader.departures() == []


def test_nothing_is_sent_while_nobody_listens() -> None:
    net = Network()
    net.add("speaker", listens=False).register([record("greeter", "a")], 0, net.now)
    net.run(5)
    before = len(net.sent)
    net.run(600)
    assert len(net.sent) == before


def test_listeners_share_their_questions() -> None:
    net = Network()
    for at in range(10):
        net.add(f"reader-{at}")
    net.run(10)
    net.sent.clear()
    net.run(300)
    assert len(net.sent) < 130


def test_many_lookups_of_an_unknown_name_ask_only_now_and_then() -> None:
    net, _, reader = pair()
    net.run(5)
    net.sent.clear()
    for _ in range(100):
        reader.listener.ask_now(net.now)
        net.run(0.01)
    assert len(net.sent) <= 12


def test_no_node_is_lost_though_a_fifth_of_all_packets_is() -> None:
    net = Network(seed=7, loss=0.2, twice=0.1, delay=0.3)
    for at in range(6):
        net.add(str(at)).register([record("greeter", f"{at}-{n}") for n in range(5)], 0, net.now)
    net.run(10)
    for _ in range(120):
        net.run(1)
        assert all(len(ids(engine)) == 30 for engine in net.engines.values())


def test_a_reader_that_was_held_up_loses_nobody() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    net.run(5)
    net.held_up.add("reader")
    net.run(20)
    net.held_up.clear()
    net.run(0.001)
    assert ids(reader) == {"a"}
    net.run(5)
    assert ids(reader) == {"a"}


def test_a_link_that_returns_is_announced_on_again() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    net.run(1)
    speaker.remove_link(LO)
    net.run(10)
    assert ids(reader) == set()
    speaker.add_link(LO, net.now)
    net.run(0.05)
    assert ids(reader) == {"a"}


def test_what_was_known_is_kept_while_there_is_no_link() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    net.run(1)
    reader.remove_link(LO)
    net.run(60)
    assert ids(reader) == {"a"}
    reader.add_link(LO, net.now)
    net.run(0.01)
    assert ids(reader) == {"a"}
    net.crash("speaker")
    net.run(7)
    assert ids(reader) == set()


def test_a_cache_that_nobody_reads_is_dropped_and_built_anew() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    net.run(1)
    reader.watchers = 0
    net.run(31)
    assert not ids(reader)
    reader.want(net.now)
    net.run(0.2)
    assert ids(reader) == {"a"}


def test_a_process_that_is_heard_over_two_interfaces_is_listed_once_and_survives_the_loss_of_one() -> None:
    now, ends = 100.0, [Engine(PORT, random.Random(at)) for at in range(2)]
    speaker, reader = ends
    reader.watchers = 1
    for engine in ends:
        for link in (LO, "192.0.2.1"):
            engine.add_link(link, now)
    reader.want(now)
    speaker.register([record("greeter", "near"), record("greeter", "far", "192.0.2.1:1")], 0, now)

    def run(seconds: float) -> None:
        nonlocal now
        for _ in range(int(seconds / 0.01)):
            for engine in ends:
                for link, packet, *_ in engine.poll(now):
                    for other in ends:
                        other.receive(link, (link, PORT), packet, now)
            now += 0.01

    run(1)
    assert len(reader.listener.paths) == 2
    assert ids(reader) == {"near", "far"}
    speaker.remove_link("192.0.2.1")
    run(10)
    assert len(reader.listener.paths) == 1
    assert ids(reader) == {"near", "far"}
    speaker.add_link("192.0.2.1", now)
    run(1)
    speaker.deregister([("greeter", "far")], now)
    run(0.1)
    assert ids(reader) == {"near"}
    assert set(reader.departures()) == {("greeter", "far")}


NEAR, FAR, ALONE = "192.0.2.1", "192.0.2.2", "fe80::3%lan"
NEAR6, FAR6 = "fe80::1%lan", "fe80::2%lan"


class Lan:
    """Hosts on one interface: `near` and `far` with IPv4 and IPv6, `alone` without IPv4. Counts packets by version."""

    def __init__(self) -> None:
        self.now = 100.0
        self.links = {"near": [NEAR, NEAR6], "far": [FAR, FAR6], "alone": [ALONE]}
        self.engines = {name: Engine(PORT, random.Random(name), go=True) for name in self.links}
        self.cut: set[str] = set()
        self.sent = {4: 0, 6: 0}
        for name, engine in self.engines.items():
            engine.watchers = 1
            for link in self.links[name]:
                engine.add_link(link, self.now)
            engine.second = frozenset(self.links[name][1:])
            engine.want(self.now)
            if name != "alone":
                engine.register([record("greeter", name, f"{self.links[name][0]}:1")], 0, self.now)

    def run(self, seconds: float, *names: str) -> None:
        until = self.now + seconds
        while self.now < until:
            for name in names:
                for out in self.engines[name].poll(self.now):
                    if out.link not in self.cut:
                        self.say(out, names)
            self.now += 0.01

    def say(self, out: packets.Out, names: tuple[str, ...]) -> None:
        version = 6 if ":" in out.link else 4
        self.sent[version] += 1
        port = 40000 if out.question else PORT
        for name in names:
            for link in self.links[name]:
                if (":" in link) == (version == 6):
                    self.engines[name].receive(link, (out.link, port), out.packet, self.now)


def test_hosts_with_both_versions_of_ip_say_little_by_ipv6_and_hear_each_other_by_ipv4() -> None:
    lan = Lan()
    lan.run(3, "near", "far")
    lan.sent = {4: 0, 6: 0}
    lan.run(60, "near", "far")
    assert [path.address for path in lan.engines["near"].listener.paths.values()] == [FAR]
    assert ids(lan.engines["near"]) == {"near", "far"}
    assert lan.sent[4] > 150
    assert lan.sent[6] <= 40  # a question every three seconds, from one or from both
    lan.cut = {FAR6}
    lan.engines["far"].deregister([("greeter", "far")], lan.now)
    lan.run(0.1, "near", "far")
    assert ids(lan.engines["near"]) == {"near"}


def test_a_host_without_ipv4_finds_those_with_both_and_is_found_as_long_as_it_is_there() -> None:
    lan = Lan()
    lan.run(3, "near", "far")
    lan.engines["alone"].register([record("greeter", "alone", "[fd00::3]:1")], 0, lan.now)
    lan.run(5, "near", "far", "alone")
    for engine in lan.engines.values():
        assert ids(engine) == {"near", "far", "alone"}
    addresses = sorted(path.address for path in lan.engines["near"].listener.paths.values())
    assert addresses == [FAR, ALONE]
    assert {path.address for path in lan.engines["alone"].listener.paths.values()} == {NEAR6, FAR6}
    lan.engines["near"].deregister([("greeter", "near")], lan.now)
    lan.engines["alone"].deregister([("greeter", "alone")], lan.now)
    lan.run(0.1, "near", "far", "alone")
    assert ids(lan.engines["alone"]) == ids(lan.engines["far"]) == {"far"}
    lan.run(15, "near", "far")
    lan.sent = {4: 0, 6: 0}
    lan.run(30, "near", "far")
    assert lan.sent[6] <= 20


def test_a_host_that_gains_ipv4_is_not_missed() -> None:
    lan = Lan()
    lan.engines["alone"].register([record("greeter", "alone", "[fd00::3]:1")], 0, lan.now)
    lan.run(5, "near", "alone")
    lan.links["alone"].insert(0, "192.0.2.3")
    lan.engines["alone"].second = frozenset([ALONE])
    lan.engines["alone"].add_link("192.0.2.3", lan.now)
    for _ in range(100):
        lan.run(0.1, "near", "alone")
        assert ids(lan.engines["near"]) == {"near", "alone"}
    assert {path.address for path in lan.engines["near"].listener.paths.values()} == {"192.0.2.3"}


def test_a_beat_that_comes_late_takes_nothing_back() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a"), record("greeter", "b")], 0, net.now)
    net.run(1)
    late = [packet for _, _, packet in net.sent]
    speaker.deregister([("greeter", "a")], net.now)
    net.run(0.1)
    for packet in late:
        reader.receive(LO, (LO, PORT), packet, net.now)
    assert ids(reader) == {"b"}


def test_an_origin_falls_silent_when_the_last_listener_has_left() -> None:
    net, speaker, _ = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    net.run(5)
    net.crash("reader")
    net.run(12)
    net.sent.clear()
    net.run(60)
    assert net.sent == []


# untrusted input


def test_an_origin_cannot_be_ended_from_another_address() -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    net.run(1)
    (node,) = speaker.responder.nodes.values()
    names = frozenset([node.fingerprint])
    for ttl in (0, 5):
        beat = packets.Beat(speaker.responder.origin, ttl, 1 << 60, frozenset(), names)
        for packet in packets.answer([node.announced], beat, ttl=0):
            net.say("192.0.2.66", packet)
            net.say(LO, packet, port=4444)
    net.run(1)
    assert ids(reader) == {"a"}
    assert reader.departures() == []


def test_a_node_id_stays_with_the_address_that_had_it_first() -> None:
    net = Network()
    first, reader = net.add("first", "192.0.2.1"), net.add("reader", "192.0.2.2")
    first.register([record("greeter", "a", "192.0.2.1:1")], 0, net.now)
    net.run(1)
    net.add("thief", "192.0.2.66").register([record("greeter", "a", "192.0.2.66:1")], 0, net.now)
    net.run(1)
    assert reader.services("greeter")[0].nodes[0].address == "192.0.2.1:1"
    net.crash("first")
    net.run(LEASE + 2)
    assert reader.services("greeter")[0].nodes[0].address == "192.0.2.66:1"


def test_a_process_that_was_restarted_at_its_address_has_its_node_id_at_once() -> None:
    net, old, reader = pair()
    old.register([record("greeter", "a", "127.0.0.1:1")], 0, net.now)
    net.run(1)
    net.crash("speaker")
    net.add("again", listens=False).register([record("greeter", "a", "127.0.0.1:2")], 0, net.now)
    net.run(0.05)
    assert reader.services("greeter")[0].nodes[0].address == "127.0.0.1:2"


def test_a_loopback_address_of_another_host_is_left_out_and_not_even_announced() -> None:
    net = Network()
    other, reader = net.add("other", "192.0.2.1"), net.add("reader", "192.0.2.2")
    other.register([record("greeter", "near"), record("greeter", "far", "192.0.2.1:1")], 0, net.now)
    net.run(1)
    assert not any(b"near" in packet for _, _, packet in net.sent)
    other.responder.links["192.0.2.1"].loopback = True
    other.remove_link("192.0.2.1")
    other.add_link("192.0.2.1", net.now)
    assert ids(reader) == {"far"}


def test_a_loopback_address_that_another_host_announces_all_the_same_is_not_believed() -> None:
    net = Network()
    reader = net.add("reader", "192.0.2.2")
    net.run(0.1)
    plant(net, record("greeter", "near"), "192.0.2.1")
    plant(net, record("greeter", "own"), "192.0.2.2")
    net.run(0.5)
    assert ids(reader) == {"own"}


def plant(net: Network, planted: ServiceRecord | bytes, address: str = LO, origin: str = "0" * 16) -> None:
    """A record with its beat, from nobody's engine."""
    text = planted if isinstance(planted, bytes) else encode_record(planted)
    announced = packets.Announced("planted", text, "127.0.0.1", 1)
    for packet in packets.answer([announced], packets.Beat(origin, 5, 1, frozenset([fingerprint(text)]), frozenset())):
        net.say(address, packet)


def test_a_record_that_cannot_be_read_is_left_out_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    for _ in range(3):
        plant(net, b"\x03bad")
        net.run(1)
    assert ids(reader) == {"a"}
    assert len([entry for entry in caplog.records if "left out" in entry.message]) == 1


def test_a_flood_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    net.run(1)
    for at in range(1500):
        plant(net, bytes([3, *at.to_bytes(3, "big")]), "192.0.2.66", f"{at:016x}")
    net.run(0.2)
    assert ids(reader) == {"a"}
    assert len(reader.listener.paths) <= 300
    assert len(caplog.records) <= 10


def test_a_flood_of_names_is_bounded_and_takes_nobody_elses_place() -> None:
    net, speaker, reader = pair()
    names = iter(range(1 << 40))
    for host in range(20):
        for origin in range(30):
            named = frozenset(next(names).to_bytes(8, "big") for _ in range(1000))
            beat = packets.Beat(f"{host:08x}{origin:08x}", 5, 1, named, frozenset())
            reader.listener.heard_beat(LO, f"192.0.2.{host}", beat, net.now)
        speaker.register([record("greeter", f"{host}")], 0, net.now)
        net.run(0.1)
        if host < 4:
            assert str(host) in ids(reader)
    assert sum(len(path.present) for path in reader.listener.paths.values()) <= MAX_NAMED


def test_more_nodes_than_are_asked_for_at_a_time_are_all_learned() -> None:
    net = Network()
    for at in range(3):
        speaker = net.add(str(at), listens=False)
        speaker.register([record("greeter", f"{at}-{n}") for n in range(700)], 0, net.now)
    net.run(2)
    reader = net.add("reader")
    net.run(3)
    assert len(ids(reader)) == 2100


def test_beats_that_name_what_nobody_has_do_not_make_us_flood_the_network() -> None:
    net = Network()
    reader = net.add("reader")
    net.run(1)
    rng = random.Random(1)
    for at in range(5):
        names = frozenset(rng.randbytes(8) for _ in range(1000))
        (packet,) = packets.answer([], packets.Beat(f"{at:016x}", 60, 1, names, frozenset()))
        net.say("192.0.2.66", packet)
    net.run(10)
    net.sent.clear()
    net.run(20)
    assert len(net.sent) / 20 < 25
    assert reader.listener.settled(net.now)


def test_a_record_that_nobody_gives_any_more_leaves_a_first_call_time_to_be_made() -> None:
    net = Network()
    reader = net.add("reader")
    (packet,) = packets.answer([], packets.Beat("0" * 16, 60, 1, frozenset({bytes(8)}), frozenset()))
    net.say("192.0.2.66", packet)
    net.run(0.3)
    assert not reader.listener.settled(net.now)
    net.run(0.3)
    assert reader.listener.settled(net.now)


def test_news_without_an_end_leave_a_first_call_time_to_be_made() -> None:
    net = Network()
    speaker, reader = net.add("speaker", listens=False), net.add("reader")
    for at in range(12):
        assert at >= 10 or not reader.listener.settled(net.now)
        speaker.register([record("greeter", str(at))], 90, net.now)
        net.run(0.05)
    assert reader.listener.settled(net.now)


BROKEN = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\0" * 11, id="short header"),
    pytest.param(b"\0\0\x84\0\0\0\xff\xff\0\0\0\0", id="65535 records, none there"),
    pytest.param(b"\0\0\x84\0\0\0\0\1\0\0\0\0\xc0\x0c\0\x10\0\1\0\0\0\5\0\1\0", id="name that points to itself"),
    pytest.param(b"\0\0\0\0\0\1\0\0\0\0\0\0\xc0\x0e\xc0\x0c\0\x10\0\1", id="names that point to each other"),
]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_packet_that_promises_more_records_than_it_holds_changes_nothing(missing: int) -> None:
    reader = Network().add("reader")
    beat = packets.Beat("0" * 16, 5, 1, frozenset([b"8 bytes."]), frozenset())
    message = DNSOutgoing(packets.ANSWER)
    message.add_question(DNSQuestion(packets.TYPE, packets.PTR, packets.IN))
    message.add_answer_at_time(packets._beat_record(beat), 0)
    (packet,) = message.packets()
    count = int.from_bytes(packet[6:8], "big") + missing
    reader.receive(LO, (LO, PORT), packet[:6] + count.to_bytes(2, "big") + packet[8:], 100.0)
    assert bool(reader.listener.paths) == (missing == 0)


@pytest.mark.parametrize("packet", BROKEN)
def test_a_broken_packet_changes_nothing(packet: bytes) -> None:
    net, speaker, reader = pair()
    speaker.register([record("greeter", "a")], 0, net.now)
    net.run(1)
    before = reader.version
    reader.receive(LO, (LO, PORT), packet, net.now)
    assert reader.version == before
    assert ids(reader) == {"a"}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_packet_raises_nothing_and_a_cut_one_changes_nothing(data: st.DataObject) -> None:
    net, speaker, _ = pair()
    speaker.register([record("greeter", "a"), record("other", "b")], 0, net.now)
    net.pump("speaker")
    packet = data.draw(st.sampled_from([packet for _, _, packet in net.sent]))
    cut = data.draw(st.integers(0, len(packet) - 1))
    fresh = Network().add("fresh")
    fresh.receive(LO, (LO, PORT), packet[:cut], net.now)
    assert not fresh.services(None)
    assert not fresh.listener.paths
    damaged = bytearray(packet)
    damaged[cut] = data.draw(st.integers(0, 255))
    fresh.receive(LO, (LO, PORT), bytes(damaged), net.now)
    fresh.receive(LO, (LO, PORT), data.draw(st.binary(max_size=200)), net.now)
    fresh.poll(net.now)


# convergence

STEP = st.tuples(st.sampled_from(["register", "change", "deregister", "crash", "join"]), st.integers(0, 3))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=15), st.integers(0, 1 << 16), st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0, 0.5))
def test_whatever_is_lost_doubled_or_late_all_agree_in_the_end(
    steps: list[tuple[str, int]], seed: int, loss: float, twice: float, delay: float
) -> None:
    net = Network(seed, loss, twice, delay)
    truth: dict[str, dict[str, ServiceRecord]] = {}
    for at, (what, who) in enumerate(steps):
        act(net, truth, what, str(who), at)
        net.run(net.rng.choice([0.0, 0.01, 0.3, 2.0]))
    net.add("late")
    net.run(GRACE)
    net.loss = 0.0
    net.run(3)
    expected = {(one.name, one.version, one.nodes[0].id) for nodes in truth.values() for one in nodes.values()}
    for engine in filter(lambda engine: engine.watchers, net.engines.values()):
        seen = {(service.name, service.version, node.id) for service in engine.services(None) for node in service.nodes}
        assert seen == expected


GRACE = LEASE + 3.0


def act(net: Network, truth: dict[str, dict[str, ServiceRecord]], what: str, who: str, at: int) -> None:
    if what == "crash":
        truth.pop(who, None)
        net.engines.pop(who, None)
        return
    engine = net.engines.get(who) or net.add(who, listens=at % 2 == 0)
    nodes = truth.setdefault(who, {})
    if what == "register":
        new = record(f"service-{at % 3}", f"{who}-{at}")
        engine.register([new], 0, net.now)
        nodes[new.nodes[0].id] = new
    elif what == "change" and nodes:
        changed = replace(next(iter(nodes.values())), version=f"v{at}")
        engine.register([changed], 0, net.now)
        nodes[changed.nodes[0].id] = changed
    elif what == "deregister" and nodes:
        gone = nodes.pop(next(iter(nodes)))
        engine.deregister([(gone.name, gone.nodes[0].id)], net.now)


def test_of_two_nodes_registered_within_one_tick_of_the_clock_the_later_one_gives_the_metadata() -> None:
    engine = Engine(5353, random.Random(1))
    for id in ("a", "c", "b"):
        record = ServiceRecord("greeter", "1", (Node(id, "127.0.0.1:7001"),), (), {"from": id})
        engine.register([record], 0, 1.0)
    (found,) = engine.services("greeter")
    assert ([node.id for node in found.nodes], found.metadata) == (["a", "b", "c"], {"from": "b"})
