"""Streams from client to handler: the three shapes, ends, errors, deadlines, cancellation, another node."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from micro_core import Call, DecodeError, EndOfStream, Outcome, Reply, Reset, RPCError, Stream, TransportError, errors
from micro_rpc import RPCClient
from rpc_rig import Rig, hello, streaming, unary

pytestmark = pytest.mark.anyio


async def echo(call: Call) -> Reply:
    assert call.stream is not None
    try:
        while True:
            await call.stream.send(await call.stream.recv())
    except EndOfStream:
        return Reply()


def chat(**options: Any) -> Call:
    return hello(None, endpoint="Say.Chat", streaming=True, **options)


async def opened(client: RPCClient, **options: Any) -> Stream:
    stream = (await client.stream(chat(**options))).stream
    assert stream is not None
    return stream


async def test_bidirectional(rig: Rig) -> None:
    calls: list[Call] = []

    async def handle(call: Call) -> Reply:
        calls.append(call)
        return await echo(call)

    await rig.serve(streaming(handle, int, int))
    client = await rig.client()
    reply = await client.stream(chat(request_type=int, reply_type=int, metadata={"user": "ada"}, caller="shop"))
    stream = reply.stream
    assert stream is not None
    assert reply.node is rig.discovery.nodes.nodes[0]
    for number in range(50):
        await stream.send(number)
        assert await stream.recv() == number
    assert stream.header["content-type"] == "application/json"
    await stream.end()
    await stream.end()
    for _ in range(2):
        with pytest.raises(EndOfStream):
            await stream.recv()
    assert (calls[0].metadata, calls[0].caller, calls[0].deadline) == ({"user": "ada"}, "shop", None)
    assert rig.selector.outcomes == [Outcome.OK]


async def test_server_streaming_with_back_pressure(rig: Rig) -> None:
    sent = 0

    async def handle(call: Call) -> Reply:
        nonlocal sent
        assert call.stream is not None
        for number in range(await call.stream.recv()):
            await call.stream.send(number)
            sent += 1
        return Reply()

    await rig.serve(streaming(handle))
    stream = await opened(await rig.client())
    await stream.send(1000)
    assert await stream.recv() == 0
    await anyio.wait_all_tasks_blocked()
    assert sent < 50
    assert [await stream.recv() for _ in range(999)] == list(range(1, 1000))
    with pytest.raises(EndOfStream):
        await stream.recv()


async def test_an_error_of_the_handler_arrives_after_what_was_sent(rig: Rig) -> None:
    async def handle(call: Call) -> Reply:
        assert call.stream is not None
        await call.stream.send("one")
        raise errors.Conflict("enough")

    await rig.serve(streaming(handle))
    stream = await opened(await rig.client())
    assert await stream.recv() == "one"
    with pytest.raises(errors.Conflict, match="enough"):
        await stream.recv()
    with pytest.raises(errors.Conflict, match="enough") as caught:
        await stream.recv()
    error = caught.value
    assert (error.service, error.endpoint, error.node, error.outcome) == (
        "greeter",
        "Say.Chat",
        "node-1",
        Outcome.ANSWERED,
    )
    with pytest.raises(errors.Conflict):
        await stream.send(1)
    assert rig.selector.outcomes == [Outcome.ANSWERED]
    assert rig.discovery.reports == [("node-1", Outcome.ANSWERED)]


async def test_an_error_wakes_a_blocked_send_and_loses_no_message(rig: Rig) -> None:
    async def handle(call: Call) -> Reply:
        assert call.stream is not None
        await call.stream.recv()
        await call.stream.send("last words")
        raise errors.Conflict("enough")

    await rig.serve(streaming(handle))
    stream = await opened(await rig.client())

    async def fill() -> None:
        with anyio.fail_after(2):
            for number in range(1000):
                await stream.send(number)

    with pytest.raises(errors.Conflict):
        await fill()
    assert await stream.recv() == "last words"
    with pytest.raises(errors.Conflict):
        await stream.recv()


async def test_an_error_wakes_a_send_while_another_task_receives(rig: Rig) -> None:
    async def handle(call: Call) -> Reply:
        assert call.stream is not None
        await call.stream.recv()
        raise errors.Conflict("enough")

    await rig.serve(streaming(handle))
    stream = await opened(await rig.client())
    seen: list[str] = []

    async def receiver() -> None:
        with pytest.raises(errors.Conflict):
            await stream.recv()
        seen.append("recv")

    async def sender() -> None:
        try:
            while True:
                await stream.send("x")
        except errors.Conflict:
            seen.append("send")

    with anyio.fail_after(2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receiver)
            tasks.start_soon(sender)
    assert sorted(seen) == ["recv", "send"]


async def test_a_handler_that_ends_early_ends_the_callers_send(rig: Rig) -> None:
    async def handle(call: Call) -> Reply:
        return Reply()

    await rig.serve(streaming(handle))
    stream = await opened(await rig.client())

    async def fill() -> None:
        for number in range(1000):
            await stream.send(number)

    with pytest.raises(RPCError, match="ended the stream"):
        await fill()
    with pytest.raises(EndOfStream):
        await stream.recv()


async def test_leaving_cancels_the_handler(rig: Rig) -> None:
    cancelled = anyio.Event()

    async def handle(call: Call) -> Reply:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return Reply()

    await rig.serve(streaming(handle))
    stream = await opened(await rig.client())
    await anyio.wait_all_tasks_blocked()
    stream.reset()
    stream.reset(Reset.GONE)
    with anyio.fail_after(2):
        await cancelled.wait()
    for operation in (stream.recv(), stream.send(1)):
        with pytest.raises(RPCError, match="was left"):
            await operation
    assert rig.selector.outcomes == [Outcome.CANCELLED]


async def test_the_deadline_bounds_the_whole_stream(rig: Rig) -> None:
    cancelled = anyio.Event()

    async def handle(call: Call) -> Reply:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return Reply()

    await rig.serve(streaming(handle))
    stream = await opened(await rig.client(), timeout=0.05)
    for _ in range(2):
        with pytest.raises(errors.Timeout) as late:
            await stream.recv()
        assert late.value.outcome is Outcome.UNKNOWN
    with anyio.fail_after(2):
        await cancelled.wait()


async def test_the_server_ends_a_stream_at_its_deadline_by_a_408(rig: Rig) -> None:
    async def handle(call: Call) -> Reply:
        await anyio.sleep_forever()
        return Reply()

    await rig.serve(streaming(handle))
    head = {"micro-endpoint": "Say.Chat", "micro-stream": "1", "content-type": "application/json"}
    head["timeout"] = "30000000"
    exchange = await rig.transport.open(rig.listeners[0].address, head, deadline=anyio.current_time() + 1)
    with pytest.raises(EndOfStream), anyio.fail_after(1):
        await exchange.recv()
    assert '"code":408' in exchange.trailer["micro-error"]


async def test_opening_bounds_are_not_the_streams(rig: Rig) -> None:
    await rig.serve(streaming(echo))
    stream = await opened(await rig.client(request_timeout=0.05))
    await anyio.sleep(0.1)
    await stream.send("still there")
    assert await stream.recv() == "still there"
    stream.reset()


async def test_a_message_of_another_type(rig: Rig) -> None:
    await rig.serve(streaming(echo, int, int))
    client = await rig.client()
    stream = await opened(client)
    await stream.send("no number")
    with pytest.raises(errors.BadRequest, match=r"Say\.Chat"):
        await stream.recv()
    stream = await opened(client, reply_type=str)
    await stream.send(1)
    with pytest.raises(DecodeError, match=r"greeter Say\.Chat"):
        await stream.recv()
    stream.reset()
    stream = await opened(client)
    with pytest.raises(errors.BadRequest):
        await stream.send(object())
    await stream.end()
    with pytest.raises(errors.BadRequest, match="has ended"):
        await stream.send(1)
    stream.reset()


async def test_a_call_of_the_other_kind_is_refused_both_ways(rig: Rig) -> None:
    await rig.serve(streaming(echo), unary(lambda call: None))
    client = await rig.client()
    with pytest.raises(errors.BadRequest, match="is a stream"):
        await client.call(hello({}, endpoint="Say.Chat"))
    call = hello(None, streaming=True)
    stream = (await client.stream(call)).stream
    assert stream is not None
    with pytest.raises(errors.BadRequest, match="called as a stream"):
        await stream.recv()


async def test_a_handler_that_lets_the_end_through_ends_well(rig: Rig) -> None:
    async def handle(call: Call) -> Reply:
        assert call.stream is not None
        while True:
            await call.stream.recv()

    await rig.serve(streaming(handle))
    stream = await opened(await rig.client())
    await stream.send(1)
    await stream.end()
    with pytest.raises(EndOfStream):
        await stream.recv()


async def test_an_unexpected_error_is_logged_and_named(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(call: Call) -> Reply:
        raise KeyError("the password")

    await rig.serve(streaming(handle))
    stream = await opened(await rig.client())
    with caplog.at_level(logging.ERROR), pytest.raises(errors.InternalServerError, match="KeyError"):
        await stream.recv()
    assert [record.name for record in caplog.records] == ["micro.rpc"]


async def test_a_stream_refused_unprocessed_moves_with_what_was_sent(rig: Rig) -> None:
    for _ in range(3):
        await rig.serve(streaming(echo))
    client = await rig.client()
    await rig.listeners[0].drain(anyio.current_time() + 1)
    await rig.listeners[1].drain(anyio.current_time() + 1)
    call = chat()
    stream = (await client.stream(call)).stream
    assert stream is not None
    for number in range(8):
        await stream.send(number)
    await stream.end()
    assert [await stream.recv() for _ in range(8)] == list(range(8))
    with pytest.raises(EndOfStream):
        await stream.recv()
    assert [attempt.outcome.value for attempt in call.attempts] == ["not_processed", "not_processed", "ok"]


async def test_leaving_a_stream_that_is_moving(rig: Rig) -> None:
    for _ in range(2):
        await rig.serve(streaming(echo))
    client = await rig.client()
    await rig.listeners[0].drain(anyio.current_time() + 1)
    stream = await opened(client)
    reopen = rig.transport.open
    exchanges: list[Any] = []

    async def slow(*args: Any, **options: Any) -> Any:
        await anyio.sleep(0.05)
        exchanges.append(await reopen(*args, **options))
        return exchanges[-1]

    rig.transport.open = slow  # type: ignore[method-assign]
    async with anyio.create_task_group() as tasks:

        async def receiver() -> None:
            with pytest.raises(RPCError, match="was left"):
                await stream.recv()

        tasks.start_soon(receiver)
        await anyio.wait_all_tasks_blocked()
        stream.reset()
    with pytest.raises(TransportError):
        await exchanges[0].send(b"x")


async def test_a_stream_that_has_sent_too_much_to_move_is_refused(rig: Rig) -> None:
    for _ in range(2):
        await rig.serve(streaming(echo))
    client = await rig.client()
    await rig.listeners[0].drain(anyio.current_time() + 1)
    stream = await opened(client)

    async def fill() -> None:
        await stream.send("x" * 20_000)
        await stream.recv()

    with pytest.raises(errors.ServiceUnavailable) as refused:
        await fill()
    assert refused.value.outcome is Outcome.NOT_PROCESSED


async def test_a_stream_that_no_node_takes(rig: Rig) -> None:
    await rig.serve(streaming(echo))
    client = await rig.client()
    await rig.listeners[0].drain(anyio.current_time() + 1)
    stream = await opened(client, timeout=0.1)
    with pytest.raises(errors.ServiceUnavailable) as refused, anyio.fail_after(2):
        await stream.recv()
    assert refused.value.outcome is Outcome.NOT_PROCESSED
    await rig.listeners[0].aclose()
    with pytest.raises(errors.ServiceUnavailable, match="nobody listens"):
        await opened(client, timeout=0.1)


async def test_closing_the_listener_tells_streams_and_calls(rig: Rig) -> None:
    async def handle(call: Call) -> Reply:
        await anyio.sleep_forever()
        return Reply()

    await rig.serve(streaming(handle), streaming(handle, name="Say.More"))
    stream = await opened(await rig.client())
    await anyio.wait_all_tasks_blocked()
    with anyio.fail_after(2):
        await rig.listeners[0].aclose()
        with pytest.raises(errors.ServiceUnavailable, match="is stopping"):
            await stream.recv()
