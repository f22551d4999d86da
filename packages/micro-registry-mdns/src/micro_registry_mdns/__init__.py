"""Registry `mdns`: multicast DNS, no server needed.

What is said on the wire, and why it is fit to notice a killed process, stands at the top of `protocol`.
"""

from __future__ import annotations

from micro_core import Registry, hookimpl

from micro_registry_mdns.registry import MdnsRegistry

__all__ = ["MdnsRegistry"]


@hookimpl
def micro_registry() -> type[Registry]:
    """The registry that the entry point `mdns` stands for."""
    return MdnsRegistry
