"""Under plain `asyncio.run`, without anyio's runner; and `accept` in a callback, where no task runs."""

from __future__ import annotations

import asyncio
from typing import Any

from micro_core import Peer, UnaryCall
from micro_transport_memory import MemoryTransport
from rpc_rig import hello, rig_of, unary


def test_calls_and_accept_outside_of_tasks() -> None:
    async def main() -> None:
        async with rig_of(lambda: MemoryTransport(MemoryTransport.Options(address="plain"))) as rig:
            listener: Any = await rig.serve(unary(lambda call: call.request))
            client = await rig.client()
            assert (await client.call(hello([1]))).value == [1]
            found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            head = {"micro-endpoint": "Say.Hello", "content-type": "application/json", "timeout": "1000000000"}

            def callback() -> None:
                try:
                    found.set_result(listener._inner._accept(head, Peer("x")))
                except RuntimeError as error:
                    found.set_exception(error)

            asyncio.get_running_loop().call_soon(callback)
            assert isinstance(await found, UnaryCall)

    asyncio.run(main())
