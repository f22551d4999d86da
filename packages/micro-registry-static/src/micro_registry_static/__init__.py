"""Registry `static`: services from a TOML file."""
