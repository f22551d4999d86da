"""The kit's suite for transports."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from micro_conformance import TransportConformance
from micro_core import Transport
from micro_transport_memory import MemoryTransport


class TestMemoryTransport(TransportConformance):
    plugin = ("transport", "memory")

    @pytest.fixture
    def make_transport(self) -> Callable[[], AbstractAsyncContextManager[Transport]]:
        return lambda: MemoryTransport(MemoryTransport.Options(address="conformance"))
