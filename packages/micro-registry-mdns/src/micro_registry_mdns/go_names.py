"""Go Micro's own names (WIRE §1): how nodes are announced, asked for and missed there, and what that is as bytes.

A service is a type by its bare name, in a domain: `local` for releases to 1.9, `micro` for all later ones. We speak
both, and so bridge them:

    PTR  <service>.<domain>.                    <node id>.<service>.<domain>.
    SRV  <node id>.<service>.<domain>.          10 1 <port> <host>
    A    <host>                                 or AAAA
    TXT  <node id>.<service>.<domain>.          JSON of service, version, endpoints, node's metadata: deflated, hex
    PTR  _services.<domain>.                    <service>._services.<domain>.

Go reads a packet for one node and in that order, so each node has a datagram of its own, whatever its length; later
releases drop a reply that does not repeat the question. A query comes from a port of the asker's own and is answered
there, by unicast and at once, since it waits 100 ms. Who registers says so three times by multicast, without the
pointer and without a question (Go would answer it), and says goodbye by the same with a lifetime of 0.

Nothing here tells of a crash: Go Micro asks again every minute or two and leaves out who does not answer. So do we,
every ASK for names that somebody looks up or watches; a node that was silent is asked by its own name CHECKS times
before it is dropped. A goodbye is believed from the address alone that the node was heard from, or is served at.

Go Micro says everything by IPv4 and by IPv6, where it has them. A node that is heard by both is one, until both have
said goodbye, or IPv4 has for a node that is served there.

Nodes of ours are announced here for Go, and their weight says so, which Go does not look at: whoever knows beats
(`protocol`) passes over them, and says in its questions that it does, by a record behind the question, so that they are
not answered in vain.

`GoResponder` is what we say, `GoListener` what we heard and ask.
"""

from __future__ import annotations

import ipaddress
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from micro_core import ServiceRecord
from zeroconf import (  # type: ignore[attr-defined]
    DNSAddress,
    DNSIncoming,
    DNSPointer,
    DNSService,
    DNSText,
)

from micro_registry_mdns.packets import AAAA, ANSWER, ANY, BEATS, IN, PTR, SRV, TXT, A, host_name
from micro_registry_mdns.record_text import BadRecord, from_strings, plain_endpoints, read_record, to_strings, unpack

DOMAINS = ("local", "micro")
LIST = "_services"

ANNOUNCE = (0.0, 1.0, 2.0)
"""Seconds between the times that a new node is announced."""
FIRST_ASKS = (0.0, 0.1, 0.3, 0.6)
"""Seconds between the first questions for a name."""
ASK = 15.0
"""Seconds between later ones where nodes of Go Micro were found; where none were, QUIET_ASK: new ones announce."""
QUIET_ASK = 60.0
ANSWERED = 0.5
"""Seconds in which a question for all is answered; who did not is asked by name."""
CHECK = 0.5
CHECKS = 3
SETTLE = 0.1
"""Seconds that a first lookup waits, as Go Micro's do; longer while answers still come, at most AT_MOST."""
QUIET = 0.05
AT_MOST = 0.5
LOOKUP = 30.0
"""Seconds that a name is asked for after a lookup."""

MAX_TEXT = 8000
"""Bytes of a TXT record that leave a packet below 9,000 (RFC 6762 §17)."""
MAX_NAMES = 1000
"""Names that are asked for."""
MAX_NODES = 10_000
MAX_BYTES = 32 * 1024 * 1024
"""Bytes of JSON of all nodes."""
REPLIES = 500.0
"""Answers that a link gives per second, at most, and four times as many at once: questions are forged easily."""

