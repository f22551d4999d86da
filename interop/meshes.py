"""A registry that Go Micro's processes and ours share."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from consul_agent import Agent
from micro_core import Registry
from micro_registry_consul import ConsulRegistry
from micro_registry_mdns import MdnsRegistry

HERE = Path(__file__).parent
MESSAGES = str(HERE.parent / "tests" / "messages")


def _name() -> str:
    return f"greeter-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Mesh:
    """How everyone gets at it.

    Attributes:
        go: flags of peers.
        python: arguments of services and clients.
        registry: one of ours, to be entered.
        service: a name that nobody else uses.
    """

    go: Mapping[str, Any]
    python: Mapping[str, Any]
    registry: Registry
    service: str = field(default_factory=_name)


def by_consul(agent: Agent) -> Mesh:
    """Over an agent."""
    return Mesh(
        {"registry": "consul", "registry_address": agent.address},
        {
            "registry": "consul",
            "broker": "http",
            "options": {"registry.address": agent.address, "stop.propagation": 0.0},
        },
        ConsulRegistry(ConsulRegistry.Options(address=(agent.address,))),
    )


def by_mdns() -> Mesh:
    """Over multicast, by Go Micro's names."""
    return Mesh(
        {"registry": "mdns"},
        {"registry": "mdns", "broker": "http", "options": {"stop.propagation": 0.0}},
        MdnsRegistry(MdnsRegistry.Options()),
    )


@asynccontextmanager
async def python_process(mesh: Mesh, **environment: str) -> AsyncIterator[Process]:
    """Our service as a process that can be killed."""
    options = {f"MICRO_{key.upper().replace('.', '_')}": str(value) for key, value in mesh.python["options"].items()}
    chosen = {"MICRO_REGISTRY": mesh.python["registry"], "MICRO_SERVER_NAME": mesh.service, **options, **environment}
    process = await anyio.open_process(
        [sys.executable, str(HERE / "say.py")], env={**os.environ, **chosen, "PYTHONPATH": MESSAGES}
    )
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()
