"""The core of Go Micro for Python: interfaces, data types, errors, hook specs and the plugin loader.

Everything a plugin author needs is exported here; the modules are named after what they hold.
"""

from micro_core.broker import (
    Broker,
    Capability,
    Event,
    EventHandler,
    SubscribeOptions,
    SubscriberMiddleware,
    Subscription,
)
from micro_core.call import Attempt, Call, CallNext, Middleware, Reply, Stream, StreamWrapper
from micro_core.client import Client
from micro_core.clock import Clock, capture_clock
from micro_core.codec import Codec, Codecs, Decode, Encode
from micro_core.component import Component, NoOptions, Plugin
from micro_core.discovery import Discovery
from micro_core.doctor import Finding
from micro_core.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DecodeError,
    EndOfStream,
    MicroError,
    NotRegistered,
    OptionError,
    Outcome,
    RegistryUnavailable,
    Reset,
    RPCError,
    ServiceNotFound,
    TransportError,
    UnsupportedContentType,
    UnsupportedType,
)
from micro_core.hookspecs import Host, hookimpl
from micro_core.message import Buffer, Head, Message
from micro_core.options import Secret, option
from micro_core.records import (
    Endpoint,
    Filter,
    Node,
    NodeSet,
    Peer,
    ServiceRecord,
    Snapshot,
    Value,
)
from micro_core.registry import Reach, Registry
from micro_core.selector import Selector
from micro_core.server import Handler, Server
from micro_core.transport import Accept, Exchange, Listener, StreamCall, Transport, UnaryCall

__all__ = [
    "Accept",
    "Attempt",
    "Broker",
    "BrokerUnavailable",
    "Buffer",
    "Call",
    "CallNext",
    "Capability",
    "Client",
    "Clock",
    "Codec",
    "Codecs",
    "Component",
    "ConfigurationError",
    "Decode",
    "DecodeError",
    "Discovery",
    "Encode",
    "EndOfStream",
    "Endpoint",
    "Event",
    "EventHandler",
    "Exchange",
    "Filter",
    "Finding",
    "Handler",
    "Head",
    "Host",
    "Listener",
    "Message",
    "MicroError",
    "Middleware",
    "NoOptions",
    "Node",
    "NodeSet",
    "NotRegistered",
    "OptionError",
    "Outcome",
    "Peer",
    "Plugin",
    "RPCError",
    "Reach",
    "Registry",
    "RegistryUnavailable",
    "Reply",
    "Reset",
    "Secret",
    "Selector",
    "Server",
    "ServiceNotFound",
    "ServiceRecord",
    "Snapshot",
    "Stream",
    "StreamCall",
    "StreamWrapper",
    "SubscribeOptions",
    "SubscriberMiddleware",
    "Subscription",
    "Transport",
    "TransportError",
    "UnaryCall",
    "UnsupportedContentType",
    "UnsupportedType",
    "Value",
    "capture_clock",
    "hookimpl",
    "option",
]
