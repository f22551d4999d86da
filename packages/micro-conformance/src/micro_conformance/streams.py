"""The sentences about streams of `micro_core.Client`, `Server` and `Stream`: a part of `ClientServerConformance`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from micro_core import (
    Call,
    DecodeError,
    EndOfStream,
    Outcome,
    Reply,
    RPCError,
    ServiceNotFound,
    Stream,
    UnsupportedType,
)
from micro_core.errors import BadRequest, Conflict, NotFound, Timeout

from micro_conformance.pair import Pair, PairSuite
from micro_conformance.polling import eventually
from micro_conformance.suite import bounded


class StreamConformance(PairSuite):
    """Every sentence about streams."""

    @asynccontextmanager
    async def opened(self, pair: Pair, endpoint: str, **fields: Any) -> AsyncIterator[Stream]:
        """An open stream, reset at the end."""
        reply = await pair.client.stream(pair.make(endpoint, streaming=True, **fields))
        assert reply.stream is not None
        try:
            yield reply.stream
        finally:
            reply.stream.reset()

    @bounded
    async def test_values_go_both_ways_until_both_ended(self, parts: Any) -> None:
        async with self.pair(parts, streams={"Test.Chat": _chat}) as pair:
            async with self.opened(pair, "Test.Chat") as stream:
                for value in ({"a": 1}, [1], "x", None):
                    await stream.send(value)
                    assert await stream.recv() == value
                for _ in range(2):
                    await stream.end()
                for _ in range(2):
                    with pytest.raises(EndOfStream):
                        await stream.recv()
            await eventually(pair.given_back, within=5)

    @bounded
    async def test_a_stream_ends_when_its_handler_returns(self, parts: Any) -> None:
        async def count(call: Call) -> Reply:
            assert call.stream is not None
            for at in range(await call.stream.recv()):
                await call.stream.send(at)
            return Reply()

        async with self.pair(parts, streams={"Test.Count": count}) as pair, self.opened(pair, "Test.Count") as stream:
            await stream.send(50)
            assert [await stream.recv() for _ in range(50)] == list(range(50))
            with pytest.raises(EndOfStream):
                await stream.recv()

    @bounded
    async def test_the_handler_of_a_stream_is_given_the_whole_call(self, parts: Any) -> None:
        seen: list[Call] = []

        async def note(call: Call) -> Reply:
            seen.append(call)
            return await _chat(call)

        async with (
            self.pair(parts, streams={"Test.Note": note}) as pair,
            self.opened(pair, "Test.Note", metadata={"x-user": "ada"}, caller="mailer") as stream,
        ):
            await stream.send(1)
            await stream.recv()
            assert stream.peer.address
        given = seen[0]
        assert (given.service, given.endpoint, given.caller) == (pair.service, "Test.Note", "mailer")
        assert given.metadata == {"x-user": "ada"}
        assert given.streaming
        assert given.stream is not None
        assert given.stream.header["x-user"] == "ada"
        assert given.deadline is None

    @bounded
    async def test_an_error_of_the_handler_ends_the_stream(self, parts: Any) -> None:
        async def fail(call: Call) -> Reply:
            assert call.stream is not None
            await call.stream.send(1)
            if await call.stream.recv() == "rpc":
                raise Conflict("too late")
            raise LookupError("a secret of the server")

        async with self.pair(parts, streams={"Test.Fail": fail}) as pair:
            async with self.opened(pair, "Test.Fail") as stream:
                await stream.send("rpc")
                assert await stream.recv() == 1
                with pytest.raises(Conflict, match="too late"):
                    await stream.recv()
            async with self.opened(pair, "Test.Fail") as stream:
                await stream.send("other")
                assert await stream.recv() == 1
                with pytest.raises(RPCError, match="LookupError") as caught:
                    await stream.recv()
            assert caught.value.code == 500
            assert "secret" not in str(caught.value)

    @bounded
    async def test_a_reset_cancels_the_handler(self, parts: Any) -> None:
        cancelled: list[bool] = []
        async with self.pair(parts, streams={"Test.Hold": _hold(cancelled)}) as pair:
            async with self.opened(pair, "Test.Hold") as stream:
                await stream.send(1)
                assert await stream.recv() == 1
                for _ in range(2):
                    stream.reset()
                await eventually(lambda: cancelled, within=5)
            await eventually(pair.given_back, within=5)

    @bounded
    async def test_a_deadline_bounds_the_whole_stream(self, parts: Any) -> None:
        cancelled: list[bool] = []
        async with self.pair(parts, streams={"Test.Hold": _hold(cancelled)}) as pair:
            call = pair.make("Test.Hold", streaming=True)
            call.deadline = anyio.current_time() + 0.3
            reply = await pair.client.stream(call)
            assert reply.stream is not None
            await reply.stream.send(1)
            assert await reply.stream.recv() == 1
            with pytest.raises(Timeout):
                await reply.stream.recv()
            await eventually(lambda: cancelled, within=5)

    @bounded
    async def test_sending_on_a_stream_that_is_over_is_an_rpc_error(self, parts: Any) -> None:
        async def fail(call: Call) -> Reply:
            raise Conflict("at once")

        async with self.pair(parts, streams={"Test.Fail": fail}) as pair, self.opened(pair, "Test.Fail") as stream:
            with pytest.raises(Conflict):
                await stream.recv()
            with pytest.raises(RPCError):
                await stream.send(1)

    @bounded
    async def test_a_stream_of_an_unknown_endpoint_or_service_is_refused(self, parts: Any) -> None:
        async with self.pair(parts, streams={"Test.Chat": _chat}) as pair:
            with pytest.raises(NotFound):
                await self._first(pair, "Test.Nothing")
            call = pair.make("Test.Chat", streaming=True)
            call.service = "nobody"
            with pytest.raises(ServiceNotFound):
                await pair.client.stream(call)

    @bounded
    async def test_a_unary_call_of_a_stream_and_the_reverse_are_refused(self, parts: Any) -> None:
        async def echo(call: Call) -> Reply:
            return Reply(call.request)

        async with self.pair(parts, {"Test.Echo": echo}, {"Test.Chat": _chat}) as pair:
            with pytest.raises(RPCError) as caught:
                await pair.client.call(pair.make("Test.Chat", within=2))
            assert caught.value.code != 408, "it ran into the deadline"
            with pytest.raises(RPCError) as caught, anyio.fail_after(2):
                await self._first(pair, "Test.Echo")
            assert caught.value.code != 408, "it ran into the deadline"

    async def _first(self, pair: Pair, endpoint: str) -> Any:
        async with self.opened(pair, endpoint) as stream:
            return await stream.recv()

    @bounded
    async def test_one_side_may_end_while_the_other_goes_on(self, parts: Any) -> None:
        async def count(call: Call) -> Reply:
            assert call.stream is not None
            received = []
            with suppress(EndOfStream):
                while True:
                    received.append(await call.stream.recv())
            await call.stream.send(received)
            return Reply()

        async with self.pair(parts, streams={"Test.Count": count}) as pair, self.opened(pair, "Test.Count") as stream:
            for value in (1, 2):
                await stream.send(value)
            await stream.end()
            assert await stream.recv() == [1, 2]

    @bounded
    async def test_a_value_of_another_type_is_a_decode_error_and_the_stream_goes_on(self, parts: Any) -> None:
        async with (
            self.pair(parts, streams={"Test.Chat": _chat}) as pair,
            self.opened(pair, "Test.Chat", reply_type=int) as stream,
        ):
            await stream.send("text")
            await stream.send(1)
            with pytest.raises(DecodeError):
                await stream.recv()
            assert await stream.recv() == 1

    @bounded
    async def test_a_value_that_cannot_be_carried_is_not_sent_and_the_stream_goes_on(self, parts: Any) -> None:
        async with self.pair(parts, streams={"Test.Chat": _chat}) as pair, self.opened(pair, "Test.Chat") as stream:
            with pytest.raises((UnsupportedType, BadRequest)):
                await stream.send(object())
            await stream.send(1)
            assert await stream.recv() == 1

    @bounded
    async def test_a_stream_opens_on_the_first_node_that_takes_it(self, parts: Any) -> None:
        async with self.pair(parts, streams={"Test.Chat": _chat}) as pair:
            pair.nodes.insert(0, await self.dead_node(parts))
            call = pair.make("Test.Chat", streaming=True)
            reply = await pair.client.stream(call)
            assert reply.stream is not None
            assert reply.node == pair.nodes[1]
            await reply.stream.send(1)
            assert await reply.stream.recv() == 1
            reply.stream.reset()
            await eventually(pair.given_back, within=5)
            assert call.attempts[0].outcome is Outcome.NOT_PROCESSED

    @bounded
    async def test_a_refusal_is_raised_by_the_streams_first_recv(self, parts: Any) -> None:
        async with (
            self.pair(parts, streams={"Test.Chat": _chat}) as pair,
            self.refusing_node(parts, 409) as refusing,
        ):
            pair.nodes.insert(0, refusing)
            with pytest.raises(Conflict, match="refused by the kit") as caught:
                await self._first(pair, "Test.Chat")
            assert (caught.value.node, caught.value.outcome) == ("refusing", Outcome.ANSWERED)
            await eventually(pair.given_back, within=5)

    @bounded
    async def test_a_refusal_before_dispatch_is_raised_as_such_or_the_stream_moves(self, parts: Any) -> None:
        unprocessed = {"micro-unprocessed": "1"}
        async with (
            self.pair(parts, streams={"Test.Chat": _chat}) as pair,
            self.refusing_node(parts, 503, **unprocessed) as refusing,
        ):
            pair.nodes.insert(0, refusing)
            try:
                async with self.opened(pair, "Test.Chat") as stream:
                    with suppress(RPCError):
                        await stream.send(1)
                    assert await stream.recv() == 1
            except RPCError as error:
                _was_refused_before_dispatch(error)
            await eventually(pair.given_back, within=5)

    @bounded
    async def test_a_cancelled_opening_gives_the_node_back(self, parts: Any) -> None:
        async with self.pair(parts, streams={"Test.Chat": _chat}) as pair:
            with anyio.CancelScope() as scope:
                scope.cancel()
                async with self.opened(pair, "Test.Chat"):
                    pass
            await eventually(pair.given_back, within=5)


def _was_refused_before_dispatch(error: RPCError) -> None:
    assert (error.node, error.outcome) == ("refusing", Outcome.NOT_PROCESSED)


async def _chat(call: Call) -> Reply:
    assert call.stream is not None
    try:
        while True:
            await call.stream.send(await call.stream.recv())
    except EndOfStream:
        return Reply()


def _hold(cancelled: list[bool]) -> Any:
    async def handle(call: Call) -> Reply:
        assert call.stream is not None
        await call.stream.send(await call.stream.recv())
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)
        return Reply()

    return handle