_TTL = 120
_ANNOUNCEMENT = 0x8000
_LIST_PORT = 9999
_WEIGHT, _BEATS = 1, 2
"""The weight of a node, and of one that beats."""
_OTHERS = ("._tcp", "._udp")
"""What ordinary DNS-SD puts before the domain."""
_LISTS = tuple(f"{LIST}.{domain}." for domain in DOMAINS)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question; `id` is what an answer carries."""

    name: str
    kind: int
    id: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """A node as it stands in packets, in any domain."""

    service: str
    instance: str
    host: str
    port: int
    text: bytes
    weight: int

    def records(self, domain: str, ttl: int) -> list[bytes]:
        """SRV, address and TXT."""
        name, target = encode_name(f"{self.instance}.{domain}."), encode_name(host_name(self.host))
        return [
            _record(name, SRV, ttl, struct.pack(">HHH", 10, self.weight, self.port) + target),
            _address(target, self.host, ttl),
            _record(name, TXT, ttl, self.text),
        ]

    def pointer(self, domain: str) -> bytes:
        """PTR of the service."""
        instance = encode_name(f"{self.instance}.{domain}.")
        return _record(encode_name(f"{self.service}.{domain}."), PTR, _TTL, instance)


def spoken(record: ServiceRecord, *, beats: bool = False) -> Spoken:
    """A record with one node, ready for packets. Raises ValueError for what these names cannot hold."""
    node = record.nodes[0]
    host, _, port = node.address.rpartition(":")
    host = host.strip("[]")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{node.address!r} has no port")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{host!r} is no IP address") from None
    instance = f"{node.id}.{record.name}"
    for domain in DOMAINS:
        encode_name(f"{instance}.{domain}.")
        encode_name(f"{record.name}.{LIST}.{domain}.")
    return Spoken(record.name, instance, host, int(port), _text(record), _BEATS if beats else _WEIGHT)


def _text(record: ServiceRecord) -> bytes:
    """The TXT data; without endpoints, which nobody needs for a call, where all would not fit."""
    text = b""
    for endpoints in (plain_endpoints(record), []):
        plain = {
            "Service": record.name,
            "Version": record.version,
            "Endpoints": endpoints,
            "Metadata": dict(record.nodes[0].metadata),
        }
        body = json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
        text = to_strings(zlib.compress(body, 6).hex().encode())
        if len(text) <= MAX_TEXT:
            return text
    raise ValueError(f"its metadata takes {len(text)} bytes, where {MAX_TEXT} would fit")


def encode_name(name: str) -> bytes:
    """A domain name as bytes. Raises ValueError for an empty or too long label, or name."""
    labels = [label.encode() for label in name.removesuffix(".").split(".")]
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"{name!r} has a part that is empty or longer than 63 bytes")
    data = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(data) > 255:
        raise ValueError(f"{name!r} is longer than 255 bytes")
    return data


def announcement(node: Spoken, domain: str, *, leaves: bool = False) -> bytes:
    """What is multicast when a node comes, or leaves."""
    return _packet(_ANNOUNCEMENT, 0, None, node.records(domain, 0 if leaves else _TTL))


def answer(node: Spoken, domain: str, asked: Asked) -> bytes | None:
    """The answer to a question for its service, or for itself; None where there is nothing to say."""
    service, address, text = node.records(domain, _TTL)
    if asked.name == f"{node.service}.{domain}.":
        if asked.kind not in (PTR, ANY):
            return None
        return _packet(ANSWER, asked.id, asked, [node.pointer(domain), service, address, text])
    records = {SRV: [service, address], TXT: [text], ANY: [service, address, text]}.get(asked.kind)
    return None if records is None else _packet(ANSWER, asked.id, asked, records)


def listing(service: str, host: str, domain: str, asked: Asked) -> bytes:
    """The answer to the question for all services, for one of them."""
    entry, target = encode_name(f"{service}.{LIST}.{domain}."), encode_name(host_name(host))
    records = [
        _record(encode_name(f"{LIST}.{domain}."), PTR, _TTL, entry),
        _record(entry, SRV, _TTL, struct.pack(">HHH", 10, _WEIGHT, _LIST_PORT) + target),
        _record(target, A, _TTL, bytes(4)),
        _record(entry, TXT, _TTL, b""),
    ]
    return _packet(ANSWER, asked.id, asked, records)


def question(name: str, kind: int, id: int, *, beats: bool) -> bytes:
    """A question; `beats`: nodes that beat need not answer."""
    more = [_record(encode_name(BEATS), TXT, 0, b"\0")] if beats else []
    head = struct.pack(">HHHHHH", id, 0, 1, 0, 0, len(more))
    return head + encode_name(name) + struct.pack(">HH", kind, IN) + b"".join(more)


def _packet(flags: int, id: int, asked: Asked | None, records: Sequence[bytes]) -> bytes:
    """Zeroconf's writer would begin another packet at 1,460 bytes."""
    head = struct.pack(">HHHHHH", id, flags, asked is not None, len(records), 0, 0)
    echo = b"" if asked is None else encode_name(asked.name) + struct.pack(">HH", asked.kind, IN)
    return head + echo + b"".join(records)


