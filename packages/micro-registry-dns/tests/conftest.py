"""A small DNS server on loopback, over UDP and TCP, made of dnspython's messages; it runs in a thread of its own."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

ZONE = dns.name.from_text("example.test.")


class DnsServer:
    """Answers from `records`, for names under `example.test`.

    Attributes:
        records: texts of records by name (below the zone) and type.
        ttl: seconds that every record says.
        absent_ttl: the minimum of the SOA; None leaves the SOA out.
        rcode: answers this instead, when it is set.
        silent: reads questions and says nothing.
        truncated: UDP replies are empty and say so.
        additional: answers to SRV bring the addresses of their targets along.
        asked: how often each question came, by UDP and by TCP.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.ttl = 0
        self.absent_ttl: int | None = 0
        self.rcode: dns.rcode.Rcode | None = None
        self.silent = self.truncated = self.additional = False
        self.asked: Counter[tuple[str, str]] = Counter()
        self.by_tcp = 0
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._tcp.bind(("127.0.0.1", 0))
        self._udp.bind(self._tcp.getsockname())
        self._tcp.listen()
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._tcp.getsockname()[1]}"

    def put(self, name: str, kind: str, *texts: str) -> None:
        self.records[name, kind] = list(texts)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.close()
        self._thread.join()
        for each in (self._udp, self._tcp, self._stopped):
            each.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for each in (self._udp, self._tcp, self._stopped):
                selector.register(each, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._stopped in ready:
                    return
                if self._udp in ready:
                    self._by_udp()
                if self._tcp in ready:
                    self._by_tcp()

    def _by_udp(self) -> None:
        wire, peer = self._udp.recvfrom(65535)
        reply = self._reply(wire)
        if reply is not None and self.truncated:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
        if reply is not None:
            self._udp.sendto(reply.to_wire(max_size=65535), peer)

    def _by_tcp(self) -> None:
        connection, _ = self._tcp.accept()
        with connection, connection.makefile("rb") as file:
            (size,) = struct.unpack("!H", file.read(2))
            reply = self._reply(file.read(size))
            self.by_tcp += 1
            if reply is not None:
                wire = reply.to_wire(max_size=65535)
                connection.sendall(struct.pack("!H", len(wire)) + wire)

    def _reply(self, wire: bytes) -> dns.message.Message | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.relativize(ZONE).to_text().lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        reply = dns.message.make_response(query)
        if self.rcode is not None:
            reply.set_rcode(self.rcode)
            return reply
        self._answer(reply, question.name, name, kind)
        return None if self.silent else reply

    def _answer(self, reply: dns.message.Message, full: dns.name.Name, name: str, kind: str) -> None:
        alias = self.records.get((name, "CNAME"))
        if alias:
            reply.answer.append(self._rrset(full, "CNAME", alias))
            full = dns.name.from_text(alias[0])
            name = full.relativize(ZONE).to_text()
        texts = self.records.get((name, kind))
        if texts:
            reply.answer.append(self._rrset(full, kind, texts))
            if kind == "SRV" and self.additional:
                self._bring_addresses(reply, texts)
            return
        if not any(other == name and listed for (other, _), listed in self.records.items()):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if self.absent_ttl is not None:
            soa = f"ns.example.test. root.example.test. 1 60 60 60 {self.absent_ttl}"
            reply.authority.append(self._rrset(ZONE, "SOA", [soa], ttl=3600))

    def _bring_addresses(self, reply: dns.message.Message, texts: list[str]) -> None:
        for target in {dns.name.from_text(text.split()[3]) for text in texts}:
            for kind in ("A", "AAAA"):
                found = self.records.get((target.relativize(ZONE).to_text(), kind))
                if found:
                    reply.additional.append(self._rrset(target, kind, found))

    def _rrset(self, name: dns.name.Name, kind: str, texts: list[str], ttl: int | None = None) -> dns.rrset.RRset:
        return dns.rrset.from_text_list(name, self.ttl if ttl is None else ttl, "IN", kind, texts)


@pytest.fixture
def server() -> Iterator[DnsServer]:
    server = DnsServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
