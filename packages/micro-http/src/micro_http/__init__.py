"""HTTP/1.1 and HTTP/2 connections, framing, limits and the connection pool.

    async with HTTPClient() as client:
        reply = await client.call("127.0.0.1:8080", Message({":path": "/greet"}, b"Ada"), deadline=clock() + 5)

    listener = await listen("127.0.0.1:0", accept)

`micro_http.parse` and `micro_http.write` know the bytes of HTTP/1.1 and do no I/O, `micro_http.http2` is HTTP/2;
`client`, `server` and `pipe` are asyncio protocols, which `loops` drives under asyncio and `trio_loop` under trio.
"""

from micro_http.address import format_address, parse_address
from micro_http.client import HTTP2, HTTPClient
from micro_http.exchange import PipeExchange
from micro_http.http2 import grpc
from micro_http.limits import Limits
from micro_http.listener import HTTPListener, listen
from micro_http.pipe import Pipe
from micro_http.tables import Malformed
from micro_http.tls import TLS

__all__ = [
    "HTTP2",
    "TLS",
    "HTTPClient",
    "HTTPListener",
    "Limits",
    "Malformed",
    "Pipe",
    "PipeExchange",
    "format_address",
    "grpc",
    "listen",
    "parse_address",
]
