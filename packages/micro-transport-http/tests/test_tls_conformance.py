"""The HTTP transport keeps every promise over TLS, too: with HTTP/2, and with HTTP/1.1 alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from micro_conformance import TransportConformance
from micro_http import HTTP2
from micro_transport_http import HTTPTransport


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    paths = {"tls_cert": folder / "cert.pem", "tls_ca": folder / "ca.pem"}
    certificate.private_key_and_cert_chain_pem.write_to_path(str(paths["tls_cert"]))
    authority.cert_pem.write_to_path(str(paths["tls_ca"]))
    return paths


class TestHTTP2OverTLS(TransportConformance):
    plugin = ("transport", "http")

    @pytest.fixture
    def make_transport(self, certificates: dict[str, Path]) -> Callable[[], HTTPTransport]:
        return lambda: HTTPTransport(HTTPTransport.Options(**certificates))


class TestHTTP1OverTLS(TransportConformance):
    plugin = ("transport", "http")

    @pytest.fixture
    def make_transport(self, certificates: dict[str, Path]) -> Callable[[], HTTPTransport]:
        return lambda: HTTPTransport(HTTPTransport.Options(**certificates, http2=HTTP2.NEVER))
