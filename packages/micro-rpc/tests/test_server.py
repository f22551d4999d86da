"""What a server owes to its process: odd handlers, closing, and calls that go on while it stops."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import anyio
import pytest
from micro_core import Call, ConfigurationError, Outcome, Reply, Reset, errors
from micro_core.clock import capture_clock
from micro_core.loader import ContentTypes
from micro_rpc import RPCServer
from micro_rpc.slots import Slots
from micro_rpc.sweep import Sweep
from rpc_rig import Rig, hello, streaming, unary

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", [SystemExit, ExceptionGroup])
async def test_a_handler_does_not_end_the_server(rig: Rig, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    def handle(call: Call) -> Any:
        if call.request:
            raise kind("odd", [ValueError(), KeyError()]) if kind is ExceptionGroup else kind(3)
        return "fine"

    async def chat(call: Call) -> Reply:
        return Reply(handle(call.__class__("", "", True)))

    await rig.serve(unary(handle), streaming(chat))
    client = await rig.client()
    with caplog.at_level(logging.CRITICAL, "micro.rpc"):
        with pytest.raises(errors.InternalServerError, match=kind.__name__):
            await client.call(hello(True))
        stream: Any = (await client.stream(hello(endpoint="Say.Chat", streaming=True))).stream
        with pytest.raises(errors.InternalServerError, match=kind.__name__):
            await stream.recv()
    assert (await client.call(hello(False))).value == "fine"


async def test_a_future_that_someone_cancelled_is_a_failure_of_the_handler(
    rig: Rig, anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    if anyio_backend_name != "asyncio":
        return

    async def handle(call: Call) -> Any:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    await rig.serve(unary(handle))
    client = await rig.client()
    with caplog.at_level(logging.CRITICAL, "micro.rpc"), pytest.raises(errors.InternalServerError, match="Cancelled"):
        await client.call(hello({}))


async def test_a_handler_that_turns_its_cancellation_into_an_error_still_times_out(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(call: Call) -> Any:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("cleaning up failed")

    await rig.serve(unary(handle))
    head = {"micro-endpoint": "Say.Hello", "content-type": "application/json", "timeout": "20000000"}
    from micro_core import Message

    with caplog.at_level(logging.CRITICAL, "micro.rpc"):
        reply = await rig.transport.call(
            rig.listeners[0].address, Message(head, b"{}"), deadline=anyio.current_time() + 2
        )
    assert '"code":408' in reply.head["micro-error"]


async def test_closing_tells_running_calls_and_is_idempotent(rig: Rig) -> None:
    async def handle(call: Call) -> Any:
        await anyio.sleep_forever()

    await rig.serve(unary(handle))
    client = await rig.client()

    async def caller() -> None:
        with pytest.raises(errors.ServiceUnavailable, match="is stopping") as told:
            await client.call(hello({}))
        assert told.value.outcome is Outcome.ANSWERED

    with anyio.fail_after(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller)
            await anyio.wait_all_tasks_blocked()
            await rig.listeners[0].aclose()
            await rig.listeners[0].aclose()


async def test_a_cancelled_close_closes_and_a_shielded_handler_still_answers(rig: Rig) -> None:
    async def handle(call: Call) -> Any:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)
        return "shielded"

    await rig.serve(unary(handle))
    client = await rig.client()
    async with anyio.create_task_group() as tasks:

        async def caller() -> None:
            assert (await client.call(hello({}, timeout=1))).value == "shielded"

        tasks.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await rig.listeners[0].aclose()
    with pytest.raises(errors.ServiceUnavailable, match="nobody listens"):
        await client.call(hello({}, timeout=0.01))


async def test_no_call_fails_while_one_of_two_nodes_stops_under_load(rig: Rig) -> None:
    async def handle(call: Call) -> int:
        await anyio.sleep(0.002)
        return 1

    await rig.serve(unary(handle))
    await rig.serve(unary(handle))
    client = await rig.client()
    done = 0
    stopped = anyio.Event()

    async def caller() -> None:
        nonlocal done
        while not stopped.is_set() or done < 200:
            value = (await client.call(hello({}))).value
            done += value

    async with anyio.create_task_group() as tasks:
        for _ in range(16):
            tasks.start_soon(caller)
        await anyio.sleep(0.02)
        await rig.listeners[0].drain(anyio.current_time() + 2)
        await rig.listeners[0].aclose()
        stopped.set()
    assert done >= 200


async def test_serving_needs_the_block_and_an_address(rig: Rig) -> None:
    server = RPCServer(rig.transport, ContentTypes(), RPCServer.Options())
    with pytest.raises(ConfigurationError, match="inside `async with`"):
        await server.serve("greeter:0", "greeter", [])
    async with server:
        with pytest.raises(ConfigurationError, match="not an address"):
            await server.serve("nonsense", "greeter", [])
        listener = await server.serve("greeter:0", "greeter", [unary(lambda call: None)])
        callbacks = len(gc.callbacks)
    await server.__aexit__(None, None, None)
    assert len(gc.callbacks) == callbacks - 1
    async with server:
        again = await server.serve(listener.address, "greeter", [])
        assert again.address == listener.address


async def test_slots_go_to_who_waits_longest_and_survive_cancellation() -> None:
    slots = Slots(1, 10)
    assert slots.take()
    assert not slots.take()
    order: list[int] = []

    async def wait(number: int) -> None:
        await slots.wait()
        order.append(number)
        slots.give_back()

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(0.01):
            await wait(0)
        for number in (1, 2, 3):
            tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
        slots.give_back()
    assert order == [1, 2, 3]
    assert slots.taken == 0
    assert slots.take()


async def test_short_calls_do_not_wake_the_sweep_one_by_one(rig: Rig) -> None:
    listener: Any = await rig.serve(unary(lambda call: None))
    client = await rig.client()
    await client.call(hello({}))
    looks: list[float] = []
    sweep = listener._served.sweep
    look = type(sweep).look

    def counted(self: Any) -> bool:
        looks.append(anyio.current_time())
        return bool(look(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(sweep), "look", counted)
        started = anyio.current_time()
        for _ in range(100):
            await client.call(hello({}))
        most = (anyio.current_time() - started) / 0.02 + 2
    assert len(looks) <= most


async def test_the_sweep_sleeps_when_nothing_has_a_deadline_and_survives_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Work:
        def __init__(self, deadline: float) -> None:
            self.deadline = deadline
            self.ended = anyio.Event()

        def cancel(self, reason: Reset) -> None:
            assert reason is Reset.DEADLINE
            sweep.running.discard(self)
            self.ended.set()

        def stop(self) -> None:
            raise AssertionError

    class Broken(Work):
        def cancel(self, reason: Reset) -> None:
            sweep.running.discard(self)
            raise KeyError("broken")

    clock = capture_clock()
    sweep = Sweep(clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweep.run)
        await anyio.wait_all_tasks_blocked()
        sweep.add(Work(float("inf")))
        await anyio.wait_all_tasks_blocked()
        with caplog.at_level(logging.CRITICAL, "micro.rpc"), anyio.fail_after(2):
            sweep.add(Broken(clock()))
            for _ in range(2):
                work = Work(clock() + 0.03)
                sweep.add(work)
                await work.ended.wait()
                assert clock() >= work.deadline
        tasks.cancel_scope.cancel()
