"""Nodes are replaced one after the other under load: no call fails, plain ones included, over both versions of HTTP."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import anyio
import micro
import pytest
from micro_conformance import eventually
from micro_conformance.suite import unique
from micro_http import HTTP2
from micro_transport_http import HTTPTransport

pytestmark = pytest.mark.anyio
RESTARTS = 6


class Say:
    async def hello(self, name: str) -> str:
        await anyio.sleep(0.005)
        return f"Hello {name}"


def kinds(store: str) -> dict[str, Any]:
    quick = {"stop.propagation": 0.05, "register.wait": 0.1}
    return {"registry": "memory", "broker": "memory", "options": {"registry.memory.address": store, **quick}}


async def serve(store: str, stop: anyio.Event, started: anyio.Event) -> None:
    made = micro.Service("greeter", transport="http", **kinds(store))
    made.handler(Say())
    async with made:
        started.set()
        await stop.wait()


@pytest.mark.parametrize("http2", list(HTTP2))
async def test_no_call_fails(http2: HTTP2) -> None:
    store, ended, over = unique("rolling"), Counter[str](), False
    transport = HTTPTransport(HTTPTransport.Options(http2=http2))

    async def caller(client: micro.Client) -> None:
        while not over:
            try:
                assert await client.call("greeter", "Say.Hello", "Ada", str, timeout=5, idempotent=False) == "Hello Ada"
            except micro.errors.RPCError as error:
                ended[f"{type(error).__name__}: {error}"] += 1
            else:
                ended["answered"] += 1

    async with anyio.create_task_group() as servers, micro.Client(transport=transport, **kinds(store)) as client:
        nodes = []
        async with anyio.create_task_group() as callers:
            for at in range(RESTARTS + 2):
                stop, started, before = anyio.Event(), anyio.Event(), ended["answered"]
                servers.start_soon(serve, store, stop, started)
                await started.wait()
                nodes.append(stop)
                if at == 1:
                    for _ in range(24):
                        callers.start_soon(caller, client)
                if at >= 1:
                    await eventually(partial(_answered, ended, before + 100), within=10)
                    nodes.pop(0).set()
            over = True
        nodes[0].set()
    assert set(ended) == {"answered"}


def _answered(ended: Counter[str], count: int) -> bool:
    return ended["answered"] > count
