"""Transport `memory`: calls within one process.

Transports that are built with the same `address` option share one store of listeners: the one piece of state that
outlives its components. An address is `name:port`; it stands for nothing but itself. Heads and bodies are copied on
their way, and a handler runs in a task of its own with the context variables of whoever listens, so that nothing passes
from caller to handler but the message.
"""

from __future__ import annotations

from micro_core import Transport, hookimpl

from micro_transport_memory.transport import MemoryTransport

__all__ = ["MemoryTransport"]


@hookimpl
def micro_transport() -> type[Transport]:
    """The class for the name `memory`."""
    return MemoryTransport
