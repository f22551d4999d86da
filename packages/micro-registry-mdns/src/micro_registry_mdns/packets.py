"""Packets: what is said, to DNS bytes and back, by zeroconf's packet classes.

Names are ours below `_micro._tcp.local.`; an instance's label is the start of the node's id, for people, and a digest
of service and id, since DNS compares names without case and ends labels at 63 bytes.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from micro_core import ServiceRecord
from zeroconf import (  # type: ignore[attr-defined]
    DNSAddress,
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSRecord,
    DNSService,
    DNSText,
)

from micro_registry_mdns.record_text import FINGERPRINT, BadRecord, from_strings, to_strings

A, PTR, TXT, AAAA, SRV, ANY = 1, 12, 16, 28, 33, 255
IN, UNIQUE = 1, 0x8001
ANSWER = 0x8400

TYPE = "_micro._tcp.local."
BEATS = "_beat." + TYPE
RECORDS = "_record." + TYPE
TYPES = "_services._dns-sd._udp.local."

TTL = 120
"""Seconds that other mDNS software may keep a node's records; our own readers go by beats."""
PACKET = 1300
"""Bytes of records that are put into one packet, so that it stays below 1,400 with its names."""
_DOUBLED = b"\5_ipv4\5_beat\6_micro\4_tcp\5local\0" + struct.pack(">HHIHB", TXT, IN, 0, 1, 0)
"""The record at the end of a packet whose sender speaks IPv4 on the same interface."""
_BEAT = struct.Struct(">BQHH")
_BEAT_VERSION = 1


class Out(NamedTuple):
    """A packet to send on a link: to somebody, or to the group, from the port for questions where it is one."""

    link: str
    packet: bytes
    to: tuple[str, int] | None = None
    question: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """Everything that an origin has to say about its nodes, by fingerprint."""

    origin: str
    ttl: int
    sequence: int
    present: frozenset[bytes]
    gone: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Heard:
    """What one packet held: questions as (lower-case name, type), or beats and texts."""

    questions: tuple[tuple[str, int], ...] = ()
    beats: tuple[Beat, ...] = ()
    texts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Announced:
    """A node as it stands in packets."""

    label: str
    text: bytes
    host: str
    port: int

    @property
    def instance(self) -> str:
        """Its DNS-SD instance name."""
        return f"{self.label}.{TYPE}"

    @property
    def target(self) -> str:
        """The host name that SRV points to: made of the address, so that every announcer means the same."""
        return host_name(self.host) if is_ip(self.host) else f"{self.host}."


def announced(record: ServiceRecord, text: bytes) -> Announced:
    """A record with one node, ready for packets."""
    node = record.nodes[0]
    digest = blake2b(f"{record.name}\0{node.id}".encode("utf-8", "replace"), digest_size=8).hexdigest()
    readable = "".join(char if char.isascii() and char.isalnum() else "-" for char in node.id[:40])
    host, _, port = node.address.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    return Announced(f"{readable}-{digest}", text, host.strip("[]"), number if number < 65536 else 0)


def host_of(address: str) -> str:
    """The host of `host:port`, without the brackets of IPv6."""
    return address.rpartition(":")[0].strip("[]")


def host_name(host: str) -> str:
    """What an address is called."""
    return f"micro-{host.partition('%')[0].replace('.', '-').replace(':', '-')}.local."


def is_ip(host: str) -> bool:
    """Whether it is an IP address."""
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether an address or host name stays on its own host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in ("localhost", "localhost.")


def ask(names: Iterable[tuple[str, int]]) -> bytes:
    """One packet of questions."""
    packet = DNSOutgoing(0)
    for name, kind in names:
        packet.add_question(DNSQuestion(name, kind, IN))
    return packet.packets()[0]


def answer(nodes: Sequence[Announced], beat: Beat | None, ttl: int = TTL) -> list[bytes]:
    """Packets that hold these nodes, several in each, and after them the beat."""
    packets: list[bytes] = []
    for batch in _batches(nodes):
        records = [record for node in batch for record in _records(node, ttl)]
        records += _addresses(batch, ttl)
        packets += _response(records)
    if beat is not None:
        packets += _response([_beat_record(beat)])
    return packets


def answer_types() -> list[bytes]:
    """The answer to DNS-SD's question which types there are (RFC 6763 §9)."""
    return _response([DNSPointer(TYPES, PTR, IN, TTL, TYPE)])


