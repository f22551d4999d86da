"""What TLS of a server and a client stands on: certificates, what is verified, and files that change while it runs.

Both sides ask for a context at each handshake. The files behind it are looked at once a second at most, and read again
when one of them has changed; new ones that cannot be used are logged, once, and the old ones stay.

Verification is of the *service name* by default: a caller knows which service it wants, while the address came from a
registry, whose word is worth nothing here. Sessions are not resumed: each connection is verified anew, so that a new CA
or a revocation counts for every connection that begins after it.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from micro_core import ConfigurationError

_log = logging.getLogger("micro.http")
_PAUSE = 1.0
"""Seconds between two looks at the files."""

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, those that HTTP/2 allows (RFC 9113 §9.2.2); TLS 1.3 has no others."""

HTTP2_NAME, HTTP1_NAME = "h2", "http/1.1"
_CRL = b"-----BEGIN X509 CRL-----"
_ADDRESSED = ("service", "host")


class TLS:
    """TLS of one transport, both ways. Making one does no I/O; `open` reads the files, once.

    Args:
        certificate: PEM file of the certificate to serve with, those up to its CA behind it; a client shows it, too.
        key: PEM file of its key; None where it stands in the certificate's file.
        ca: PEM file of the CAs that peers are verified by; None: for a client the system's. A certificate revocation
            list in it is heeded.
        identity: the name that a server's certificate must hold: `service`, the name of the service that is called;
            `host`, the host of its address; any other text, that name.
        client_auth: whether a server demands a certificate of its clients, too.
        server_context: used as it is, instead of the files.
        client_context: used instead of the files.
        variables: how the environment's variables for these options begin, for texts.

    Contexts that were passed in are told the protocols to offer (ALPN), and are not changed otherwise.
    """

    def __init__(
        self,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        ca: Path | None = None,
        identity: str = "service",
        client_auth: bool = False,
        server_context: ssl.SSLContext | None = None,
        client_context: ssl.SSLContext | None = None,
        variables: str = "MICRO_TRANSPORT",
    ) -> None:
        self.identity = identity
        self.client_auth = client_auth
        self._certificate = certificate
        self._key = key
        self._ca = ca
        self._variables = variables
        files = [path for path in (certificate, key, ca) if path is not None]
        serves = certificate is not None
        self._server = _Kept(files, self._make_server, server_context) if server_context or serves else None
        self._client = _Kept(files, self._make_client, client_context)

    def open(self) -> None:
        """Reads the files. Raises ConfigurationError that names the option and says what to do."""
        if self._key is not None and self._certificate is None:
            raise self._wrong("tls_cert", "there is a tls_key without a certificate; name the certificate's file, too")
        if self.client_auth and self._ca is None and self._server is not None and self._server.given is None:
            raise self._wrong("tls_ca", "tls_client_auth asks clients for a certificate; name the file of their CA")
        for kept in (self._server, self._client):
            if kept is not None:
                kept.open()

    @property
    def serves(self) -> bool:
        """Whether there is a certificate to serve with."""
        return self._server is not None

    def server(self) -> ssl.SSLContext:
        """The context for a connection that was accepted. Raises ConfigurationError where there is no certificate."""
        if self._server is None:
            raise self._wrong(
                "tls_cert", "this process uses TLS and has no certificate to serve with; name its file, and tls_key"
            )
        return self._server.current()[0]

    def client(self, *, http2: bool = True) -> ssl.SSLContext:
        """The context for a connection to be made; one that may become HTTP/2, or one that must not."""
        contexts = self._client.current()
        if self._client.given is not None:
            contexts[0].set_alpn_protocols([HTTP2_NAME, HTTP1_NAME] if http2 else [HTTP1_NAME])
        return contexts[0 if http2 else -1]

    def name_for(self, host: str, service: str | None) -> str:
        """The name that the certificate of a server must hold. A call that names no service verifies the host."""
        if self.identity not in _ADDRESSED:
            return self.identity
        return service if service and self.identity == "service" else host

    # Contexts

    def _make_server(self, given: ssl.SSLContext | None) -> tuple[ssl.SSLContext, ...]:
        context = given
        if context is None:
            context = _hardened(ssl.PROTOCOL_TLS_SERVER)
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
            self._load_certificate(context)
            if self.client_auth:
                self._load_ca(context)
                context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols([HTTP2_NAME, HTTP1_NAME])
        return (context,)

    def _make_client(self, given: ssl.SSLContext | None) -> tuple[ssl.SSLContext, ...]:
        """One that offers HTTP/2, and one for what needs HTTP/1.1; one that was given is both in turn."""
        if given is not None:
            return (given,)
        contexts = (self._client_context(), self._client_context())
        contexts[0].set_alpn_protocols([HTTP2_NAME, HTTP1_NAME])
        contexts[1].set_alpn_protocols([HTTP1_NAME])
        return contexts

    def _client_context(self) -> ssl.SSLContext:
        context = _hardened(ssl.PROTOCOL_TLS_CLIENT)
        context.hostname_checks_common_name = False
        if self._ca is None:
            context.load_default_certs()
        else:
            self._load_ca(context)
        if self._certificate is not None:
            self._load_certificate(context)
        return context

    def _load_ca(self, context: ssl.SSLContext) -> None:
        assert self._ca is not None
        data = self._read("tls_ca", self._ca, b"-----BEGIN CERTIFICATE-----", "certificate")
        try:
            context.load_verify_locations(cafile=self._ca)
        except (ssl.SSLError, OSError) as error:
            raise self._wrong("tls_ca", f"{self._ca} cannot be used: {_said(error)}; it must be PEM") from error
        if _CRL in data:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        assert self._certificate is not None
        self._read("tls_cert", self._certificate, b"-----BEGIN CERTIFICATE-----", "certificate")
        option = "tls_key" if self._key is not None else "tls_cert"
        key = self._certificate if self._key is None else self._key
        self._read(option, key, b"PRIVATE KEY-----", "private key")
        try:
            context.load_cert_chain(self._certificate, key, password=_no_password)
        except _Encrypted as error:
            text = f"{key} is protected by a password; give it without one, or a context in code"
            raise self._wrong(option, text) from error
        except (ssl.SSLError, OSError) as error:
            if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
                text = f"{key} is not the key of the certificate {self._certificate}; name the one it was made with"
                raise self._wrong(option, text) from error
            text = f"{self._certificate} and {key} cannot be used: {_said(error)}; both must be PEM"
            raise self._wrong("tls_cert", text) from error

    def _read(self, option: str, path: Path, marker: bytes, what: str) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            text = f"{path} cannot be read: {error.strerror or error}; name a file that this process may read"
            raise self._wrong(option, text) from error
        if marker not in data:
            raise self._wrong(option, f"{path} holds no {what} in PEM; name the file that does")
        return data

    def _wrong(self, option: str, text: str) -> ConfigurationError:
        return ConfigurationError(f"option {option} ({self._variables}_{option.upper()}): {text}")


