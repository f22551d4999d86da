"""Registry `dns`: services from SRV, A and AAAA records, as Consul, Kubernetes and plain zones publish them."""

from micro_registry_dns.registry import DnsRegistry, micro_registry

__all__ = ["DnsRegistry", "micro_registry"]
