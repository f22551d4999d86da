"""The sentences of `micro_core.Exchange` about `reset`: a part of `TransportConformance`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from micro_core import EndOfStream, Exchange, Reset, TransportError

from micro_conformance.exchange import PIECE, ExchangeConformance, MakeTransport
from micro_conformance.polling import eventually
from micro_conformance.suite import bounded
from micro_conformance.works import STREAM_HEAD, hold, listening


class ResetConformance(ExchangeConformance):
    """Every sentence about streams that are cut short."""

    @bounded
    async def test_reset_wakes_a_waiting_recv(self, make_transport: MakeTransport) -> None:
        woken = anyio.Event()

        async def wait(exchange: Exchange) -> None:
            with pytest.raises(TransportError):
                await exchange.recv()
            woken.set()

        async with (
            self.streaming(make_transport, stream=hold) as (exchange, _behind),
            anyio.create_task_group() as group,
        ):
            group.start_soon(wait, exchange)
            await anyio.wait_all_tasks_blocked()
            exchange.reset(Reset.CANCELLED)
            await woken.wait()

    @bounded
    async def test_reset_wakes_a_waiting_send(self, make_transport: MakeTransport) -> None:
        woken = anyio.Event()
        sent: list[int] = []

        async def flood(exchange: Exchange) -> None:
            with suppress(TransportError):
                while True:
                    await exchange.send(bytes(PIECE))
                    sent.append(1)
            woken.set()

        async with (
            self.streaming(make_transport, stream=hold) as (exchange, _behind),
            anyio.create_task_group() as group,
        ):
            group.start_soon(flood, exchange)
            await self._stands_still(sent)
            exchange.reset(Reset.CANCELLED)
            await woken.wait()

    @bounded
    async def test_a_reset_at_the_client_reaches_the_server(self, make_transport: MakeTransport) -> None:
        seen: list[BaseException] = []

        async def watch(exchange: Exchange) -> None:
            try:
                await self.until_end(exchange)
            except TransportError as error:
                seen.append(error)
            except anyio.get_cancelled_exc_class() as error:
                seen.append(error)
                raise

        async with self.streaming(make_transport, stream=watch) as (exchange, behind):
            await exchange.send(b"x")
            await eventually(lambda: behind.streams and behind.streams[0].runs, within=5)
            exchange.reset(Reset.CANCELLED)
            await eventually(lambda: seen, within=5)

    @bounded
    async def test_a_reset_at_the_server_reaches_the_client(self, make_transport: MakeTransport) -> None:
        async def cut(exchange: Exchange) -> None:
            await exchange.recv()
            exchange.reset(Reset.CANCELLED)

        async with self.streaming(make_transport, stream=cut) as (exchange, _behind):
            await exchange.send(b"x")
            with pytest.raises(TransportError):
                await exchange.recv()

            async def fails() -> bool:
                try:
                    await exchange.send(b"y")
                except TransportError:
                    return True
                return False

            await eventually(fails, within=5)

    @bounded
    async def test_reset_is_idempotent_and_nothing_after_both_sides_ended(self, make_transport: MakeTransport) -> None:
        async with self.between(make_transport) as (client, behind):
            async with self.opened(client, behind) as exchange:
                await exchange.end()
                await self.until_end(exchange)
                for _ in range(3):
                    exchange.reset(Reset.CANCELLED)
                with pytest.raises(EndOfStream):
                    await exchange.recv()
            async with self.opened(client, behind) as exchange:
                for _ in range(3):
                    exchange.reset(Reset.CANCELLED)
                with pytest.raises(TransportError):
                    await exchange.recv()
            await eventually(lambda: behind.streams[0].finished, within=5)
            assert behind.streams[0].reason is None, "a stream that had ended was cancelled"

    @bounded
    async def test_a_client_that_disappears_cancels_the_stream(self, make_transport: MakeTransport) -> None:
        async with make_transport() as server, listening(server, self.listen_address, stream=hold) as behind:
            async with make_transport() as client:
                exchange = await client.open(behind.address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)
                await exchange.send(b"x")
                await eventually(lambda: behind.streams and behind.streams[0].runs, within=5)
            await eventually(lambda: behind.streams[0].reason, within=5)
            with pytest.raises(TransportError):
                await exchange.recv()
