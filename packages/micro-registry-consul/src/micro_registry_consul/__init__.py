"""Registry `consul`: services of a Consul datacenter, shared with Go Micro.

api        python-consul2's endpoints over our connections
pace       at most one request a second while Consul fails
client     requests to the first agent that answers
records    nodes as tags, and back
keeper     being registered, and saying goodbye
feed       blocking queries, and watches of what they say
registry   the interface over all that
"""

from __future__ import annotations

from micro_core import Registry, hookimpl

from micro_registry_consul.registry import ConsulRegistry

__all__ = ["ConsulRegistry", "micro_registry"]


@hookimpl
def micro_registry() -> type[Registry]:
    """The class behind entry point `consul`."""
    return ConsulRegistry
