"""Servers that answer with something else than a reply: the call fails with its reason, the next one is well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream
from hostile_cases import cases
from micro_core import Message, Reset, TransportError, capture_clock
from micro_http import HTTP2, HTTPClient, Limits

pytestmark = pytest.mark.anyio
REPLIES = cases("hostile_replies.txt")
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"


@asynccontextmanager
async def answering(replies: list[bytes]) -> AsyncIterator[str]:
    """A server that answers each request with the next of these."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                while await stream.receive():
                    await stream.send(replies.pop(0))
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, serve)
        yield f"127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def call(client: HTTPClient, address: str) -> Message:
    return await client.call(address, Message({}, b"x"), deadline=capture_clock()() + 5)


async def test_no_hostile_reply_is_taken_for_one() -> None:
    wrong: dict[str, object] = {}
    replies = [each for raw in REPLIES.values() for each in (raw, GOOD)]
    with anyio.fail_after(20):
        async with answering(replies) as address, HTTPClient(http2=HTTP2.NEVER) as client:
            for name in REPLIES:
                try:
                    wrong[name] = await call(client, address)
                except TransportError as error:
                    if error.reason not in (Reset.PROTOCOL, Reset.LIMIT) or not error.processed:
                        wrong[name] = error
                if (await call(client, address)).body != b"good":
                    wrong[name] = "the next call"
    assert not wrong


@pytest.mark.parametrize("raw", [GOOD + GOOD, GOOD + b"x", GOOD + b"\r\n"], ids=["a reply", "a byte", "a line end"])
async def test_what_follows_a_reply_is_no_answer_to_the_next_call(raw: bytes) -> None:
    async with answering([raw, GOOD.replace(b"good", b"next")]) as address, HTTPClient(http2=HTTP2.NEVER) as client:
        assert (await call(client, address)).body == b"good"
        assert (await call(client, address)).body == b"next"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 30_000, Reset.LIMIT),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n", Reset.LIMIT),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, Reset.LIMIT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", Reset.LIMIT),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n", Reset.LIMIT),
        (b"HTTP/1.1 200 " + b"x" * 20_000, Reset.PROTOCOL),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, Reset.PROTOCOL),
    ],
    ids=["header", "lines", "body until the end", "counted body", "chunked body", "status line", "interim replies"],
)
async def test_replies_over_a_limit(raw: bytes, reason: Reset) -> None:
    async with answering([raw]) as address, HTTPClient(Limits(body=1000), http2=HTTP2.NEVER) as client:
        with pytest.raises(TransportError) as caught:
            await call(client, address)
        assert (caught.value.reason, caught.value.processed) == (reason, True)
