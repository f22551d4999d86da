"""Registry `consul`: a Consul agent."""
