"""The sentences of `micro_core.Transport`; those of `open`, `Listener` and `Exchange` are in modules of their own."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from typing import ClassVar

import anyio
import pytest
from micro_core import Head, Message, Reset, Transport, TransportError

from micro_conformance.exchange import MakeTransport
from micro_conformance.listeners import ListenerConformance
from micro_conformance.polling import eventually
from micro_conformance.suite import bounded, under_plain_asyncio
from micro_conformance.works import HEAD, REPLY_HEAD, STREAM_HEAD, echo, hang, listening

BAD_HEADS: tuple[Head, ...] = (
    {**HEAD, "x-bad": "line\r\nbreak"},
    {**HEAD, "x-bad": "line\nfeed"},
    {**HEAD, "x-bad": "nul\0"},
    {**HEAD, "x-bad\r\nx-other": "1"},
    {**HEAD, "x bad": "1"},
    {**HEAD, "": "1"},
)
BAD_ADDRESSES = ("", "nowhere", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:70000")


class TransportConformance(ListenerConformance):
    """Every sentence of `Transport`, `Listener` and `Exchange`, one test each.

    Attributes:
        max_message: bytes of the largest message of the transports that are made; None for no such limit.
    """

    max_message: ClassVar[int | None] = 4 * 1024 * 1024

    # call

    @bounded
    async def test_heads_and_bodies_arrive_as_they_were_sent(self, make_transport: MakeTransport) -> None:
        head = {**HEAD, "x-text": "grüße, 100 %", "x-empty": "", "x-number": "5"}
        bodies = (b"", b"x", bytes(range(256)), b"\r\n\r\n0\r\n", b"y" * 1_000_000)
        async with self.between(make_transport) as (client, behind):
            for body in bodies:
                reply = await self.ask(client, behind.address, body, head)
                assert reply.body == body
                assert behind.works[-1].head.items() >= head.items()
                assert reply.head.items() >= REPLY_HEAD.items()

    @bounded
    async def test_call_returns_the_reply_whatever_its_head_says(self, make_transport: MakeTransport) -> None:
        error = '{"id":"x","code":404,"detail":"no","status":"Not Found"}'

        async def fail(head: Head, body: bytes) -> Message:
            return Message({**REPLY_HEAD, "micro-error": error, "x-more": "1"}, b"")

        async with self.between(make_transport, unary=fail) as (client, behind):
            reply = await self.ask(client, behind.address)
            assert reply.head["micro-error"] == error
            assert reply.head["x-more"] == "1"

    @bounded
    async def test_a_head_that_was_given_may_be_changed_by_whoever_got_it(self, make_transport: MakeTransport) -> None:
        async def spoil(head: Head, body: bytes) -> Message:
            head["x-spoiled"] = "1"
            return Message(shared, body)

        shared, request = dict(REPLY_HEAD), Message(dict(HEAD))
        async with self.between(make_transport, unary=spoil) as (client, behind):
            for _ in range(2):
                reply = await client.call(behind.address, request, deadline=anyio.current_time() + 5)
                reply.head["x-spoiled"] = "1"
        assert request.head == HEAD
        assert shared == REPLY_HEAD

    @bounded
    async def test_the_request_is_left_as_it_is(self, make_transport: MakeTransport) -> None:
        request = Message(dict(HEAD), b"body")
        async with self.between(make_transport) as (client, behind):
            for _ in range(2):
                reply = await client.call(behind.address, request, deadline=anyio.current_time() + 5)
                reply.head["x-mine"] = "1"
                assert (request.head, request.body, request.trailer) == (HEAD, b"body", None)

    @bounded
    async def test_many_calls_at_once_each_get_their_own_reply(self, make_transport: MakeTransport) -> None:
        async def slow_echo(head: Head, body: bytes) -> Message:
            await anyio.sleep((body[0] % 7) / 1000)
            return await echo(head, body)

        async def one(client: Transport, address: str, at: int) -> None:
            body = bytes([at]) * 100
            assert (await self.ask(client, address, body)).body == body

        async with self.between(make_transport, unary=slow_echo) as (client, behind):
            async with anyio.create_task_group() as group:
                for at in range(64):
                    group.start_soon(one, client, behind.address, at)
            assert [work.runs for work in behind.works] == [1] * 64

    @bounded
    async def test_at_the_deadline_the_outcome_is_unknown_and_the_work_is_cancelled(
        self, make_transport: MakeTransport
    ) -> None:
        async with self.between(make_transport, unary=hang) as (client, behind):
            started = anyio.current_time()
            with pytest.raises(TransportError) as caught:
                await self.ask(client, behind.address, within=0.2)
            assert anyio.current_time() - started < 2
            assert (caught.value.reason, caught.value.processed) == (Reset.DEADLINE, True)
            await eventually(lambda: behind.works[0].reason, within=5)

    @bounded
    async def test_a_cancelled_call_cancels_the_work(self, make_transport: MakeTransport) -> None:
        async with self.between(make_transport, unary=hang) as (client, behind):
            with anyio.move_on_after(0.2):
                await self.ask(client, behind.address)
            await eventually(lambda: behind.works[0].reason, within=5)

    @bounded
    async def test_a_cancelled_call_leaves_no_late_reply_to_another_call(self, make_transport: MakeTransport) -> None:
        async def stubborn(head: Head, body: bytes) -> Message:
            if body == b"late":
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.03)
            return await echo(head, body)

        async with self.between(make_transport, unary=stubborn) as (client, behind):
            for at in range(10):
                with anyio.move_on_after(0.01):
                    await self.ask(client, behind.address, b"late")
                body = b"%d" % at
                assert (await self.ask(client, behind.address, body)).body == body

    @bounded
    async def test_when_nobody_can_have_seen_the_call_it_is_not_processed(self, make_transport: MakeTransport) -> None:
        async with make_transport() as server, make_transport() as client:
            async with listening(server, self.listen_address) as behind:
                pass
            with pytest.raises(TransportError) as caught:
                await self.ask(client, behind.address)
            assert caught.value.processed is False
            with pytest.raises(TransportError) as caught:
                await client.open(behind.address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)
            assert caught.value.processed is False

    @bounded
    async def test_when_the_peer_goes_half_way_it_is_gone_and_may_be_processed(
        self, make_transport: MakeTransport
    ) -> None:
        caught: list[TransportError] = []

        async def ask(client: Transport, address: str) -> None:
            with pytest.raises(TransportError) as info:
                await self.ask(client, address)
            caught.append(info.value)

        async with self.between(make_transport, unary=hang) as (client, behind), anyio.create_task_group() as group:
            group.start_soon(ask, client, behind.address)
            await eventually(lambda: behind.works and behind.works[0].runs, within=5)
            await behind.listener.aclose()
        assert (caught[0].reason, caught[0].processed) == (Reset.GONE, True)

    @bounded
    async def test_a_head_that_no_header_may_hold_is_a_value_error(self, make_transport: MakeTransport) -> None:
        async with self.between(make_transport) as (client, behind):
            for head in BAD_HEADS:
                with pytest.raises(ValueError, match=r"\S"):
                    await self.ask(client, behind.address, head=head)
                with pytest.raises(ValueError, match=r"\S"):
                    await client.open(behind.address, {**STREAM_HEAD, **head}, deadline=anyio.current_time() + 5)
            assert not behind.works
            assert (await self.ask(client, behind.address, b"well")).body == b"well"

    @bounded
    async def test_a_malformed_address_is_a_value_error(self, make_transport: MakeTransport) -> None:
        async with make_transport() as client:
            for address in BAD_ADDRESSES:
                with pytest.raises(ValueError, match=r"\S"):
                    await self.ask(client, address)
                with pytest.raises(ValueError, match=r"\S"):
                    await client.open(address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)

    @bounded
    async def test_a_reply_over_the_limit_is_told_from_one_that_cannot_be_parsed(
        self, make_transport: MakeTransport
    ) -> None:
        if self.max_message is None:
            pytest.skip("declared: messages have no limit")
        too_large = b"x" * (self.max_message + 1)

        async def flood(head: Head, body: bytes) -> Message:
            return Message(dict(REPLY_HEAD), too_large if body == b"flood" else body)

        async with self.between(make_transport, unary=flood) as (client, behind):
            with pytest.raises(TransportError) as caught:
                await self.ask(client, behind.address, b"flood")
            assert (caught.value.reason, caught.value.processed) == (Reset.LIMIT, True)
            assert (await self.ask(client, behind.address, b"well")).body == b"well"

    @bounded
    async def test_a_request_over_the_limit_never_runs(self, make_transport: MakeTransport) -> None:
        if self.max_message is None:
            pytest.skip("declared: messages have no limit")
        async with self.between(make_transport) as (client, behind):
            try:
                reply = await self.ask(client, behind.address, b"x" * (self.max_message + 1))
                assert "micro-error" in reply.head or reply.head.get(":status", "200") != "200"
            except TransportError:
                pass
            assert not any(work.runs for work in behind.works)
            assert (await self.ask(client, behind.address, b"well")).body == b"well"

    # forget

    @bounded
    async def test_forget_leaves_what_is_under_way_and_what_comes_later_alone(
        self, make_transport: MakeTransport
    ) -> None:
        go, bodies = anyio.Event(), list[bytes]()

        async def wait(head: Head, body: bytes) -> Message:
            await go.wait()
            return Message(dict(REPLY_HEAD), body)

        async def ask(client: Transport, address: str, body: bytes) -> None:
            bodies.append((await self.ask(client, address, body)).body)

        async with (
            self.between(make_transport, unary=wait) as (client, behind),
            self.opened(client, behind) as exchange,
        ):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, client, behind.address, b"before")
                await eventually(lambda: behind.works and behind.works[0].runs, within=5)
                for _ in range(2):
                    client.forget(behind.address)
                group.start_soon(ask, client, behind.address, b"after")
                await eventually(lambda: len(behind.works) == 2 and behind.works[1].runs, within=5)
                await exchange.send(b"x")
                assert await exchange.recv() == b"x"
                go.set()
            assert sorted(bodies) == [b"after", b"before"]

    @bounded
    async def test_forget_never_raises(self, make_transport: MakeTransport) -> None:
        async with make_transport() as client:
            for address in (*BAD_ADDRESSES, "127.0.0.1:1", "nobody:1"):
                assert client.forget(address) is None  # type: ignore[func-returns-value]

    # node_metadata

    @bounded
    async def test_what_its_nodes_say_is_texts_and_the_same_for_its_life(self, make_transport: MakeTransport) -> None:
        async with make_transport() as transport:
            said = dict(transport.node_metadata)
            assert all(isinstance(text, str) for pair in said.items() for text in pair)
            async with listening(transport, self.listen_address) as behind:
                await self.ask(transport, behind.address)
            assert transport.node_metadata == said

    # accept

    @bounded
    async def test_a_refusal_is_sent_as_it_is(self, make_transport: MakeTransport) -> None:
        refusal = Message({"content-type": "application/json", "micro-error": '{"code":404}'}, b"")
        async with self.between(make_transport, refusal=refusal) as (client, behind):
            reply = await self.ask(client, behind.address, b"x" * 1000)
            assert reply.head["micro-error"] == '{"code":404}'
            exchange = await client.open(behind.address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)
            assert (await self.until_end(exchange))[1].get("micro-error") == '{"code":404}'

    @bounded
    async def test_the_peer_is_told_to_both_sides(self, make_transport: MakeTransport) -> None:
        async with self.between(make_transport) as (client, behind):
            await self.ask(client, behind.address)
            async with self.opened(client, behind) as exchange:
                assert exchange.peer.address
            assert all(peer.address for peer in behind.peers)

    def test_it_works_under_plain_asyncio(self, make_transport: MakeTransport) -> None:
        async def scenario() -> None:
            async with self.between(make_transport) as (client, behind):
                assert (await self.ask(client, behind.address, b"x")).body == b"x"
                async with self.opened(client, behind) as exchange:
                    await exchange.send(b"y")
                    assert await exchange.recv() == b"y"

        if "asyncio" in self.backends:
            under_plain_asyncio(scenario, self.patience)
