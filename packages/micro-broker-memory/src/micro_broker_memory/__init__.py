"""Broker `memory`: events within one process."""

from micro_core import Broker, hookimpl

from micro_broker_memory.broker import MemoryBroker, MemorySubscription

__all__ = ["MemoryBroker", "MemorySubscription", "micro_broker"]


@hookimpl
def micro_broker() -> type[Broker]:
    """The hook of the plugin."""
    return MemoryBroker
