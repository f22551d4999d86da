"""Go Micro for Python: write services, call them, publish and subscribe.

    service = micro.Service("greeter")

    @service.handler
    class Say:
        async def hello(self, request: HelloRequest) -> HelloReply:
            return HelloReply(f"Hello {request.name}")

    if __name__ == "__main__":
        service.run()

and elsewhere

    async with micro.Client() as client:
        reply = await client.call("greeter", "Say.Hello", HelloRequest("Ada"), HelloReply)
"""

from micro_core import Call, CallNext, Capability, Event, EventHandler, Reply, StreamWrapper

from micro import errors
from micro.caller import Caller
from micro.calling import ProxyOptions
from micro.client import Client
from micro.context import Context, context
from micro.response import Response
from micro.run import run
from micro.service import Service
from micro.shapes import endpoint
from micro.stream import Stream
from micro.streaming import Replies, streaming

__all__ = [
    "Call",
    "CallNext",
    "Caller",
    "Capability",
    "Client",
    "Context",
    "Event",
    "EventHandler",
    "ProxyOptions",
    "Replies",
    "Reply",
    "Response",
    "Service",
    "Stream",
    "StreamWrapper",
    "context",
    "endpoint",
    "errors",
    "run",
    "streaming",
]
