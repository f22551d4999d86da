"""The HTTP transport keeps every promise of `Transport` and `Exchange`, in both versions of HTTP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from micro_conformance import TransportConformance
from micro_http import HTTP2
from micro_transport_http import HTTPTransport


class TestHTTPTransport(TransportConformance):
    plugin = ("transport", "http")

    @pytest.fixture
    def make_transport(self) -> Callable[[], HTTPTransport]:
        return lambda: HTTPTransport(HTTPTransport.Options())


class TestHTTP2Transport(TransportConformance):
    plugin = ("transport", "http")

    @pytest.fixture
    def make_transport(self) -> Callable[[], HTTPTransport]:
        return lambda: HTTPTransport(HTTPTransport.Options(http2=HTTP2.ALWAYS))