class _Kept:
    """Contexts that are made again when their files change."""

    def __init__(
        self,
        files: list[Path],
        make: Callable[[ssl.SSLContext | None], tuple[ssl.SSLContext, ...]],
        given: ssl.SSLContext | None,
    ) -> None:
        self.given = given
        self._files = files
        self._make = make
        self._made: tuple[ssl.SSLContext, ...] = ()
        self._stamp: object = None
        self._look_at = 0.0

    def open(self) -> None:
        if self._made:
            return
        self._stamp = self._stamped()
        self._look_at = time.monotonic() + _PAUSE
        self._made = self._make(self.given)

    def current(self) -> tuple[ssl.SSLContext, ...]:
        if not self._made:
            self.open()
        elif self.given is None and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _PAUSE
            self._look()
        return self._made

    def _look(self) -> None:
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._made = self._make(None)
        except ConfigurationError as error:
            _log.warning("certificates changed and cannot be used, the old ones stay: %s", error)
        else:
            _log.info("certificates changed and were read again: %s", ", ".join(map(str, self._files)))

    def _stamped(self) -> tuple[object, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError as error:
        return error.errno
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _hardened(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(_CIPHERS)
    return context


class _Encrypted(Exception):
    """A key that is protected by a password: nobody is asked for it."""


def _no_password(*_: Any) -> str:
    raise _Encrypted


def _said(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error).replace("_", " ").lower()
