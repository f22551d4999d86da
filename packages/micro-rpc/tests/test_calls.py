"""Unary calls from client to handler: values, errors, deadlines, metadata, limits."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from micro_core import Call, ConfigurationError, DecodeError, Outcome, Reply, RPCError, ServiceNotFound, errors
from rpc_rig import Rig, hello, unary

pytestmark = pytest.mark.anyio


@dataclass
class Person:
    name: str


@dataclass
class Greeting:
    message: str


async def test_a_typed_call(rig: Rig) -> None:
    await rig.serve(unary(lambda call: Greeting(f"Hello {call.request.name}"), Person, Greeting))
    client = await rig.client()
    reply = await client.call(hello(Person("Ada"), request_type=Person, reply_type=Greeting))
    assert reply.value == Greeting("Hello Ada")
    assert reply.node is rig.discovery.nodes.nodes[0]
    assert rig.selector.outcomes == [Outcome.OK]


async def test_a_call_of_nothing_for_nothing(rig: Rig) -> None:
    seen: list[Any] = []
    await rig.serve(unary(lambda call: seen.append(call.request), None, None))
    client = await rig.client()
    assert (await client.call(hello(request_type=None, reply_type=None))).value is None
    assert (await client.call(hello(request_type=None))).value == {}
    assert seen == [None, None]


async def test_bytes(rig: Rig) -> None:
    await rig.serve(unary(lambda call: call.request + b"!", bytes, bytes))
    client = await rig.client(content_type="application/octet-stream")
    assert (await client.call(hello(b"\0\xff", request_type=bytes, reply_type=bytes))).value == b"\0\xff!"


async def test_metadata_and_caller_cross_and_plumbing_does_not(rig: Rig) -> None:
    calls: list[Call] = []
    await rig.serve(unary(calls.append))
    client = await rig.client()
    sent = {"Authorization": "Bearer x", "micro-trace-id": "7", "X-Request": "é", "micro-error": "no", "timeout": "1"}
    await client.call(hello({}, metadata=sent, caller="shop"))
    assert calls[0].metadata == {"authorization": "Bearer x", "micro-trace-id": "7", "x-request": "é"}
    assert calls[0].caller == "shop"
    assert calls[0].peer is not None
    assert calls[0].content_type == "application/json"
    assert calls[0].deadline is not None
    assert 4 < calls[0].deadline - anyio.current_time() <= 5


@pytest.mark.parametrize("metadata", [{"a": "x\r\ny"}, {"a": "\0"}, {"a b": "c"}, {"a\n": "c"}, {"a": 1}])
async def test_metadata_that_no_header_may_hold_is_a_bad_request(rig: Rig, metadata: Any) -> None:
    await rig.serve(unary(lambda call: None))
    client = await rig.client()
    with pytest.raises(errors.BadRequest) as bad:
        await client.call(hello({}, metadata=metadata))
    assert bad.value.outcome is Outcome.NOT_PROCESSED
    assert not rig.selector.taken


async def test_a_handlers_error_crosses_with_its_class(rig: Rig) -> None:
    def handle(call: Call) -> None:
        raise errors.Conflict("taken\nalready")

    await rig.serve(unary(handle))
    client = await rig.client()
    call = hello({})
    with pytest.raises(errors.Conflict) as caught:
        await client.call(call)
    error = caught.value
    assert (error.id, error.code, error.detail, error.status) == ("greeter", 409, "taken\nalready", "Conflict")
    assert (error.service, error.endpoint, error.node, error.attempts) == ("greeter", "Say.Hello", "node-1", 1)
    assert error.outcome is Outcome.ANSWERED
    assert error.elapsed >= 0
    assert len(call.attempts) == 1


async def test_another_exception_names_its_type_only_and_is_logged(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def handle(call: Call) -> None:
        raise KeyError("the password")

    await rig.serve(unary(handle))
    client = await rig.client()
    with caplog.at_level(logging.ERROR), pytest.raises(errors.InternalServerError) as caught:
        await client.call(hello({}))
    assert "KeyError" in caught.value.detail
    assert "password" not in caught.value.detail
    assert [(record.name, bool(record.exc_info)) for record in caplog.records] == [("micro.rpc", True)]


async def test_an_error_of_a_handlers_task_group_is_unwrapped(rig: Rig) -> None:
    async def handle(call: Call) -> None:
        async def fails() -> None:
            raise errors.NotFound("inside")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails)

    await rig.serve(unary(handle))
    client = await rig.client()
    with pytest.raises(errors.NotFound, match="inside"):
        await client.call(hello({}))


async def test_an_unknown_endpoint_is_a_404_that_names_the_others(rig: Rig) -> None:
    await rig.serve(unary(lambda call: None))
    client = await rig.client()
    with pytest.raises(errors.NotFound, match=r"Say\.Hallo.*did you mean 'Say\.Hello'"):
        await client.call(hello({}, endpoint="Say.Hallo"))


async def test_a_request_of_another_type_is_a_400(rig: Rig) -> None:
    await rig.serve(unary(lambda call: None, Person))
    client = await rig.client()
    with pytest.raises(errors.BadRequest, match=r"Say\.Hello"):
        await client.call(hello({"nome": 3}))


async def test_a_decode_error_of_the_handlers_own_call_is_not_the_callers_fault(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(call: Call) -> None:
        raise DecodeError("what another service answered")

    await rig.serve(unary(handle))
    client = await rig.client()
    with caplog.at_level(logging.CRITICAL, "micro.rpc"), pytest.raises(errors.InternalServerError, match="DecodeError"):
        await client.call(hello({}))


async def test_a_reply_of_another_type_is_a_decode_error(rig: Rig) -> None:
    await rig.serve(unary(lambda call: {"massage": 1}))
    client = await rig.client()
    call = hello({}, reply_type=Greeting)
    with pytest.raises(DecodeError, match=r"greeter Say\.Hello"):
        await client.call(call)
    assert isinstance(call.attempts[0].error, DecodeError)
    assert rig.selector.outcomes == [Outcome.OK]


async def test_a_request_that_cannot_be_encoded_is_not_sent(rig: Rig) -> None:
    await rig.serve(unary(lambda call: None))
    client = await rig.client()
    for call in (hello(object()), hello({}, content_type="text/nonsense")):
        with pytest.raises(errors.BadRequest) as bad:
            await client.call(call)
        assert (bad.value.outcome, bad.value.attempts) == (Outcome.NOT_PROCESSED, 0)
    assert not rig.selector.taken


async def test_a_reply_that_cannot_be_encoded_or_is_too_large_is_a_500(rig: Rig) -> None:
    await rig.serve(unary(lambda call: object()), unary(lambda call: "x" * 200, name="Say.Much"), max_reply=100)
    client = await rig.client()
    with pytest.raises(errors.InternalServerError, match="cannot be encoded"):
        await client.call(hello({}))
    with pytest.raises(errors.InternalServerError, match="202 bytes, the limit is 100"):
        await client.call(hello({}, endpoint="Say.Much"))


async def test_the_deadline_cancels_the_handler_and_is_a_408(rig: Rig) -> None:
    cancelled = anyio.Event()

    async def handle(call: Call) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    await rig.serve(unary(handle))
    client = await rig.client()
    with pytest.raises(errors.Timeout) as late:
        await client.call(hello({}, timeout=0.05))
    assert (late.value.outcome, late.value.attempts) == (Outcome.UNKNOWN, 1)
    with anyio.fail_after(2):
        await cancelled.wait()


async def test_an_expired_call_is_not_sent(rig: Rig) -> None:
    await rig.serve(unary(lambda call: None))
    client = await rig.client()
    with pytest.raises(errors.Timeout) as late:
        await client.call(hello({}, timeout=-1))
    assert (late.value.id, late.value.outcome) == ("go.micro.client", Outcome.NOT_PROCESSED)


async def test_the_callers_scope_is_told_to_the_server_but_ends_the_call_itself(rig: Rig) -> None:
    deadlines: list[float] = []

    async def handle(call: Call) -> None:
        assert call.deadline is not None
        deadlines.append(call.deadline - anyio.current_time())
        await anyio.sleep_forever()

    await rig.serve(unary(handle))
    client = await rig.client()
    with anyio.move_on_after(0.1) as scope:
        await client.call(hello({}))
    assert scope.cancelled_caught
    assert deadlines[0] <= 0.11  # uvloop's clock stands still within an iteration
    assert rig.selector.outcomes == [Outcome.CANCELLED]


async def test_a_cancelled_call_cancels_the_handler(rig: Rig) -> None:
    started, cancelled = anyio.Event(), anyio.Event()

    async def handle(call: Call) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    await rig.serve(unary(handle))
    client = await rig.client()
    call = hello({})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call, call)
        await started.wait()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(2):
        await cancelled.wait()
    assert [attempt.outcome for attempt in call.attempts] == [Outcome.CANCELLED]


async def test_a_call_without_end(rig: Rig) -> None:
    seen: list[float | None] = []
    await rig.serve(unary(lambda call: seen.append(call.deadline)))
    client = await rig.client()
    await client.call(hello({}, timeout=float("inf")))
    assert seen == [None]


async def test_an_unknown_service(rig: Rig) -> None:
    client = await rig.client()
    call = hello({})
    call.service = "greter"
    with pytest.raises(ServiceNotFound) as missing:
        await client.call(call)
    assert (missing.value.service, missing.value.endpoint, missing.value.attempts) == ("greter", "Say.Hello", 0)


async def test_middleware_may_add_to_the_reply(rig: Rig) -> None:
    handler = unary(lambda call: None)

    async def handle(call: Call) -> Reply:
        reply = await unary(lambda call: {}).handle(call)
        reply.header.update({"X-Seen": "yes\r\nno", "micro-error": "no", "content-length": "7"})
        return reply

    await rig.serve(type(handler)(handler.endpoint, Any, Any, False, handle))
    client = await rig.client()
    header = (await client.call(hello({}))).header
    assert header == {"x-seen": "yes  no", "content-type": "application/json"}


async def test_a_type_that_no_codec_carries_is_an_error_at_start(rig: Rig) -> None:
    with pytest.raises(ConfigurationError, match=r"endpoint Say\.Hello of service 'greeter': no installed codec"):
        await rig.serve(unary(lambda call: None, type(rig)))
    with pytest.raises(ConfigurationError, match=r"two handlers are named Say\.Hello"):
        await rig.serve(unary(lambda call: None), unary(lambda call: None))


async def test_more_calls_than_may_wait_are_refused_unprocessed(rig: Rig) -> None:
    gate = anyio.Event()
    running = 0
    most = 0

    async def handle(call: Call) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    await rig.serve(unary(handle), max_running=2, max_waiting=3)
    client = await rig.client()
    outcomes: list[RPCError | None] = []

    async def one(timeout: float) -> None:
        try:
            await client.call(hello({}, timeout=timeout))
        except RPCError as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one, 5)
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as more:
            for _ in range(3):
                more.start_soon(one, 0.05)
        refused = list(outcomes)
        gate.set()
    assert most == 2
    assert [(error.code, error.outcome) for error in refused if error] == [(503, Outcome.NOT_PROCESSED)] * 3
    assert outcomes[3:] == [None] * 5
