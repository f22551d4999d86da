"""A client that blocks, for programs without an event loop: scripts, Django, Celery.

    client = micro.sync.Client()

    reply = client.call("greeter", "Say.Hello", HelloRequest("Ada"), HelloReply, timeout=2)

An event loop in a thread of its own does the work; see `Client`.
"""

from micro.sync.client import Client
from micro.sync.streams import Replies, Stream

__all__ = ["Client", "Replies", "Stream"]
