"""Registry `mdns`: multicast DNS, no server needed."""
