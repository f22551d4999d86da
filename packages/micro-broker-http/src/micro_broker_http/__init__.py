"""Broker `http`: events posted straight to subscribers, as Go Micro's default broker does (WIRE §6, §7)."""

from micro_core import Broker, hookimpl

from micro_broker_http.broker import HTTPBroker
from micro_broker_http.subscription import HTTPSubscription

__all__ = ["HTTPBroker", "HTTPSubscription", "micro_broker"]


@hookimpl
def micro_broker() -> type[Broker]:
    """The hook of the plugin."""
    return HTTPBroker
