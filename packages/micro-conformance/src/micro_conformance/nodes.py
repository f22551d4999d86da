"""The sentences of `micro_core.Client` about nodes and attempts: a part of `ClientServerConformance`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from typing import Any

import anyio
import pytest
from micro_core import Call, Endpoint, Filter, Node, Outcome, Reply, RPCError, ServiceNotFound
from micro_core.errors import BadRequest, NotFound, ServiceUnavailable, Timeout

from micro_conformance.streams import StreamConformance
from micro_conformance.suite import bounded

CLIENT_ID = "go.micro.client"


class NodeConformance(StreamConformance):
    """Every sentence about the nodes that a client tries."""

    @bounded
    async def test_a_node_that_cannot_have_processed_it_is_followed_by_another(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            dead = await self.dead_node(parts)
            pair.nodes.insert(0, dead)
            call = pair.make("Test.Echo", 1)
            assert (await pair.client.call(call)).value == 1
            assert [(attempt.node.id, attempt.outcome) for attempt in call.attempts] == [
                (dead.id, Outcome.NOT_PROCESSED),
                (pair.nodes[1].id, Outcome.OK),
            ]
            assert call.attempts[0].error is not None
            assert pair.given_back()

    @bounded
    async def test_when_attempts_run_out_the_error_is_the_last_nodes_own(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            pair.nodes[:] = [await self.dead_node(parts)]
            call = pair.make("Test.Echo", 1)
            call.deadline = anyio.current_time() + 0.5
            with pytest.raises(RPCError) as caught:
                await pair.client.call(call)
            assert caught.value.outcome is Outcome.NOT_PROCESSED
            assert caught.value.node == "dead"
            assert caught.value.attempts == len(call.attempts) >= 1
            assert pair.given_back()

    @bounded
    async def test_an_unknown_outcome_is_repeated_only_where_that_is_safe(self, parts: Any) -> None:
        for idempotent in (None, True):
            async with self.pair(parts, {"Test.Echo": echo}) as pair, self.breaking_node(parts) as breaking:
                pair.nodes.insert(0, breaking)
                call = pair.make("Test.Echo", 1)
                call.idempotent = idempotent
                if idempotent:
                    assert (await pair.client.call(call)).value == 1
                else:
                    with pytest.raises(RPCError) as caught:
                        await pair.client.call(call)
                    assert (caught.value.outcome, caught.value.attempts) == (Outcome.UNKNOWN, 1)
                assert call.attempts[0].outcome is Outcome.UNKNOWN
                assert len(call.attempts) == (2 if idempotent else 1)
                assert pair.given_back()

    @bounded
    async def test_what_was_answered_is_not_repeated(self, parts: Any) -> None:
        runs: list[int] = []

        async def fail(call: Call) -> Reply:
            runs.append(1)
            raise RPCError("broken", code=503)

        async with self.pair(parts, {"Test.Fail": fail}) as pair:
            pair.nodes.append(Node("again", pair.nodes[0].address, pair.nodes[0].metadata))
            call = pair.make("Test.Fail")
            call.idempotent = True
            with pytest.raises(RPCError, match="broken"):
                await pair.client.call(call)
        assert len(runs) == 1

    @bounded
    async def test_an_unknown_service_is_service_not_found(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            call = pair.make("Test.Echo")
            call.service = "nobody"
            with pytest.raises(ServiceNotFound) as caught:
                await pair.client.call(call)
            assert caught.value.outcome is Outcome.NOT_PROCESSED

    @bounded
    async def test_a_call_by_address_asks_no_discovery(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            call = pair.make("Test.Echo", 1)
            call.address = pair.nodes[0].address
            pair.nodes[:] = []
            reply = await pair.client.call(call)
            assert (reply.value, reply.node) == (1, None)

    @bounded
    async def test_filter_and_key_reach_discovery_and_selector(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            call = pair.make("Test.Echo", 1)
            call.filter, call.key = Filter(version="1"), b"ada"
            await pair.client.call(call)
            assert call.filter in pair.discovery.lookups
            assert b"ada" in pair.selector.keys

    @bounded
    async def test_a_reply_that_says_unprocessed_is_followed_by_another(self, parts: Any) -> None:
        unprocessed = {"micro-unprocessed": "1"}
        async with (
            self.pair(parts, {"Test.Echo": echo}) as pair,
            self.refusing_node(parts, 503, **unprocessed) as refusing,
        ):
            pair.nodes.insert(0, refusing)
            call = pair.make("Test.Echo", 1)
            assert (await pair.client.call(call)).value == 1
            assert [attempt.outcome for attempt in call.attempts] == [Outcome.NOT_PROCESSED, Outcome.OK]
            pair.nodes[:] = [refusing]
            call = pair.make("Test.Echo", 1, within=0.5)
            with pytest.raises(ServiceUnavailable, match="refused by the kit") as caught:
                await pair.client.call(call)
            assert (caught.value.id, caught.value.outcome) == ("refusing", Outcome.NOT_PROCESSED)
            assert pair.given_back()

    @bounded
    async def test_when_the_server_answers_408_the_outcome_is_unknown(self, parts: Any) -> None:
        for idempotent in (None, True):
            runs: list[int] = []
            async with self.pair(parts, {"Test.Late": _late(runs, times=1)}) as pair:
                pair.nodes.append(Node("again", pair.nodes[0].address, pair.nodes[0].metadata))
                call = pair.make("Test.Late")
                call.idempotent = idempotent
                if idempotent:
                    await pair.client.call(call)
                else:
                    with pytest.raises(Timeout) as caught:
                        await pair.client.call(call)
                    assert caught.value.outcome is Outcome.UNKNOWN
                assert call.attempts[0].outcome is Outcome.UNKNOWN
                assert len(runs) == (2 if idempotent else 1)

    @bounded
    async def test_an_endpoint_may_say_that_it_is_idempotent(self, parts: Any) -> None:
        for word, expected in (("true", 2), ("false", 1)):
            runs: list[int] = []
            async with self.pair(parts, {"Test.Late": _late(runs)}) as pair:
                pair.nodes.append(Node("again", pair.nodes[0].address, pair.nodes[0].metadata))
                pair.discovery.endpoints["Test.Late"] = Endpoint("Test.Late", metadata={"idempotent": word})
                call = pair.make("Test.Late")
                call.retries = 1
                with pytest.raises(Timeout):
                    await pair.client.call(call)
                assert len(runs) == expected

    @bounded
    async def test_retries_bound_how_often_an_unknown_outcome_is_repeated(self, parts: Any) -> None:
        for retries in (0, 1, 2):
            runs: list[int] = []
            async with self.pair(parts, {"Test.Late": _late(runs)}) as pair:
                first = pair.nodes[0]
                pair.nodes.extend(Node(f"more-{at}", first.address, first.metadata) for at in range(4))
                call = pair.make("Test.Late")
                call.idempotent, call.retries = True, retries
                with pytest.raises(Timeout):
                    await pair.client.call(call)
                assert len(runs) == retries + 1

    @bounded
    async def test_errors_made_by_the_client_have_its_id(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo, "Test.Hang": _hang}) as pair:
            with pytest.raises(BadRequest) as unsendable:
                await pair.client.call(pair.make("Test.Echo", object()))
            with pytest.raises(Timeout) as late:
                await pair.client.call(pair.make("Test.Hang", within=0.1))
            pair.nodes[:] = [await self.dead_node(parts)]
            with pytest.raises(ServiceUnavailable) as dead:
                await pair.client.call(pair.make("Test.Echo", within=0.3))
        assert [error.value.id for error in (unsendable, late, dead)] == [CLIENT_ID] * 3

    @bounded
    async def test_the_attempts_of_a_call_by_address_name_the_address(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            dead = (await self.dead_node(parts)).address
            for address in (pair.nodes[0].address, dead):
                call = pair.make("Test.Echo", 1, within=0.3)
                call.address = address
                if address == dead:
                    with pytest.raises(RPCError) as caught:
                        await pair.client.call(call)
                    assert caught.value.node == address
                else:
                    await pair.client.call(call)
                assert {(attempt.node.id, attempt.address) for attempt in call.attempts} == {(address, address)}
            assert (pair.discovery.lookups, pair.selector.taken) == ([], [])

    @bounded
    async def test_nodes_that_name_another_protocol_are_not_called(self, parts: Any) -> None:
        async with self.pair(parts, {"Test.Echo": echo}) as pair:
            assert pair.client.protocol == pair.server.protocol, "the two do not speak with each other"
            foreign = Node("foreign", pair.nodes[0].address, {"protocol": "another"})
            pair.nodes[:] = [foreign, Node("nameless", pair.nodes[0].address)]
            call = pair.make("Test.Echo", 1)
            assert (await pair.client.call(call)).value == 1
            assert [attempt.node.id for attempt in call.attempts] == ["nameless"]
            pair.nodes[:] = [foreign]
            with pytest.raises(RPCError) as caught:
                await pair.client.call(pair.make("Test.Echo", 1, within=0.3))
            assert caught.value.outcome is Outcome.NOT_PROCESSED
            assert "foreign" not in pair.selector.taken

    @bounded
    async def test_discovery_is_told_of_every_attempt_but_the_cancelled(self, parts: Any) -> None:
        async with (
            self.pair(parts, {"Test.Echo": echo, "Test.Hang": _hang}) as pair,
            self.breaking_node(parts) as breaking,
        ):
            dead, first = await self.dead_node(parts), pair.nodes[0]
            pair.nodes[:] = [dead, first]
            await pair.client.call(pair.make("Test.Echo", 1))
            pair.nodes[:] = [first]
            with pytest.raises(NotFound):
                await pair.client.call(pair.make("Test.Nothing"))
            with anyio.move_on_after(0.1):
                await pair.client.call(pair.make("Test.Hang"))
            pair.nodes[:] = [breaking]
            with pytest.raises(RPCError):
                await pair.client.call(pair.make("Test.Echo", 1))
            assert pair.discovery.reports == [
                (pair.service, "dead", Outcome.NOT_PROCESSED),
                (pair.service, "first", Outcome.OK),
                (pair.service, "first", Outcome.ANSWERED),
                (pair.service, "breaking", Outcome.UNKNOWN),
            ]


async def echo(call: Call) -> Reply:
    """The request is the reply."""
    return Reply(call.request)


async def _hang(call: Call) -> Reply:
    await anyio.sleep_forever()
    return Reply()


def _late(runs: list[int], *, times: int = 99) -> Any:
    async def handle(call: Call) -> Reply:
        runs.append(1)
        if len(runs) <= times:
            raise Timeout("the server's own")
        return Reply(1)

    return handle
