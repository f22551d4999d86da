"""Hostile packets, and a host that sends them.

    python mdns_hostile.py <IPv4 address> <IPv6 address> <origins, as JSON>

Reads lines from standard input: a kind of packets, for how many seconds to send them to both groups, and how many a
second at most. Tells how many that were. `origins` are those of others, as anybody hears them.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable
from itertools import cycle
from typing import TypeAlias

from micro_core import Node, ServiceRecord
from micro_registry_mdns import packets
from micro_registry_mdns.go_names import announcement, encode_name, question, spoken
from micro_registry_mdns.links import GROUP, GROUP6
from micro_registry_mdns.packets import ANY, BEATS, PTR, RECORDS, SRV, TXT, TYPE, A
from micro_registry_mdns.record_text import encode_record, fingerprint, to_strings

Ways: TypeAlias = list[tuple[socket.socket, tuple[str, int] | tuple[str, int, int, int]]]

PORT = 5353
RNG = random.Random(6762)
BOMB = zlib.compress(b" " * 4_000_000)


def node(id: str, address: str = "192.0.2.66:1", service: str = "greeter") -> ServiceRecord:
    return ServiceRecord(service, "1", (Node(id, address, {"zone": "a"}),))


def head(flags: int, questions: int, answers: int) -> bytes:
    return struct.pack(">HHHHHH", 0, flags, questions, answers, 0, 0)


def answer(name: bytes, kind: int, data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return head(0x8400, 0, 1) + name + struct.pack(">HHIH", kind, 1, 120, size) + data


def loops(origins: list[str]) -> list[bytes]:
    """Names that point at themselves, at each other, far back, out of the packet."""
    pointers = [b"\xc0\x0c", b"\xc0\x0e\xc0\x0c", b"\1a\xc0\x0c", b"\xff\xff", b"\x3fa", b"\x80\x80"]
    chain = b"".join(struct.pack(">H", 0xC000 | 12 + 2 * at + 2) for at in range(2000)) + b"\0"
    names = [*pointers, chain, b"\1a" * 4000 + b"\0", b"\0" * 300]
    asked = [head(0, 1, 0) + name + struct.pack(">HH", PTR, 1) for name in names]
    return asked + [answer(name, kind, name) for name in names for kind in (PTR, SRV, TXT, A)]


def bombs(origins: list[str]) -> list[bytes]:
    """Texts of 4 KB that unpack to 4 MB, in both protocols, with beats that name them."""
    said = []
    for at in range(50):
        text = to_strings(BOMB + bytes([at]))
        beat = packets.Beat(f"{at:016x}", 5, RNG.getrandbits(40), frozenset([fingerprint(text)]), frozenset())
        said += packets.answer([packets.Announced(f"bomb-{at}", text, "192.0.2.66", 1)], beat)
        said.append(go_node(to_strings((BOMB + bytes([at])).hex().encode()[:7800]), f"bomb-{at}.greeter.micro."))
    return said


def go_node(text: bytes, instance: str) -> bytes:
    name, target = encode_name(instance), encode_name("h.local.")
    records = [
        name + struct.pack(">HHIHHHH", SRV, 1, 120, 6 + len(target), 10, 1, 1) + target,
        target + struct.pack(">HHIH", A, 1, 120, 4) + bytes([192, 0, 2, 66]),
        name + struct.pack(">HHIH", TXT, 1, 120, len(text)) + text,
    ]
    return head(0x8000, 0, 3) + b"".join(records)


def oversized(origins: list[str]) -> list[bytes]:
    """Texts as long as packets can be, longer than they are, and cut short."""
    name = encode_name(f"big.{TYPE}")
    junk = RNG.randbytes(60_000)
    said = [answer(name, TXT, junk[:size]) for size in (8_950, 9_000, 20_000, 60_000)]
    said += [answer(name, TXT, junk[:100], length) for length in (99, 101, 65_535)]
    said += [go_node(junk[:size], "big.greeter.micro.") for size in (1, 8_800, 30_000)]
    return said + [answer(encode_name(BEATS), TXT, to_strings(junk[: 8 * at])) for at in range(0, 1000, 50)]


def questions(origins: list[str]) -> list[bytes]:
    """For everything there is, and much that there is not."""
    names = [(BEATS, TXT), (TYPE, PTR), (packets.TYPES, PTR), *((f"{origin}.{BEATS}", TXT) for origin in origins)]
    names += [(f"{RNG.randbytes(8).hex()}.{RECORDS}", TXT) for _ in range(100)]
    said = [packets.ask([name]) for name in names] + [packets.ask(names[:60])] * 20
    go = ["greeter.micro.", "greeter.local.", "_services.micro.", "far-go.greeter.micro."]
    return said + [question(name, kind, 7, beats=False) for name in go for kind in (PTR, ANY)] * 20


def records(origins: list[str]) -> list[bytes]:
    """Nodes that no beat names, beats that name what nobody has, services that nobody asked for."""
    said = []
    for at in range(400):
        record = node(f"orphan-{at}")
        said += packets.answer([packets.announced(record, encode_record(record))], None)
        names = frozenset(RNG.randbytes(8) for _ in range(100))
        said += packets.answer([], packets.Beat(f"{RNG.getrandbits(64):016x}", 5, 1, names, frozenset()))
        said.append(announcement(spoken(node(f"node-{at}", service=f"other-{at}")), "micro"))
    return said


def goodbyes(origins: list[str]) -> list[bytes]:
    """In the name of everybody else."""
    said = []
    for id, address in (("own", "192.0.2.1:9000"), ("far", "192.0.2.2:9000"), ("far-go", "192.0.2.2:9001")):
        record = node(id, address)
        text = encode_record(record)
        announced = packets.announced(record, text)
        for origin in origins:
            for ttl in (0, 5):
                beat = packets.Beat(origin, ttl, 1 << 60, frozenset(), frozenset([fingerprint(text)]))
                said += packets.answer([announced], beat, ttl=0)
        said += [announcement(spoken(record), domain, leaves=True) for domain in ("local", "micro")]
    return said


def noise(origins: list[str]) -> list[bytes]:
    """What all others hold, cut short and with bytes changed, and bytes of no meaning."""
    said = [RNG.randbytes(RNG.randrange(1, 600)) for _ in range(300)]
    for packet in [one for make in (bombs, questions, records, goodbyes) for one in RNG.choices(make(origins), k=60)]:
        said.append(packet[: RNG.randrange(len(packet))])
        changed = bytearray(packet)
        for _ in range(3):
            changed[RNG.randrange(len(changed))] = RNG.randrange(256)
        said.append(bytes(changed))
    return [*said, b""]


KINDS: dict[str, Callable[[list[str]], list[bytes]]] = {
    make.__name__: make for make in (loops, bombs, oversized, questions, records, goodbyes, noise)
}


def sockets(ipv4_address: str, ipv6_address: str) -> Ways:
    """From the protocol's port and from another, to both groups."""
    found: Ways = []
    for port in (PORT, 0):
        ipv4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ipv4.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ipv4.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ipv4_address))
        ipv4.bind((ipv4_address, port))
        found.append((ipv4, (GROUP, PORT)))
        ipv6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        ipv6.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ipv6.bind((ipv6_address, port))
        found.append((ipv6, (GROUP6, PORT, 0, socket.if_nametoindex("far"))))
    return found


def send(said: list[bytes], ways: Ways, seconds: float, rate: float) -> int:
    """How many were sent."""
    began, sent = time.monotonic(), 0
    for packet in cycle(said):
        for sock, group in ways:
            sock.sendto(packet, group)
        sent += len(ways)
        passed = time.monotonic() - began
        if passed >= seconds:
            break
        time.sleep(max(0.0, sent / rate - passed))
    return sent


def main() -> None:
    ipv4, ipv6, origins = sys.argv[1:]
    ways = sockets(ipv4, ipv6)
    for line in sys.stdin:
        kind, seconds, rate = line.split()
        sent = send(KINDS[kind](json.loads(origins)), ways, float(seconds), float(rate))
        sys.stdout.write(f"{sent}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
