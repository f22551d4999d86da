"""The sentences of `micro_core.Transport.open`: a part of `TransportConformance`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

import anyio
import pytest
from micro_core import EndOfStream, Exchange, Head, Message, Reset

from micro_conformance.exchange import MakeTransport
from micro_conformance.resets import ResetConformance
from micro_conformance.suite import bounded
from micro_conformance.works import STREAM_HEAD, echo_stream, hold

ERROR = '{"id":"x","code":503,"detail":"no","status":"Service Unavailable"}'
REFUSALS: tuple[Head, ...] = (
    {"micro-error": ERROR, "micro-unprocessed": "1", "x-why": "busy"},
    {"x-why": "no error at all"},
)


class OpeningConformance(ResetConformance):
    """Every sentence about the opening of streams."""

    @bounded
    async def test_request_is_what_the_caller_opened_with(self, make_transport: MakeTransport) -> None:
        heads: list[Head] = []

        async def note(exchange: Exchange) -> None:
            heads.append(exchange.request)
            await echo_stream(exchange)

        head = {**STREAM_HEAD, "x-mine": "1"}
        async with (
            self.between(make_transport, stream=note) as (client, behind),
            self.opened(client, behind, head) as exchange,
        ):
            assert exchange.request.items() >= head.items()
            await exchange.send(b"x")
            await exchange.recv()
        assert heads[0].items() >= head.items()

    @bounded
    async def test_the_body_of_the_opening_message_is_no_message(self, make_transport: MakeTransport) -> None:
        async with self.between(make_transport) as (client, behind):
            exchange = await client.open(
                behind.address, dict(STREAM_HEAD), opening=b"{}", deadline=anyio.current_time() + 5
            )
            await exchange.send(b"first")
            assert await exchange.recv() == b"first"
            exchange.reset(Reset.CANCELLED)

    @bounded
    async def test_the_deadline_covers_opening_it_not_its_life(self, make_transport: MakeTransport) -> None:
        async with self.between(make_transport) as (client, behind):
            exchange = await client.open(behind.address, dict(STREAM_HEAD), deadline=anyio.current_time() + 0.2)
            until = anyio.current_time() + 0.4
            while anyio.current_time() < until:
                await exchange.send(b"x")
                assert await exchange.recv() == b"x"
            exchange.reset(Reset.CANCELLED)

    @bounded
    async def test_open_returns_when_the_opening_was_sent(self, make_transport: MakeTransport) -> None:
        async with self.between(make_transport, stream=hold) as (client, behind):
            with anyio.move_on_after(2) as scope:
                exchange = await client.open(
                    behind.address, dict(STREAM_HEAD), opening=b"{}", deadline=anyio.current_time() + 5
                )
                exchange.reset(Reset.CANCELLED)
            assert not scope.cancelled_caught, "it waits until the server answers"

    @bounded
    async def test_a_refusal_of_the_opening_ends_the_exchange_and_is_its_trailer(
        self, make_transport: MakeTransport
    ) -> None:
        for refusal in REFUSALS:
            async with self.between(make_transport, refusal=Message(refusal, b"no message")) as (client, behind):
                exchange = await client.open(
                    behind.address, dict(STREAM_HEAD), opening=b"{}", deadline=anyio.current_time() + 5
                )
                for _ in range(2):
                    with pytest.raises(EndOfStream):
                        await exchange.recv()
                assert exchange.trailer.items() >= refusal.items()
                exchange.reset(Reset.CANCELLED)
