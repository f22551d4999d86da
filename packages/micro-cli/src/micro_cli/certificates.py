"""Certificates for development: a CA in `ca.pem` and `ca-key.pem`, and what it issues in `<service>.pem`, `…-key.pem`.

A certificate is good for both ends of a connection. None outlives its CA; keys are of the curve P-256, and only their
owner may read their files.
"""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 365
"""How long a CA is valid."""

SKEW = dt.timedelta(minutes=5)
"""How far the clock of another machine may be behind."""

LOCAL = ("localhost", "127.0.0.1", "::1")


class Refused(Exception):
    """What was asked for cannot be made; the text says why."""


class Authority:
    """A CA: its certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.key = key

    @classmethod
    def new(cls) -> Authority:
        """A fresh one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named("Development CA of Go Micro for Python")
        begun = _builder(name, name, key.public_key(), _now() + dt.timedelta(days=CA_DAYS))
        begun = begun.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        begun = begun.add_extension(_usage(ca=True), critical=True)
        begun = begun.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return cls(begun.sign(key, hashes.SHA256()), key)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Authority:
        """The one that is there. Raises Refused when it can issue nothing."""
        if not key.exists():
            raise Refused(f"{certificate} is there without {key.name}: choose another --dir")
        try:
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
            secret = load_pem_private_key(key.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise Refused(f"{certificate} or {key.name} cannot be read: {error}; choose another --dir") from None
        if not isinstance(secret, ec.EllipticCurvePrivateKey) or secret.public_key() != found.public_key():
            raise Refused(f"{key} is not the key of {certificate.name}; choose another --dir")
        if found.not_valid_after_utc <= _now():
            raise Refused(f"{certificate} has expired; remove it and {key.name}, or choose another --dir")
        return cls(found, secret)

    def issue(self, names: Sequence[str], days: int) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate for these names and addresses, the first of which is its subject, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        until = min(_now() + dt.timedelta(days=days), self.certificate.not_valid_after_utc)
        begun = _builder(_named(names[0]), self.certificate.subject, key.public_key(), until)
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        begun = begun.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        begun = begun.add_extension(_usage(ca=False), critical=True)
        begun = begun.add_extension(both, critical=False)
        begun = begun.add_extension(x509.SubjectAlternativeName(list(_alternatives(names))), critical=False)
        begun = begun.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        begun = begun.add_extension(ours, critical=False)
        return begun.sign(self.key, hashes.SHA256()), key


def make(folder: Path, services: Sequence[str], hosts: Sequence[str], days: int) -> list[tuple[Path, str]]:
    """Writes what is missing; each file and what it is. Raises Refused, before anything is written, and OSError."""
    names = [*LOCAL, *_own_host(), *hosts]
    for host in hosts:
        _alternative(host)
    for service in services:
        for path in _files(folder, service):
            if path.exists():
                raise Refused(f"{path} is there already, and nothing is overwritten: remove it for a new one")
    folder.mkdir(parents=True, exist_ok=True)
    authority, written = _authority(folder)
    for service in services:
        certificate, key = authority.issue(list(dict.fromkeys([service, *names])), days)
        paths = _files(folder, service)
        _write(paths[1], _pem_of(key), 0o600)
        _write(paths[0], certificate.public_bytes(Encoding.PEM), 0o644)
        written += [(paths[0], f"{service}, until {_day(certificate)}"), (paths[1], "its key")]
    return written


def _authority(folder: Path) -> tuple[Authority, list[tuple[Path, str]]]:
    paths = _files(folder, "ca")
    if paths[0].exists():
        return Authority.read(*paths), []
    made = Authority.new()
    _write(paths[1], _pem_of(made.key), 0o600)
    _write(paths[0], made.certificate.public_bytes(Encoding.PEM), 0o644)
    return made, [(paths[0], f"the CA, until {_day(made.certificate)}"), (paths[1], "its key: keep it to yourself")]


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}-key.pem"


def _write(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _day(certificate: x509.Certificate) -> str:
    return certificate.not_valid_after_utc.date().isoformat()


def _own_host() -> Iterator[str]:
    host = socket.gethostname()
    if host.isascii() and host.replace("-", "").replace(".", "").isalnum():
        yield host


def _alternatives(names: Iterable[str]) -> Iterator[x509.GeneralName]:
    return (_alternative(name) for name in names)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name.strip("[]")))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise Refused(f"{name!r} is no host: {error}") from None


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: dt.datetime
) -> x509.CertificateBuilder:
    begun = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return begun.not_valid_before(_now() - SKEW).not_valid_after(until)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)