def _batches(nodes: Sequence[Announced]) -> Iterable[list[Announced]]:
    batch: list[Announced] = []
    size = 0
    for node in nodes:
        cost = len(node.text) + len(node.label) + len(node.target) + 90
        if batch and size + cost > PACKET:
            yield batch
            batch, size = [], 0
        batch.append(node)
        size += cost
    if batch:
        yield batch


def _records(node: Announced, ttl: int) -> list[DNSRecord]:
    pointer = DNSPointer(TYPE, PTR, IN, ttl, node.instance)
    text = DNSText(node.instance, TXT, UNIQUE, ttl, node.text)
    if not (node.port and _is_host(node.host)):
        return [pointer, text]
    return [pointer, DNSService(node.instance, SRV, UNIQUE, ttl, 0, 0, node.port, node.target), text]


def _is_host(host: str) -> bool:
    return len(host) < 200 and all(0 < len(label.encode("utf-8", "replace")) < 64 for label in host.split("."))


def _addresses(batch: Sequence[Announced], ttl: int) -> list[DNSRecord]:
    hosts = {node.target: ipaddress.ip_address(node.host) for node in batch if is_ip(node.host)} if ttl else {}
    kinds = {4: A, 6: AAAA}
    return [DNSAddress(target, kinds[ip.version], IN, ttl, ip.packed) for target, ip in sorted(hosts.items())]


def _beat_record(beat: Beat) -> DNSRecord:
    head = _BEAT.pack(_BEAT_VERSION, beat.sequence, len(beat.present), len(beat.gone))
    data = head + b"".join(sorted(beat.present)) + b"".join(sorted(beat.gone))
    return DNSText(f"{beat.origin}.{BEATS}", TXT, UNIQUE, beat.ttl, to_strings(data))


def _response(records: Iterable[DNSRecord]) -> list[bytes]:
    """One packet, or two where a text is so large that it needs one for itself."""
    packet = DNSOutgoing(ANSWER)
    for record in records:
        packet.add_answer_at_time(record, 0)
    return list(packet.packets())


def doubled(packet: bytes) -> bytes:
    """A packet with the word that its sender speaks IPv4 on the same interface."""
    records = int.from_bytes(packet[10:12], "big") + 1
    return packet[:10] + records.to_bytes(2, "big") + packet[12:] + _DOUBLED


def is_doubled(packet: bytes) -> bool:
    """Whether a packet has it."""
    return packet.endswith(_DOUBLED)


def parse(data: bytes) -> DNSIncoming | None:
    """A packet, or None for one that cannot be read whole; the records behind a question may be of unknown types."""
    packet = DNSIncoming(data)
    if not packet.valid:
        return None
    whole = packet.num_answers + packet.num_authorities + packet.num_additionals
    return packet if packet.is_query() or len(packet.answers()) == whole else None


def read(packet: DNSIncoming) -> Heard:
    """What a packet says to us."""
    if packet.is_query():
        return Heard(tuple((question.name.lower(), question.type) for question in packet.questions))
    records = packet.answers()
    texts = [record for record in records if isinstance(record, DNSText)]
    beats = [_read_beat(text) for text in texts if text.name.endswith("." + BEATS)]
    nodes = [text.text for text in texts if _is_instance(text.name) and text.ttl]
    return Heard((), tuple(beat for beat in beats if beat is not None), tuple(nodes))


def _is_instance(name: str) -> bool:
    return name.endswith("." + TYPE) and name.count(".") == TYPE.count(".") + 1


def _read_beat(record: DNSText) -> Beat | None:
    try:
        data = from_strings(record.text)
        version, sequence, present, gone = _BEAT.unpack_from(data)
    except (BadRecord, struct.error):
        return None
    names = data[_BEAT.size :]
    if version != _BEAT_VERSION or len(names) != (present + gone) * FINGERPRINT:
        return None
    cut = [names[at : at + FINGERPRINT] for at in range(0, len(names), FINGERPRINT)]
    origin = record.name.removesuffix("." + BEATS)
    if len(origin) != 16 or not set(origin) <= set("0123456789abcdef"):
        return None
    return Beat(origin, int(record.ttl), sequence, frozenset(cut[:present]), frozenset(cut[present:]))
