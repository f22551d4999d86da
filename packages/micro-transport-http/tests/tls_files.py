"""Certificates in files, as a service is given them, and calls to a transport that serves with them."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from micro_core import EndOfStream, Exchange, Head, Message, Peer, Reset, StreamCall, TransportError, UnaryCall
from micro_transport_http import HTTPTransport

DAY = dt.timedelta(days=1)
LOCAL = ("greeter", "localhost", "127.0.0.1")
HEAD = {"micro-endpoint": "Say.Hello", "micro-id": "1"}


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Authority:
    """A CA, and what it issues. `ca` is the file that trusts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = trustme.CA()
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.signer.cert_pem.bytes())

    def issue(self, *names: str, file: str = "cert.pem", **times: Any) -> Path:
        """A certificate with its key, in one file."""
        issued = self.signer.issue_cert(*(names or LOCAL), **times)
        path = self.folder / file
        path.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        return path

    def serving(self, *names: str, **more: Any) -> HTTPTransport:
        return transport(tls_cert=self.issue(*names), tls_ca=self.ca, **more)

    def calling(self, **more: Any) -> HTTPTransport:
        return transport(tls_ca=self.ca, **more)

    def revoke(self, certificate: Path) -> Path:
        """A file of the CA and a list of what it has revoked: that certificate."""
        key = serialization.load_pem_private_key(self.signer.private_key_pem.bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        issuer = x509.load_pem_x509_certificate(self.signer.cert_pem.bytes()).subject
        serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now() - DAY).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(issuer)
        builder = builder.last_update(now() - DAY).next_update(now() + DAY).add_revoked_certificate(entry)
        path = self.folder / "ca-and-crl.pem"
        listed = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        path.write_bytes(self.signer.cert_pem.bytes() + listed)
        return path


def transport(**options: Any) -> HTTPTransport:
    """A transport of these options."""
    values: Mapping[str, Any] = options
    return HTTPTransport(HTTPTransport.Options(**values))


class Answer(UnaryCall):
    async def run(self, body: bytes) -> Message:
        return Message({}, body)

    def cancel(self, reason: Reset) -> None:
        return None


class Echo(StreamCall):
    async def run(self, exchange: Exchange) -> None:
        try:
            while True:
                await exchange.send(await exchange.recv())
        except EndOfStream:
            await exchange.end()
        except TransportError:
            return

    def cancel(self, reason: Reset) -> None:
        return None


class Seen:
    """A server's `accept` that keeps who called."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []

    def accept(self, head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        self.peers.append(peer)
        return Echo() if "micro-stream" in head else Answer()


@asynccontextmanager
async def serving(server: HTTPTransport) -> AsyncIterator[tuple[str, Seen]]:
    seen = Seen()
    async with server:
        listener = await server.listen("127.0.0.1:0", seen.accept)
        yield listener.address, seen


async def ask(client: HTTPTransport, address: str, name: str | None = "greeter", body: bytes = b"x") -> Message:
    request = Message(dict(HEAD), body)
    return await client.call(address, request, verify_name=name, deadline=anyio.current_time() + 5)


async def opened(client: HTTPTransport, address: str, name: str | None = "greeter") -> Exchange:
    deadline = anyio.current_time() + 5
    return await client.open(address, {**HEAD, "micro-stream": "1"}, verify_name=name, deadline=deadline)
