"""The settings of a service itself: one declaration, read by the same machinery as the options of plugins.

A field `server_address` is `MICRO_SERVER_ADDRESS` in the environment, `[server] address` in the file, and
`server.address` on the command line and in `options={…}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from micro_core import ConfigurationError, OptionError, option
from micro_core.options import OptionField, option_fields

from micro.naming import check_name


@dataclass(frozen=True, slots=True)
class Settings:
    """What a service or client does, whatever its plugins are. Times are in seconds."""

    server_name: str = option("", help="name of the service; the environment's counts when the process runs one")
    server_version: str = option("latest", help="version it registers")
    server_address: str = option("127.0.0.1:0", help="host:port to bind; `:0` is every interface, any free port")
    server_advertise: str = option("", help="address to register, where it is not the bound one")
    server_metadata: tuple[str, ...] = option((), help="key=value pairs for the node's record, beside those in code")
    register_ttl: float = option(90.0, help="how long a registration lives", minimum=0.1)
    register_interval: float = option(30.0, help="how often it is renewed", minimum=0.05)
    register_wait: float = option(2.0, help="how long a start waits for a registry that does not answer", minimum=0.0)
    register_schemas: int = option(
        1000, help="bytes that endpoints may take in the record, deflated, for JSON Schemas; 0: none", minimum=0
    )
    namespace: str = option("", help="prefix that keeps services of one network apart")
    client_lookup_timeout: float = option(1.0, help="how long a call waits for an unknown service", minimum=0.0)
    stop_propagation: float = option(2.0, help="how long calls are served on after deregistering", minimum=0.0)
    stop_drain: float = option(6.0, help="how long running calls may take to end", minimum=0.0)
    stop_flush: float = option(1.0, help="how long accepted events may take to be delivered", minimum=0.0)
    extensions_disabled: tuple[str, ...] = option((), help="extensions to go without")
    log: str = option("info", help="debug, info, warning, error or critical")
    backend: str = option("", help="event loop of run(): asyncio, uvloop or trio; empty: uvloop where installed")


FIELDS: Mapping[str, OptionField] = option_fields(Settings)

KEYS: Mapping[str, str] = {name.replace("_", ".", 1): name for name in FIELDS}
"""Dotted key to field: `server.address` to `server_address`."""

PER_SERVICE = ("name", "version", "address", "advertise", "metadata")
"""What `[service.<name>]` may hold, each the `server.` setting of one service."""


def check_settings(settings: Settings, source: Mapping[str, str]) -> None:
    """Raises ConfigurationError for values that cannot be, or not go together."""
    if "server_name" in source:
        try:
            check_name(settings.server_name)
        except ConfigurationError as error:
            raise ConfigurationError(f"{source['server_name']}: {error}") from None
    if settings.register_interval >= settings.register_ttl:
        where = source.get("register_interval") or source.get("register_ttl") or "the defaults"
        raise OptionError(
            f"register.interval ({settings.register_interval:g} s) must be shorter than register.ttl "
            f"({settings.register_ttl:g} s): {where}"
        )
    for pair in settings.server_metadata:
        if "=" not in pair:
            raise OptionError(f"server.metadata ({source['server_metadata']}): expected key=value, not {pair!r}")