def _record(name: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    return name + struct.pack(">HHIH", kind, IN, ttl, len(data)) + data


def _address(name: bytes, host: str, ttl: int) -> bytes:
    packed = ipaddress.ip_address(host).packed
    return _record(name, A if len(packed) == 4 else AAAA, ttl, packed)


def asked_in(packet: DNSIncoming, *, beats: bool) -> list[Asked]:
    """The questions of a query; none for nodes that beat where its sender goes by beats, too."""
    if beats and any(record.name == BEATS for record in packet.answers()):
        return []
    return [Asked(one.name, one.type, packet.id if one.unique else 0) for one in packet.questions]


class Told(NamedTuple):
    """One node that a packet tells of; `leaves`: it says goodbye; `beats`: it is told of by beats, too."""

    instance: str
    domain: str
    address: str
    text: bytes
    leaves: bool
    beats: bool


def told_in(packet: DNSIncoming) -> tuple[list[Told], list[str]]:
    """The nodes that are told of whole, and the services that are listed, each without its domain."""
    records = packet.answers()
    services = {record.name: record for record in records if isinstance(record, DNSService)}
    hosts = {record.name: record.address for record in reversed(records) if isinstance(record, DNSAddress)}
    texts = {record.name: record for record in records if isinstance(record, DNSText)}
    nodes = [
        Told(instance, domain, address, texts[name].text, not texts[name].ttl, service.weight == _BEATS)
        for name, service in services.items()
        if name in texts
        and (instance := within(name, domain := domain_of(name)))
        and not instance.endswith(_OTHERS)
        and (address := _dialled(hosts.get(service.server), service.port))
    ]
    listed = [
        service
        for record in records
        if isinstance(record, DNSPointer) and record.name in _LISTS
        if (service := record.alias.removesuffix("." + record.name)) != record.alias
    ]
    return nodes, listed


def domain_of(name: str) -> str:
    """The domain of a name; empty for one that is not of these."""
    domain = name.removesuffix(".").rpartition(".")[2]
    return domain if domain in DOMAINS else ""


def within(name: str, domain: str) -> str:
    """A name without its domain; empty for one of no domain."""
    return name.removesuffix(f".{domain}.") if domain else ""


def _dialled(packed: bytes | None, port: int) -> str:
    if packed is None or not port or not any(packed):
        return ""
    ip = ipaddress.ip_address(packed)
    return f"{ip}:{port}" if ip.version == 4 else f"[{ip}]:{port}"


def read_text(text: bytes) -> tuple[ServiceRecord, int]:
    """A record without nodes but with the node's metadata, and the bytes of its JSON. Raises BadRecord."""
    try:
        packed = bytes.fromhex(from_strings(text).decode("ascii"))
    except ValueError:
        raise BadRecord("its text is no hex") from None
    plain, size = unpack(packed)
    return read_record(plain), size
