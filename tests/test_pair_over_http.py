"""Client and server `rpc` over transport `http`, in both versions: plugins may not import each other, tests may."""

from __future__ import annotations

from typing import Any

import pytest
from micro_conformance import ClientServerConformance
from micro_core import loader
from micro_http import HTTP2


def _maker(kind: str, name: str) -> Any:
    plugin = loader.load(kind, name).cls
    return lambda *parts: plugin(*parts, plugin.Options())


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
        plugin = loader.load("transport", "http").cls
        return lambda: plugin(plugin.Options(http2=HTTP2.ALWAYS))
