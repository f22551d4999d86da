"""The fixture `rig`; what it is made of is in `rpc_rig`, which the tests import."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from micro_transport_memory import MemoryTransport

sys.path.insert(0, str(Path(__file__).parent))

from rpc_rig import Rig, rig_of


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A client's and servers' surroundings on the memory transport."""
    async with rig_of(lambda: MemoryTransport(MemoryTransport.Options(address="rpc"))) as rig:
        yield rig
