"""Node sets fed by registry watches and shared by all callers.

`RegistryDiscovery` is what clients ask for nodes; `Namespaced` keeps people on one network apart; `reachable_address`
and `host_id` say what a server registers about itself.
"""

from micro_discovery.addresses import reachable_address
from micro_discovery.discovery import RegistryDiscovery
from micro_discovery.host import HOST_KEY, host_id
from micro_discovery.namespaced import Namespaced
from micro_discovery.usable import usable

__all__ = ["HOST_KEY", "Namespaced", "RegistryDiscovery", "host_id", "reachable_address", "usable"]
