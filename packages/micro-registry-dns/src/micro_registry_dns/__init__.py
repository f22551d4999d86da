"""Registry `dns`: services from SRV, A and AAAA records."""
