"""What `micro doctor` is told: which agents answer, whether their cluster has a leader, whether the token is taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import anyio
from micro_core import Finding, MicroError, RegistryUnavailable, capture_clock

from micro_registry_consul.client import Access, Client, Silent

_START = "start an agent there, or set MICRO_REGISTRY_ADDRESS to where one listens"
_PERMIT = "set MICRO_REGISTRY_CONSUL_TOKEN or _TOKEN_FILE to a token that may read and write services"


def findings(access: Access) -> Iterable[Finding]:
    """One finding per address. Runs an event loop of its own."""
    return anyio.run(_findings, access)


async def _findings(access: Access) -> list[Finding]:
    return [await _of_agent(replace(access, addresses=(address,))) for address in access.addresses]


async def _of_agent(access: Access) -> Finding:
    address = access.addresses[0]
    client = None
    try:
        client = Client(access, capture_clock())
        leader = await client.ask_agent(lambda api, token: api.status.leader())
        if not leader:
            return Finding(
                "warning",
                f"the Consul agent at {address} knows no leader of its cluster",
                "look at `consul members` and the servers' logs; it heals by itself when they are back",
            )
        await client.ask_agent(lambda api, token: api.agent.services(token=token))
    except Silent as error:
        return Finding("error", str(error), _START)
    except RegistryUnavailable as error:
        return Finding("error", str(error), _PERMIT)
    except MicroError as error:
        return Finding("error", str(error), "mend the certificates that the options name")
    finally:
        if client is not None:
            await client.close()
    return Finding("ok", f"the Consul agent at {address} answers; the leader of its cluster is {leader}")
