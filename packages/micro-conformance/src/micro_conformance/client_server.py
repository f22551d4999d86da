"""The sentences of `micro_core.Client` and `Server`, one called by the other over a transport."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from typing import Any

import anyio
import pytest
from micro_core import (
    Call,
    ConfigurationError,
    DecodeError,
    Endpoint,
    Handler,
    Outcome,
    Reply,
    RPCError,
)
from micro_core.errors import BadRequest, Conflict, NotFound, Timeout, UnsupportedMediaType

from micro_conformance.nodes import NodeConformance, echo
from micro_conformance.pair import MakeClient, MakeServer, PairSuite
from micro_conformance.polling import eventually
from micro_conformance.suite import bounded, logged, under_plain_asyncio

__all__ = ["ClientServerConformance", "MakeClient", "MakeServer", "PairSuite"]


class ClientServerConformance(NodeConformance):
    """Every sentence of `Client` and `Server`, one test each; give `make_transport`, `make_client`, `make_server`."""

    # what goes across

    @bounded
    async def test_a_call_is_encoded_sent_and_decoded(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            call = pair.make("Test.Echo", {"name": "Ada", "list": [1, None]}, request_type=Any, reply_type=dict)
            reply = await pair.client.call(call)
            assert reply.value == {"name": "Ada", "list": [1, None]}
            assert reply.node == pair.nodes[0]
            assert reply.stream is None
            assert [(attempt.node, attempt.outcome) for attempt in call.attempts] == [(pair.nodes[0], Outcome.OK)]
            assert call.attempts[0].error is None

    @bounded
    async def test_the_handler_is_given_the_whole_call(self, parts: Any) -> None:
        seen: list[Call] = []

        async def note(call: Call) -> Reply:
            seen.append(call)
            return Reply(None)

        async with self.pair(parts, {"Test.Note": note}) as pair:
            call = pair.make("Test.Note", 5, request_type=int, metadata={"x-user": "ada ∑"}, caller="mailer")
            started = anyio.current_time()
            call.deadline = started + 3
            await pair.client.call(call)
        given = seen[0]
        assert (given.service, given.endpoint, given.request, given.caller) == (pair.service, "Test.Note", 5, "mailer")
        assert given.metadata == {"x-user": "ada ∑"}
        assert given.peer is not None
        assert given.peer.address
        assert given.deadline is not None
        assert started < given.deadline <= started + 3.5

    @bounded
    async def test_a_call_without_deadline_gets_the_clients_default(self, parts: Any) -> None:
        seen: list[float | None] = []

        async def note(call: Call) -> Reply:
            seen.append(call.deadline)
            return Reply(None)

        async with self.pair(parts, {"Test.Note": note}) as pair:
            call = pair.make("Test.Note")
            call.deadline = None
            await pair.client.call(call)
        assert seen[0] is not None
        assert call.deadline is not None

    @bounded
    async def test_header_that_a_handlers_middleware_adds_reaches_the_caller(self, parts: Any) -> None:
        async def answer(call: Call) -> Reply:
            return Reply(1, {"x-cache": "hit"})

        async with self.pair(parts, {"Test.Answer": answer}) as pair:
            reply = await pair.client.call(pair.make("Test.Answer"))
            assert reply.header["x-cache"] == "hit"

    @bounded
    async def test_each_handler_runs_in_a_task_of_its_own(self, parts: Any) -> None:
        both = anyio.Event()
        running: list[int] = []

        async def meet(call: Call) -> Reply:
            running.append(1)
            if len(running) == 2:
                both.set()
            await both.wait()
            return Reply(call.request)

        async def one(pair: Any, at: int) -> None:
            assert (await pair.client.call(pair.make("Test.Meet", at))).value == at

        async with self.pair(parts, {"Test.Meet": meet}) as pair, anyio.create_task_group() as group:
            for at in range(2):
                group.start_soon(one, pair, at)

    # errors

    @bounded
    async def test_an_rpc_error_of_the_handler_becomes_the_callers(self, parts: Any) -> None:
        async def fail(call: Call) -> Reply:
            raise Conflict("already there") if call.request is None else Conflict("deeper", id="users.db")

        async with self.pair(parts, {"Test.Fail": fail}) as pair:
            with pytest.raises(Conflict) as caught:
                await pair.client.call(pair.make("Test.Fail"))
            error = caught.value
            assert (error.id, error.code, error.detail, error.status) == (
                pair.service,
                409,
                "already there",
                "Conflict",
            )
            with pytest.raises(Conflict) as caught:
                await pair.client.call(pair.make("Test.Fail", 1))
            assert caught.value.id == "users.db"

    @bounded
    async def test_errors_say_outcome_service_endpoint_node_attempts_and_elapsed(self, parts: Any) -> None:
        async def fail(call: Call) -> Reply:
            await anyio.sleep(0.02)
            raise NotFound("no such user")

        async with self.pair(parts, {"Test.Fail": fail}) as pair:
            with pytest.raises(NotFound) as caught:
                await pair.client.call(pair.make("Test.Fail"))
        error = caught.value
        assert (error.outcome, error.attempts, error.node) == (Outcome.ANSWERED, 1, pair.nodes[0].id)
        assert (error.service, error.endpoint) == (pair.service, "Test.Fail")
        assert 0.01 < error.elapsed < 5

    @bounded
    async def test_anything_else_is_a_500_that_names_the_type_alone_and_is_logged(self, parts: Any) -> None:
        async def fail(call: Call) -> Reply:
            raise LookupError("a secret of the server")

        async with self.pair(parts, {"Test.Fail": fail}) as pair:
            with logged() as records, pytest.raises(RPCError) as caught:
                await pair.client.call(pair.make("Test.Fail"))
        assert caught.value.code == 500
        assert "LookupError" in caught.value.detail
        assert "secret" not in str(caught.value)
        assert any(record.exc_info for record in records), "the rest is not in the log"

    @bounded
    async def test_an_unknown_endpoint_is_not_found(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            with pytest.raises(NotFound):
                await pair.client.call(pair.make("Test.Nothing"))
            assert (await pair.client.call(pair.make("Test.Echo", 1))).value == 1

    @bounded
    async def test_a_content_type_that_the_server_lacks_is_a_415(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            call = pair.make("Test.Echo")
            call.content_type = "application/x-kit"
            with pytest.raises(UnsupportedMediaType, match="application/json"):
                await pair.client.call(call)

    @bounded
    async def test_a_request_that_cannot_be_decoded_is_a_400_and_runs_no_handler(self, parts: Any) -> None:
        seen: list[Call] = []

        async def note(call: Call) -> Reply:
            seen.append(call)
            return Reply(None)

        async with self.pair(parts, {"Test.Note": note}, request_type=int) as pair:
            with pytest.raises(BadRequest):
                await pair.client.call(pair.make("Test.Note", "text"))
        assert not seen

    @bounded
    async def test_a_request_that_cannot_be_encoded_is_bad_and_nothing_is_sent(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            call = pair.make("Test.Echo", object())
            with pytest.raises(BadRequest):
                await pair.client.call(call)
            assert call.attempts == []
            assert pair.given_back()

    @bounded
    async def test_a_reply_of_another_type_is_a_decode_error(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            with pytest.raises(DecodeError):
                await pair.client.call(pair.make("Test.Echo", "text", reply_type=int))
            assert pair.given_back()

    # deadline and cancellation

    @bounded
    async def test_at_the_deadline_the_handler_is_cancelled_and_the_caller_gets_a_timeout(self, parts: Any) -> None:
        cancelled: list[bool] = []
        async with self.pair(parts, {"Test.Hang": _hang(cancelled)}) as pair:
            call = pair.make("Test.Hang")
            call.deadline = anyio.current_time() + 0.2
            with pytest.raises(Timeout):
                await pair.client.call(call)
            await eventually(lambda: cancelled, within=5)
            assert pair.given_back()

    @bounded
    async def test_the_handler_is_cancelled_when_the_caller_goes_away(self, parts: Any) -> None:
        cancelled: list[bool] = []
        async with self.pair(parts, {"Test.Hang": _hang(cancelled)}) as pair:
            with anyio.move_on_after(0.2):
                await pair.client.call(pair.make("Test.Hang"))
            await eventually(lambda: cancelled, within=5)
            assert pair.selector.outcomes == [(pair.nodes[0].id, Outcome.CANCELLED)]

    # serve

    @bounded
    async def test_an_address_that_cannot_be_bound_is_a_configuration_error(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            for address in ("nowhere", pair.nodes[0].address):
                with pytest.raises(ConfigurationError):
                    await pair.server.serve(address, "other", [_handler("Test.Echo", echo)])

    @bounded
    async def test_types_that_no_codec_carries_are_a_configuration_error(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            foreign = Handler(Endpoint("Test.Echo"), complex, Any, streaming=False, handle=echo)
            with pytest.raises(ConfigurationError, match="complex"):
                await pair.server.serve(self.listen_address, "other", [foreign])

    @bounded
    async def test_it_serves_until_the_listener_is_closed(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            await pair.client.call(pair.make("Test.Echo"))
            for _ in range(2):
                await pair.listener.aclose()
            call = pair.make("Test.Echo")
            call.deadline = anyio.current_time() + 0.3
            with pytest.raises(RPCError) as caught:
                await pair.client.call(call)
            assert caught.value.outcome is Outcome.NOT_PROCESSED

    def test_it_works_under_plain_asyncio(self, parts: Any) -> None:
        async def scenario() -> None:
            async with self.pair(parts, {"Test.Echo": echo}) as pair:
                assert (await pair.client.call(pair.make("Test.Echo", 1))).value == 1

        if "asyncio" in self.backends:
            under_plain_asyncio(scenario, self.patience)


def _handler(name: str, handle: Any) -> Handler:
    return Handler(Endpoint(name), Any, Any, streaming=False, handle=handle)


def _hang(cancelled: list[bool]) -> Any:
    async def handle(call: Call) -> Reply:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)
        return Reply(None)

    return handle
