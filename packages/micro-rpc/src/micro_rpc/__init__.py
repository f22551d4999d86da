"""Client and server `rpc`: Go Micro's mucp.

    client.call(Call) → head and body → node → transport.call ⇒ accept(head) → UnaryCall.run(body) → handler
                      ← value or error ← outcome, done(node) ⇐ ⇐ reply or `micro-error`  ←

A request is a message whose head names what is called (`micro-service`, `micro-endpoint`, `micro-method`), under which
number (`micro-id`), in which codec (`content-type`) and for how long (`timeout`, in nanoseconds). The reply is in the
same codec. An error is a head `micro-error` that holds JSON `{"id","code","detail","status"}` on an otherwise good
reply, since Go Micro's clients lose whatever comes under another HTTP status (WIRE §4, §5). A stream is opened by a
message with `micro-stream`; it ends with an empty trailer or one that holds `micro-error`.

What other protocols do differently is in their `dialect`.

Modules: `wire` (heads and errors), `client`, `plans`, `attempts` (the retry loop), `client_stream`, `server`, `routing`
(what `accept` answers), `work` (one call in its task), `slots`, `streams`, `sweep` (deadlines) and `debug`; `dialect`,
`dialects` (which there are), `plain` (HTTP without `micro-` headers), `enveloped` (json-rpc and proto-rpc) and
`envelopes` (their bytes).
"""

from __future__ import annotations

from micro_core import Client, Server, hookimpl

from micro_rpc.client import RPCClient
from micro_rpc.server import RPCServer

__all__ = ["RPCClient", "RPCServer"]


@hookimpl
def micro_client() -> type[Client]:
    """The class for the name `rpc`."""
    return RPCClient


@hookimpl
def micro_server() -> type[Server]:
    """The class for the name `rpc`."""
    return RPCServer
