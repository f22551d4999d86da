"""The sentences of `micro_core.Listener` and `Transport.listen`: a part of `TransportConformance`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from micro_core import ConfigurationError, EndOfStream, Head, Message, Reset, Transport, TransportError

from micro_conformance.exchange import MakeTransport
from micro_conformance.openings import OpeningConformance
from micro_conformance.polling import eventually
from micro_conformance.suite import bounded
from micro_conformance.works import HEAD, STREAM_HEAD, Behind, echo, hang, hold, listening


class ListenerConformance(OpeningConformance):
    """Every sentence of `Listener`."""

    async def ask(
        self, transport: Transport, address: str, body: bytes = b"", head: Head | None = None, within: float = 5.0
    ) -> Message:
        """One unary call."""
        return await transport.call(address, Message(dict(head or HEAD), body), deadline=anyio.current_time() + within)

    async def _ignoring(self, client: Transport, address: str) -> None:
        with suppress(TransportError):
            await self.ask(client, address, within=60)

    @bounded
    async def test_port_0_is_any_free_one_and_the_address_says_which(self, make_transport: MakeTransport) -> None:
        async with (
            make_transport() as server,
            make_transport() as client,
            listening(server, self.listen_address) as one,
            listening(server, self.listen_address) as other,
        ):
            ports = {int(behind.address.rpartition(":")[2]) for behind in (one, other)}
            assert len(ports) == 2
            assert 0 not in ports
            for behind in (one, other):
                assert (await self.ask(client, behind.address, b"x")).body == b"x"

    @bounded
    async def test_an_address_that_cannot_be_bound_is_a_configuration_error(
        self, make_transport: MakeTransport
    ) -> None:
        async with make_transport() as server, listening(server, self.listen_address) as behind:
            for address in (behind.address, "nowhere", "127.0.0.1:port", "127.0.0.1:70000"):
                with pytest.raises(ConfigurationError, match=r"\S"):
                    await server.listen(address, behind.accept)

    @bounded
    async def test_drain_returns_when_what_was_accepted_has_ended(self, make_transport: MakeTransport) -> None:
        finished: list[bytes] = []

        async def slow(head: Head, body: bytes) -> Message:
            await anyio.sleep(0.2)
            finished.append(body)
            return await echo(head, body)

        async def ask(client: Transport, address: str) -> None:
            assert (await self.ask(client, address, b"slow")).body == b"slow"

        async with self.between(make_transport, unary=slow) as (client, behind), anyio.create_task_group() as group:
            group.start_soon(ask, client, behind.address)
            await eventually(lambda: behind.works and behind.works[0].runs, within=5)
            await behind.listener.drain(anyio.current_time() + 5)
            assert finished == [b"slow"]

    @bounded
    async def test_drain_returns_at_the_deadline(self, make_transport: MakeTransport) -> None:
        async with make_transport() as server, make_transport() as client, anyio.create_task_group() as group:
            async with listening(server, self.listen_address, unary=hang) as behind:
                group.start_soon(self._ignoring, client, behind.address)
                await eventually(lambda: behind.works and behind.works[0].runs, within=5)
                started = anyio.current_time()
                for _ in range(2):
                    await behind.listener.drain(started + 0.2)
                assert 0.1 < anyio.current_time() - started < 2
            group.cancel_scope.cancel()

    @bounded
    async def test_calls_that_arrive_while_draining_may_be_tried_elsewhere(self, make_transport: MakeTransport) -> None:
        async with make_transport() as server, make_transport() as client, anyio.create_task_group() as group:
            async with listening(server, self.listen_address, unary=hang) as behind:
                group.start_soon(self._ignoring, client, behind.address)
                await eventually(lambda: behind.works and behind.works[0].runs, within=5)
                group.start_soon(behind.listener.drain, anyio.current_time() + 2)
                await anyio.wait_all_tasks_blocked()
                try:
                    reply = await self.ask(client, behind.address)
                    assert reply.head.get("micro-unprocessed") == "1"
                except TransportError as error:
                    not_lost(error)
                assert len(behind.works) == 1
            group.cancel_scope.cancel()

    @bounded
    async def test_streams_that_arrive_while_draining_may_be_opened_elsewhere(
        self, make_transport: MakeTransport
    ) -> None:
        async with self.between(make_transport) as (client, behind), self.opened(client, behind) as exchange:
            await exchange.send(b"x")
            await exchange.recv()
            async with anyio.create_task_group() as group:
                group.start_soon(behind.listener.drain, anyio.current_time() + 0.5)
                await anyio.wait_all_tasks_blocked()
                try:
                    async with self.opened(client, behind) as late:
                        with pytest.raises(EndOfStream):
                            await late.recv()
                        assert late.trailer.get("micro-unprocessed") == "1"
                except TransportError as error:
                    not_lost(error)
            assert len(behind.streams) == 1

    @bounded
    async def test_drain_leaves_accepted_work_alone_also_at_the_deadline(self, make_transport: MakeTransport) -> None:
        go = anyio.Event()
        replies: list[bytes] = []

        async def wait(head: Head, body: bytes) -> Message:
            await go.wait()
            return await echo(head, body)

        async def ask(client: Transport, address: str) -> None:
            replies.append((await self.ask(client, address, b"slow")).body)

        async with (
            self.between(make_transport, unary=wait) as (client, behind),
            self.opened(client, behind) as exchange,
            anyio.create_task_group() as group,
        ):
            group.start_soon(ask, client, behind.address)
            await exchange.send(b"before")
            assert await exchange.recv() == b"before"
            await eventually(lambda: behind.works and behind.works[0].runs, within=5)
            await behind.listener.drain(anyio.current_time() + 0.1)
            await exchange.send(b"after")
            assert await exchange.recv() == b"after"
            go.set()
            await eventually(lambda: replies, within=5)
        assert (replies, behind.works[0].reason) == ([b"slow"], None)

    @bounded
    async def test_aclose_cancels_running_calls_with_gone_and_is_idempotent(
        self, make_transport: MakeTransport
    ) -> None:
        async with make_transport() as server, make_transport() as client, anyio.create_task_group() as group:
            async with listening(server, self.listen_address, unary=hang, stream=hold) as behind:
                group.start_soon(self._ignoring, client, behind.address)
                await eventually(lambda: behind.works and behind.works[0].runs, within=5)
                await client.open(behind.address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)
                await eventually(lambda: behind.streams and behind.streams[0].runs, within=5)
                for _ in range(2):
                    await behind.listener.aclose()
                await eventually(lambda: behind.works[0].reason and behind.streams[0].reason, within=5)
                assert {behind.works[0].reason, behind.streams[0].reason} == {Reset.GONE}
            group.cancel_scope.cancel()

    @bounded
    async def test_aclose_closes_the_address_also_when_cancelled(self, make_transport: MakeTransport) -> None:
        async with self.between(make_transport) as (client, behind):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await behind.listener.aclose()
            with pytest.raises(TransportError) as caught:
                await self.ask(client, behind.address)
            assert caught.value.processed is False

    @bounded
    async def test_a_server_that_came_back_at_its_address_is_called_again(self, make_transport: MakeTransport) -> None:
        async with make_transport() as server, make_transport() as client:
            async with listening(server, self.listen_address) as behind:
                await self.ask(client, behind.address)
            async with listening(server, behind.address) as again:
                try:
                    reply = await self.ask(client, again.address, b"again")
                except TransportError as error:
                    not_lost(error)
                    reply = await self.ask(client, again.address, b"again")
                assert reply.body == b"again"

    @bounded
    async def test_leaving_the_transport_closes_what_it_listens_at(self, make_transport: MakeTransport) -> None:
        behind = Behind(echo, hold, None)
        async with make_transport() as client:
            async with make_transport() as server:
                address = (await server.listen(self.listen_address, behind.accept)).address
                exchange = await client.open(address, dict(STREAM_HEAD), deadline=anyio.current_time() + 5)
            with pytest.raises(TransportError):
                await exchange.recv()
            with pytest.raises(TransportError):
                await self.ask(client, address)


def not_lost(error: TransportError) -> None:
    """Fails for an error after which a call cannot be tried elsewhere."""
    assert error.processed is False, "the call is lost"
