"""The kit's suite for clients and servers, over the memory transport; bare bodies, and bodies in envelopes."""

from __future__ import annotations

import pytest
from micro_conformance import Suite
from micro_conformance.client_server import ClientServerConformance, MakeClient, MakeServer
from micro_conformance.exchange import MakeTransport
from micro_rpc import RPCClient, RPCServer
from micro_transport_memory import MemoryTransport


class TestRPC(ClientServerConformance):
    plugin = ("client", "rpc")

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        return lambda: MemoryTransport(MemoryTransport.Options(address="rpc-conformance"))

    @pytest.fixture
    def make_client(self) -> MakeClient:
        return lambda discovery, selector, transport, codecs: RPCClient(
            discovery, selector, transport, codecs, RPCClient.Options()
        )

    @pytest.fixture
    def make_server(self) -> MakeServer:
        return lambda transport, codecs: RPCServer(transport, codecs, RPCServer.Options())


class TestJsonRpc(TestRPC):
    @pytest.fixture
    def make_client(self) -> MakeClient:
        return lambda discovery, selector, transport, codecs: RPCClient(
            discovery, selector, transport, codecs, RPCClient.Options(content_type="application/json-rpc")
        )


class TestServerPlugin(Suite):
    plugin = ("server", "rpc")
