"""Client and server `rpc` over transport `http`, in both versions, bare and in envelopes.

Plugins may not import each other, tests may.
"""

from __future__ import annotations

from typing import Any

import pytest
from micro_conformance import ClientServerConformance
from micro_core import loader
from micro_http import HTTP2


def _maker(kind: str, name: str, **options: Any) -> Any:
    plugin = loader.load(kind, name).cls
    return lambda *parts: plugin(*parts, plugin.Options(**options))


class TestRPCOverHTTP(ClientServerConformance):
    plugin = ("client", "rpc")

    @pytest.fixture
    def make_transport(self) -> Any:
        return _maker("transport", "http")

    @pytest.fixture
    def make_client(self) -> Any:
        return _maker("client", "rpc")

    @pytest.fixture
    def make_server(self) -> Any:
        return _maker("server", "rpc")


class TestRPCOverHTTP2(TestRPCOverHTTP):
    @pytest.fixture
    def make_transport(self) -> Any:
        return _maker("transport", "http", http2=HTTP2.ALWAYS)


class TestJsonRpcOverHTTP(TestRPCOverHTTP):
    @pytest.fixture
    def make_transport(self) -> Any:
        return _maker("transport", "http", http2=HTTP2.NEVER)

    @pytest.fixture
    def make_client(self) -> Any:
        return _maker("client", "rpc", content_type="application/json-rpc")


class TestJsonRpcOverHTTP2(TestRPCOverHTTP2):
    @pytest.fixture
    def make_client(self) -> Any:
        return _maker("client", "rpc", content_type="application/json-rpc")
