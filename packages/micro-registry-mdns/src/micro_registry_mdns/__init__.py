"""Registry `mdns`: multicast DNS, no server needed.

What is said on the wire, and why it is fit to notice a killed process, stands at the top of `protocol`.
"""

from __future__ import annotations

from collections.abc import Iterable

from micro_core import Finding, Registry, hookimpl

from micro_registry_mdns.registry import MdnsRegistry

__all__ = ["MdnsRegistry", "micro_doctor", "micro_registry"]


@hookimpl
def micro_registry() -> type[Registry]:
    """The registry that the entry point `mdns` stands for."""
    return MdnsRegistry


@hookimpl
def micro_doctor(options: MdnsRegistry.Options) -> Iterable[Finding]:
    """Whether multicast gets through on the chosen interfaces."""
    from micro_registry_mdns.doctor import findings

    return findings(options.interfaces, options.port)
