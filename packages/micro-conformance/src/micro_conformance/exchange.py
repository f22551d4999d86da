"""The sentences of `micro_core.Exchange` and `Transport.open`: a part of `TransportConformance`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, ClassVar, TypeAlias

import anyio
import pytest
from micro_core import EndOfStream, Exchange, Head, Reset, Transport, TransportError

from micro_conformance.polling import eventually, steadily
from micro_conformance.suite import ComponentSuite, Make, bounded
from micro_conformance.works import STREAM_HEAD, Behind, echo_stream, hold, listening

MakeTransport: TypeAlias = Callable[[], AbstractAsyncContextManager[Transport]]

PIECE = 64 * 1024
MANY = 2000
"""Pieces that no buffer of a sane transport holds: 128 MB."""


class ExchangeConformance(ComponentSuite):
    """Every sentence of `Exchange`.

    Attributes:
        listen_address: where the suite listens.
        half_close: whether one side may end while the other goes on.
    """

    listen_address: ClassVar[str] = "127.0.0.1:0"
    half_close: ClassVar[bool] = True

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        """The factory that every plugin gives; transports made one after another reach each other."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture make_transport")

    @pytest.fixture
    def make_component(self, make_transport: MakeTransport) -> Make:
        return make_transport

    @asynccontextmanager
    async def between(self, make_transport: MakeTransport, **handlers: Any) -> AsyncIterator[tuple[Transport, Behind]]:
        """One transport that listens with these handlers, and another to call it by."""
        async with (
            make_transport() as server,
            make_transport() as client,
            listening(server, self.listen_address, **handlers) as behind,
        ):
            yield client, behind

    @asynccontextmanager
    async def opened(self, client: Transport, behind: Behind, head: Head | None = None) -> AsyncIterator[Exchange]:
        """A stream, reset at the end."""
        exchange = await client.open(behind.address, dict(head or STREAM_HEAD), deadline=anyio.current_time() + 5)
        try:
            yield exchange
        finally:
            exchange.reset(Reset.CANCELLED)

    @asynccontextmanager
    async def streaming(self, make_transport: MakeTransport, **handlers: Any) -> AsyncIterator[tuple[Exchange, Behind]]:
        """A stream between two transports."""
        async with (
            self.between(make_transport, **handlers) as (client, behind),
            self.opened(client, behind) as exchange,
        ):
            yield exchange, behind

    async def until_end(self, exchange: Exchange) -> tuple[list[bytes], Head]:
        """All messages, and what came with the end: head and trailer together."""
        received: list[bytes] = []
        while True:
            try:
                received.append(await exchange.recv())
            except EndOfStream:
                return received, {**exchange.reply, **exchange.trailer}

    @bounded
    async def test_messages_go_both_ways_in_order(self, make_transport: MakeTransport) -> None:
        messages = [b"%d" % at * (at % 50) for at in range(300)]

        async def send_all(exchange: Exchange) -> None:
            for message in messages:
                await exchange.send(message)
            await exchange.end()

        async with self.streaming(make_transport) as (exchange, _behind), anyio.create_task_group() as group:
            group.start_soon(send_all, exchange)
            received, _ = await self.until_end(exchange)
        assert received == messages

    @bounded
    async def test_many_streams_at_once_do_not_mix(self, make_transport: MakeTransport) -> None:
        async def one(client: Transport, behind: Behind, at: int) -> None:
            async with self.opened(client, behind) as exchange:
                for count in range(10):
                    message = b"%d/%d" % (at, count)
                    await exchange.send(message)
                    assert await exchange.recv() == message

        async with self.between(make_transport) as (client, behind):
            async with anyio.create_task_group() as group:
                for at in range(20):
                    group.start_soon(one, client, behind, at)
            assert [stream.runs for stream in behind.streams] == [1] * 20

    @bounded
    async def test_the_reply_head_is_complete_once_recv_returned(self, make_transport: MakeTransport) -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply["x-answer"] = "42"
            await echo_stream(exchange)

        async with self.streaming(make_transport, stream=answer) as (exchange, _behind):
            await exchange.send(b"x")
            await exchange.recv()
            assert exchange.reply["x-answer"] == "42"

    @bounded
    async def test_the_reply_head_is_complete_once_recv_raised(self, make_transport: MakeTransport) -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply["x-answer"] = "42"
            await exchange.end({"micro-error": '{"code":404}'})

        async with self.streaming(make_transport, stream=answer) as (exchange, _behind):
            with pytest.raises(EndOfStream):
                await exchange.recv()
            assert exchange.reply["x-answer"] == "42"
            assert exchange.trailer["micro-error"] == '{"code":404}'

    # send

    @bounded
    async def test_send_waits_while_the_peer_does_not_read(self, make_transport: MakeTransport) -> None:
        go = anyio.Event()
        received: list[int] = []
        sent: list[int] = []

        async def read_late(exchange: Exchange) -> None:
            await go.wait()
            while not received or received[-1] >= 0:
                body = await exchange.recv()
                assert len(body) == PIECE
                received.append(int.from_bytes(body[:4], "big", signed=True))

        async def flood(exchange: Exchange) -> None:
            for at in range(MANY):
                if go.is_set():
                    break
                await exchange.send(at.to_bytes(4, "big") + bytes(PIECE - 4))
                sent.append(at)
            await exchange.send((-1).to_bytes(4, "big", signed=True) + bytes(PIECE - 4))

        async with (
            self.streaming(make_transport, stream=read_late) as (exchange, _behind),
            anyio.create_task_group() as group,
        ):
            group.start_soon(flood, exchange)
            await self._stands_still(sent)
            assert len(sent) < MANY, "everything was taken though nobody reads"
            go.set()
            await eventually(lambda: received and received[-1] == -1, within=10)
        assert received[:-1] == sent

    async def _stands_still(self, sent: list[int]) -> None:
        while True:
            before = len(sent)
            await anyio.sleep(0.2)
            if len(sent) == before:
                return

    @bounded
    async def test_the_buffer_may_be_reused_once_send_returned(self, make_transport: MakeTransport) -> None:
        async with self.streaming(make_transport) as (exchange, _behind):
            buffer = bytearray(b"aaaa")
            for letter in (b"a", b"b", b"c"):
                buffer[:] = letter * 4
                await exchange.send(memoryview(buffer) if letter == b"c" else buffer)
                buffer[:] = b"----"
                assert await exchange.recv() == letter * 4

    @bounded
    async def test_a_cancelled_send_leaves_an_exchange_that_works_or_was_reset(
        self, make_transport: MakeTransport
    ) -> None:
        go = anyio.Event()
        received: list[int] = []

        async def read_late(exchange: Exchange) -> None:
            await go.wait()
            try:
                while True:
                    body = await exchange.recv()
                    assert len(body) == PIECE, "half a message arrived"
                    received.append(int.from_bytes(body[:4], "big"))
            except (EndOfStream, TransportError):
                pass

        async with self.streaming(make_transport, stream=read_late) as (exchange, behind):
            returned: list[int] = []
            with anyio.move_on_after(0.3) as scope:
                for at in range(MANY):
                    await exchange.send(at.to_bytes(4, "big") + bytes(PIECE - 4))
                    returned.append(at)
            assert scope.cancelled_caught, "nothing was cancelled: send never waits"
            go.set()
            try:
                await exchange.send(MANY.to_bytes(4, "big") + bytes(PIECE - 4))
                await exchange.end()
                works = True
            except TransportError:
                works = False
            await eventually(lambda: behind.streams[0].finished, within=10)
            cancelled = len(returned)
            if works:
                assert received in ([*returned, MANY], [*returned, cancelled, MANY])
            else:
                assert received == [*returned, cancelled][: len(received)]

    @bounded
    async def test_sending_after_end_is_a_transport_error(self, make_transport: MakeTransport) -> None:
        async with self.streaming(make_transport, stream=hold) as (exchange, _behind):
            await exchange.end()
            with pytest.raises(TransportError):
                await exchange.send(b"x")

    # what need not wait

    @bounded
    async def test_what_is_sent_and_received_without_waiting_stays_in_order(
        self, make_transport: MakeTransport
    ) -> None:
        messages = [b"%d" % at * (at % 30) for at in range(500)]

        async def send_all(exchange: Exchange) -> None:
            for at, message in enumerate(messages):
                if at % 7 == 0 or not exchange.send_nowait(message):
                    await exchange.send(message)
            await exchange.end()

        received: list[bytes] = []
        async with self.streaming(make_transport, stream=send_all) as (exchange, _behind):
            with suppress(EndOfStream):
                while True:
                    body = exchange.recv_nowait() if len(received) % 5 else None
                    received.append(await exchange.recv() if body is None else body)
        assert received == messages

    @bounded
    async def test_send_nowait_says_no_at_last_while_the_peer_does_not_read(
        self, make_transport: MakeTransport
    ) -> None:
        go = anyio.Event()
        received: list[bytes] = []

        async def read_late(exchange: Exchange) -> None:
            await go.wait()
            received.extend((await self.until_end(exchange))[0])

        sent: list[bytes] = []
        async with self.streaming(make_transport, stream=read_late) as (exchange, behind):
            for at in range(MANY):
                body = at.to_bytes(4, "big") + bytes(PIECE - 4)
                if not exchange.send_nowait(body):
                    await anyio.sleep(0.05)
                    if not exchange.send_nowait(body):
                        break
                sent.append(body)
            assert len(sent) < MANY, "everything was taken though nobody reads"
            go.set()
            await exchange.end()
            await eventually(lambda: behind.streams[0].finished, within=10)
        assert received == sent

    @bounded
    async def test_send_nowait_sends_nothing_when_this_side_has_ended_or_was_reset(
        self, make_transport: MakeTransport
    ) -> None:
        async with self.between(make_transport) as (client, behind):
            async with self.opened(client, behind) as exchange:
                await exchange.send(b"x")
                await exchange.end()
                assert not exchange.send_nowait(b"late")
                assert (await self.until_end(exchange))[0] == [b"x"]
            async with self.opened(client, behind) as exchange:
                await exchange.send(b"x")
                exchange.reset(Reset.CANCELLED)
                assert not exchange.send_nowait(b"late")

    @bounded
    async def test_the_buffer_may_be_reused_once_send_nowait_returned(self, make_transport: MakeTransport) -> None:
        async with self.streaming(make_transport) as (exchange, _behind):
            await exchange.send(b"first")
            assert await exchange.recv() == b"first"
            buffer = bytearray(b"aaaa")
            if not exchange.send_nowait(buffer):
                await exchange.send(buffer)
            buffer[:] = b"----"
            assert await exchange.recv() == b"aaaa"

    @bounded
    async def test_recv_nowait_gives_nothing_where_nothing_arrived_and_at_the_end(
        self, make_transport: MakeTransport
    ) -> None:
        async with self.streaming(make_transport) as (exchange, _behind):
            assert exchange.recv_nowait() is None
            await exchange.send(b"")
            assert await exchange.recv() == b""
            assert exchange.recv_nowait() is None
            await exchange.end()
            with pytest.raises(EndOfStream):
                await exchange.recv()
            assert exchange.recv_nowait() is None
            with pytest.raises(EndOfStream):
                await exchange.recv()

    @bounded
    async def test_the_reply_head_is_complete_once_recv_nowait_returned_a_message(
        self, make_transport: MakeTransport
    ) -> None:
        async def answer(exchange: Exchange) -> None:
            exchange.reply["x-answer"] = "42"
            await echo_stream(exchange)

        async with self.streaming(make_transport, stream=answer) as (exchange, _behind):
            await exchange.send(b"x")
            body = None
            for _ in range(20):
                await anyio.sleep(0.01)
                body = exchange.recv_nowait()
                if body is not None:
                    break
            assert (await exchange.recv() if body is None else body) == b"x"
            assert exchange.reply["x-answer"] == "42"

    # end

    @bounded
    async def test_one_side_may_end_while_the_other_goes_on(self, make_transport: MakeTransport) -> None:
        if not self.half_close:
            pytest.skip("declared: no half-close")
        go = anyio.Event()

        async def answer_at_the_end(exchange: Exchange) -> None:
            received, _ = await self.until_end(exchange)
            await go.wait()
            for body in received:
                await exchange.send(body)
            await exchange.end()

        async with self.streaming(make_transport, stream=answer_at_the_end) as (exchange, _behind):
            for body in (b"1", b"2", b"3"):
                await exchange.send(body)
            await exchange.end()
            go.set()
            received, _ = await self.until_end(exchange)
        assert received == [b"1", b"2", b"3"]

    @bounded
    async def test_a_body_that_comes_with_the_end_is_no_message(self, make_transport: MakeTransport) -> None:
        heard: list[list[bytes]] = []

        async def end_alike(exchange: Exchange) -> None:
            received, _ = await self.until_end(exchange)
            heard.append(received)
            await exchange.send(b"1")
            await exchange.end(body=b"{}")

        async with self.streaming(make_transport, stream=end_alike) as (exchange, _behind):
            await exchange.send(b"1")
            await exchange.end(body=b"{}")
            received, _ = await self.until_end(exchange)
        assert (heard, received) == ([[b"1"]], [b"1"])

    @bounded
    async def test_end_is_idempotent(self, make_transport: MakeTransport) -> None:
        async with self.streaming(make_transport) as (exchange, _behind):
            await exchange.send(b"x")
            for _ in range(3):
                await exchange.end()
            assert (await self.until_end(exchange))[0] == [b"x"]

    @bounded
    async def test_the_trailer_is_complete_once_recv_raised_end_of_stream(self, make_transport: MakeTransport) -> None:
        async def fail(exchange: Exchange) -> None:
            await exchange.send(b"x")
            await exchange.end({"micro-error": '{"code":500}'})

        async with make_transport() as server, make_transport() as client:
            async with (
                listening(server, self.listen_address, stream=fail) as behind,
                self.opened(client, behind) as exchange,
            ):
                assert (await self.until_end(exchange))[0] == [b"x"]
                assert exchange.trailer["micro-error"] == '{"code":500}'
            async with listening(server, self.listen_address) as behind, self.opened(client, behind) as exchange:
                await exchange.end()
                await self.until_end(exchange)
                assert not exchange.trailer, "an empty trailer says that it ended well"

    # recv

    @bounded
    async def test_end_of_stream_comes_again_at_every_further_call(self, make_transport: MakeTransport) -> None:
        async with self.streaming(make_transport) as (exchange, _behind):
            await exchange.end()
            for _ in range(3):
                with pytest.raises(EndOfStream):
                    await exchange.recv()

    @bounded
    async def test_a_cancelled_recv_loses_nothing(self, make_transport: MakeTransport) -> None:
        async def tell(exchange: Exchange) -> None:
            for at in range(100):
                await exchange.send(b"%d" % at)
                if at % 10 == 0:
                    await anyio.sleep(0.004)
            await exchange.end()

        received: list[bytes] = []
        async with self.streaming(make_transport, stream=tell) as (exchange, _behind):
            ended = False
            while not ended:
                with anyio.move_on_after(0.001):
                    try:
                        while True:
                            received.append(await exchange.recv())
                    except EndOfStream:
                        ended = True
        assert received == [b"%d" % at for at in range(100)]

    @bounded
    async def test_messages_that_had_arrived_are_delivered_before_a_reset(self, make_transport: MakeTransport) -> None:
        go = anyio.Event()

        async def cut(exchange: Exchange) -> None:
            for body in (b"1", b"2", b"3"):
                await exchange.send(body)
            await go.wait()
            exchange.reset(Reset.CANCELLED)

        async with self.streaming(make_transport, stream=cut) as (exchange, behind):
            assert await exchange.recv() == b"1"
            await steadily(lambda: True, during=0.1)
            go.set()
            await eventually(lambda: behind.streams[0].finished, within=5)
            assert [await exchange.recv(), await exchange.recv()] == [b"2", b"3"]
            for _ in range(2):
                with pytest.raises(TransportError):
                    await exchange.recv()
