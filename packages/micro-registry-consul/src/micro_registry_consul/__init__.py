"""Registry `consul`: services of a Consul datacenter, shared with Go Micro.

api        python-consul2's endpoints over our connections
pace       at most one request a second while Consul fails
client     requests to the first agent that answers
records    nodes as tags, and back
keeper     being registered, and saying goodbye
feed       blocking queries, and watches of what they say
registry   the interface over all that
doctor     what `micro doctor` is told
"""

from __future__ import annotations

from collections.abc import Iterable

from micro_core import Finding, Registry, hookimpl

from micro_registry_consul.registry import ConsulRegistry, access_of

__all__ = ["ConsulRegistry", "micro_doctor", "micro_registry"]


@hookimpl
def micro_registry() -> type[Registry]:
    """The class behind entry point `consul`."""
    return ConsulRegistry


@hookimpl
def micro_doctor(options: ConsulRegistry.Options) -> Iterable[Finding]:
    """Whether the agents answer, have a leader and take the token."""
    from micro_registry_consul.doctor import findings

    return findings(access_of(options))
