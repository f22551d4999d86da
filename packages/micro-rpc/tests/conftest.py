"""The fixtures; what they are made of is in `rpc_rig`, which the tests import."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from micro_transport_memory import MemoryTransport

sys.path.insert(0, str(Path(__file__).parent))

from rpc_rig import Rig, Wire, rig_of, wire_of


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A client's and servers' surroundings on the memory transport."""
    async with rig_of(lambda: MemoryTransport(MemoryTransport.Options(address="rpc"))) as rig:
        yield rig


@pytest.fixture
def make_wire(rig: Rig) -> Callable[..., Awaitable[Wire]]:
    """What makes a service that is asked by heads and bodies."""
    return partial(wire_of, rig)
