"""Client and listener over real sockets: pool, deadlines, cancellation, peers that misbehave, the end of a server."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from micro_conformance import eventually
from micro_core import ConfigurationError, Head, Message, Peer, Reset, TransportError, UnaryCall, capture_clock
from micro_http import HTTP2, HTTPClient, HTTPListener, Limits, listen
from micro_http.connection import REST, RESTING

pytestmark = pytest.mark.anyio
Handler = Callable[[Head, bytes], Awaitable[Message | None]]


class Call(UnaryCall):
    def __init__(self, handler: Handler, head: Head) -> None:
        self.handler = handler
        self.head = head
        self.reasons: list[Reset] = []
        self.running = False
        self.scope = anyio.CancelScope()

    async def run(self, body: bytes) -> Message | None:
        self.running = True
        with self.scope:
            return await self.handler(self.head, body)
        return None

    def cancel(self, reason: Reset) -> None:
        self.reasons.append(reason)
        if self.running:
            self.scope.cancel()


class Accepting:
    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.calls: list[Call] = []
        self.peers: list[Peer] = []

    def __call__(self, head: Head, peer: Peer) -> UnaryCall | Message:
        self.peers.append(peer)
        self.calls.append(Call(self.handler, head))
        return self.calls[-1]


async def echo(head: Head, body: bytes) -> Message:
    return Message({"x-path": head[":path"], "x-method": head[":method"]}, body)


async def hang(head: Head, body: bytes) -> Message:
    if body == b"hang":
        await anyio.sleep_forever()
    return Message({}, body)


def soon(seconds: float = 5.0) -> float:
    return capture_clock()() + seconds


@asynccontextmanager
async def serving(handler: Handler = echo, **options: Any) -> AsyncIterator[tuple[HTTPListener, Accepting]]:
    accepting = Accepting(handler)
    async with await listen("127.0.0.1:0", accepting, **options) as listener:
        yield listener, accepting


@asynccontextmanager
async def scripted(*answers: bytes, read: bool = True) -> AsyncIterator[tuple[str, list[int]]]:
    """A peer that answers each connection's first request with these bytes, then closes; counts connections."""
    count: list[int] = []

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            answer = answers[min(len(count), len(answers) - 1)]
            count.append(1)
            if read:
                await stream.receive()
            await stream.send(answer)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield f"127.0.0.1:{port}", count
        group.cancel_scope.cancel()


async def test_method_path_and_body_arrive_and_come_back() -> None:
    async with serving() as (listener, accepting), HTTPClient() as client:
        head = {":method": "PUT", ":path": "/?id=a%20b", "content-type": "text/plain"}
        reply = await client.call(listener.address, Message(head, b"body"), deadline=soon())
        assert (reply.head[":status"], reply.head["x-path"], reply.head["x-method"]) == ("200", "/?id=a%20b", "PUT")
        assert reply.body == b"body"
        assert accepting.calls[0].head.items() >= {"content-type": "text/plain", "host": listener.address}.items()
        assert "content-length" not in accepting.calls[0].head
        assert accepting.peers[0].address.startswith("127.0.0.1:")


async def test_a_reply_may_hold_a_status_and_close_the_connection() -> None:
    async def answer(head: Head, body: bytes) -> Message:
        return Message({":status": "404", "connection": "close"}, b"gone")

    async with serving(answer) as (listener, _), HTTPClient() as client:
        reply = await client.call(listener.address, Message({}), deadline=soon())
        assert (reply.head[":status"], reply.body) == ("404", b"gone")
        await eventually(lambda: not client.connections, within=5)


async def test_calls_one_after_another_share_a_connection() -> None:
    async with serving() as (listener, accepting), HTTPClient() as client:
        for _ in range(20):
            await client.call(listener.address, Message({}, b"x"), deadline=soon())
        assert len({peer.address for peer in accepting.peers}) == 1


@asynccontextmanager
async def of_others() -> AsyncIterator[tuple[str, list[tuple[float, int]]]]:
    """A peer that is not ours; tells how long each connection rested after a reply, and how many calls others had."""
    rests: list[tuple[float, int]] = []
    served = 0

    async def serve(stream: anyio.abc.SocketStream) -> None:
        nonlocal served
        replied = None
        async with stream:
            async for _ in stream:
                served += 1
                if replied is not None:
                    rests.append((anyio.current_time() - replied[0], served - replied[1]))
                replied = anyio.current_time(), served
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}", rests
        group.cancel_scope.cancel()


async def test_a_connection_to_a_peer_that_is_not_ours_rests_after_a_reply() -> None:
    async with of_others() as (address, rests), HTTPClient() as client:
        until = anyio.current_time() + 10 * REST
        while anyio.current_time() < until:
            await client.call(address, Message({}), deadline=soon())
        assert rests, "none was used twice"
        # Half of it, since uvloop's clock has whole milliseconds.
        assert [rest for rest in rests if rest[0] < REST / 2 and rest[1] < RESTING] == []
        assert len(client.connections) <= RESTING + 1


async def test_it_rests_while_nobody_knows_whose_it_is() -> None:
    async with of_others() as (address, rests), HTTPClient() as client:
        await client.call(address, Message({}), deadline=soon())
        client._pools[address].http2 = None  # as when the last connection is lost while another is dialled
        await client.call(address, Message({}), deadline=soon())
        assert not rests
        assert len(client.connections) == 2


async def test_calls_at_once_have_a_connection_each_and_the_pool_keeps_its_size() -> None:
    async def slow(head: Head, body: bytes) -> Message:
        await anyio.sleep(0.05)
        return Message({}, body)

    async with serving(slow) as (listener, accepting), HTTPClient(pool_size=3, http2=HTTP2.NEVER) as client:

        async def one(at: int) -> None:
            reply = await client.call(listener.address, Message({}, b"%d" % at), deadline=soon())
            assert reply.body == b"%d" % at

        async with anyio.create_task_group() as group:
            for at in range(10):
                group.start_soon(one, at)
        assert len({peer.address for peer in accepting.peers}) == 10
        await eventually(lambda: len(client.connections) == 3, within=5)


async def test_small_writes_do_not_wait_for_acknowledgements() -> None:
    async with serving() as (listener, _), HTTPClient() as client:
        await client.call(listener.address, Message({}), deadline=soon())
        (connection,) = listener.connections
        accepted = connection.wire.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_connection_that_is_too_old_is_not_used() -> None:
    async with serving() as (listener, accepting), HTTPClient(pool_ttl=0.0) as client:
        for _ in range(3):
            await client.call(listener.address, Message({}), deadline=soon())
        assert len({peer.address for peer in accepting.peers}) == 3


async def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    async with serving(limits=Limits(idle_seconds=0.1)) as (listener, accepting), HTTPClient() as client:
        await client.call(listener.address, Message({}), deadline=soon())
        await eventually(lambda: not client.connections, within=5)
        assert (await client.call(listener.address, Message({}, b"x"), deadline=soon())).body == b"x"
        assert len({peer.address for peer in accepting.peers}) == 2


async def test_a_close_that_the_loop_has_not_seen_yet_is_noticed() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        async with HTTPClient() as client, anyio.create_task_group() as group:
            group.start_soon(lambda: client.call(address, Message({}), deadline=soon()))
            peer, _ = await anyio.to_thread.run_sync(server.accept)
            await anyio.to_thread.run_sync(peer.recv, 1000)
            peer.send(reply)
            await eventually(lambda: client.connections and not client.connections_in_use, within=5)
            peer.close()  # no checkpoint between this and the next call
            with pytest.raises(TransportError) as caught:
                await client.call(address, Message({}), deadline=soon(0.2))
            assert caught.value.reason is Reset.DEADLINE, "it was not dialled again"


async def test_the_deadline_fails_the_call_drops_the_connection_and_cancels_the_work() -> None:
    async with serving(hang) as (listener, accepting), HTTPClient() as client:
        await client.call(listener.address, Message({}), deadline=soon())
        clock = capture_clock()
        started = clock()
        with pytest.raises(TransportError) as caught:
            await client.call(listener.address, Message({}, b"hang"), deadline=started + 0.1)
        assert 0.09 < clock() - started < 0.5
        assert (caught.value.reason, caught.value.processed) == (Reset.DEADLINE, True)
        await eventually(lambda: accepting.calls[1].reasons, within=5)
        assert accepting.calls[1].reasons[0] is Reset.GONE
        await eventually(lambda: not client.connections, within=5)
        assert (await client.call(listener.address, Message({}, b"x"), deadline=soon())).body == b"x"


async def test_the_timer_rests_while_nothing_is_in_flight() -> None:
    async with serving() as (listener, _), HTTPClient() as client:
        assert not client.sweeping
        await client.call(listener.address, Message({}), deadline=soon())
        await eventually(lambda: not client.sweeping, within=5)


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    async with serving() as (listener, accepting), HTTPClient() as client:
        with pytest.raises(TransportError) as caught:
            await client.call(listener.address, Message({}), deadline=soon(-1))
        assert (caught.value.reason, caught.value.processed) == (Reset.DEADLINE, False)
        await client.call(listener.address, Message({}), deadline=soon())
        with pytest.raises(TransportError) as caught:
            await client.call(listener.address, Message({}), deadline=soon(-1))
        assert (caught.value.reason, caught.value.processed) == (Reset.DEADLINE, False)
        assert len(accepting.calls) == 1


async def test_a_cancelled_call_drops_its_connection_alone() -> None:
    async with serving(hang) as (listener, accepting), HTTPClient() as client:
        with anyio.move_on_after(0.05):
            await client.call(listener.address, Message({}, b"hang"), deadline=soon())
        await eventually(lambda: accepting.calls[0].reasons, within=5)
        assert (await client.call(listener.address, Message({}, b"x"), deadline=soon())).body == b"x"
        assert len(client.connections) == 1


async def test_nobody_listens_is_not_processed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    async with HTTPClient() as client:
        with pytest.raises(TransportError, match=r"refused|failed") as caught:
            await client.call(address, Message({}), deadline=soon())
        assert (caught.value.reason, caught.value.processed) == (Reset.REFUSED, False)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", Reset.GONE),
        (b"HTTP/1.1 200 OK\r\nContent-Le", Reset.GONE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", Reset.GONE),
        (b"nonsense\r\n\r\n", Reset.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n", Reset.LIMIT),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20000, Reset.LIMIT),
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", Reset.PROTOCOL),
    ],
)
async def test_a_peer_that_breaks_off_or_talks_nonsense(answer: bytes, reason: Reset) -> None:
    async with scripted(answer) as (address, _), HTTPClient() as client:
        with pytest.raises(TransportError) as caught:
            await client.call(address, Message({}), deadline=soon())
        assert (caught.value.reason, caught.value.processed) == (reason, True)
        await eventually(lambda: not client.connections, within=5)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
    ],
)
async def test_odd_replies_are_read_and_the_next_call_gets_its_own(answer: bytes) -> None:
    async with scripted(answer) as (address, connections), HTTPClient() as client:
        for _ in range(2):
            assert (await client.call(address, Message({}), deadline=soon())).body == b"ok"
            await eventually(lambda: not client.connections, within=5)  # the peer closed
        assert len(connections) == 2


@pytest.mark.parametrize("head", [{"x": "a\r\nb"}, {"x": "a\nb"}, {"x": "\0"}, {"x y": "1"}, {":path": "/ x"}])
async def test_a_bad_head_writes_nothing(head: Head) -> None:
    async with serving() as (listener, accepting), HTTPClient() as client:
        with pytest.raises(ValueError, match=r"\S"):
            await client.call(listener.address, Message(head), deadline=soon())
        await eventually(lambda: not client.connections, within=5)
        assert not accepting.calls


async def test_a_bad_reply_is_a_500_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(head: Head, body: bytes) -> Message:
        return Message({"x": body.decode()})

    async with serving(answer) as (listener, _), HTTPClient() as client:
        with caplog.at_level(logging.CRITICAL, "micro.http"):
            reply = await client.call(listener.address, Message({}, b"a\r\nevil: 1"), deadline=soon())
        assert reply.head[":status"] == "500"
        assert "evil" not in reply.head
        assert (await client.call(listener.address, Message({}, b"ok"), deadline=soon())).head["x"] == "ok"


async def test_a_call_that_raises_closes_its_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(head: Head, body: bytes) -> Message:
        if body:
            raise RuntimeError("boom")
        return Message({})

    async with serving(answer) as (listener, _), HTTPClient() as client:
        with caplog.at_level(logging.CRITICAL, "micro.http"), pytest.raises(TransportError):
            await client.call(listener.address, Message({}, b"x"), deadline=soon())
        assert (await client.call(listener.address, Message({}), deadline=soon())).head[":status"] == "200"


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow_first(head: Head, body: bytes) -> Message:
        if body == b"1":
            await anyio.sleep(0.05)
        return Message({}, body)

    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n%d"
    async with serving(slow_first) as (listener, _):
        host, _, port = listener.address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(b"".join(request % at for at in (1, 2, 3)))
            answer = b""
            with anyio.fail_after(5):
                while answer.count(b"HTTP/1.1 200") < 3 or not answer.endswith(b"3"):
                    answer += await stream.receive()
        bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"1", b"2", b"3"]


async def test_a_peer_that_is_gone_before_it_was_accepted_stops_nobody_else() -> None:
    async with serving() as (listener, _), HTTPClient() as client:
        host, _, port = listener.address.rpartition(":")
        for _ in range(3):
            with socket.create_connection((host, int(port))) as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reply = await client.call(listener.address, Message({}, b"x"), deadline=soon())
        assert reply.body == b"x"
        await eventually(lambda: len(listener.connections) == 1, within=5)


async def test_expect_100_is_answered() -> None:
    async with serving() as (listener, _):
        host, _, port = listener.address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            with anyio.fail_after(5):
                assert await stream.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
                await stream.send(b"hi")
                assert (await stream.receive()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_peer_that_does_not_read_its_reply_is_cut() -> None:
    async def flood(head: Head, body: bytes) -> Message:
        return Message({}, b"x" * 3_000_000)

    limits = Limits(body_seconds=0.2, body=4_000_000)
    async with serving(flood, limits=limits) as (listener, accepting):
        host, _, port = listener.address.rpartition(":")
        with socket.create_connection((host, int(port))) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(3):
                peer.send(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
            await eventually(lambda: len(accepting.calls) and not listener.connections, within=5)
        assert len(accepting.calls) <= 2


async def test_draining_answers_what_runs_refuses_what_comes_and_says_close() -> None:
    go = anyio.Event()

    async def wait(head: Head, body: bytes) -> Message:
        if body == b"wait":
            await go.wait()
        return Message({}, body)

    replies: list[Message] = []

    def refusal(head: Head) -> Message:
        return Message({"micro-unprocessed": "1", "x-path": head[":path"]})

    async with serving(wait, draining=refusal) as (listener, accepting), HTTPClient() as client:

        async def call(body: bytes) -> None:
            replies.append(await client.call(listener.address, Message({}, body), deadline=soon()))

        async with anyio.create_task_group() as group:
            group.start_soon(call, b"wait")
            group.start_soon(call, b"idle")
            await eventually(lambda: len(accepting.calls) == 2 and replies, within=5)
            async with anyio.create_task_group() as draining:
                draining.start_soon(listener.drain, soon())
                await eventually(lambda: listener.draining, within=5)
                for _ in range(2):  # an idle connection, then a new one
                    refused = await client.call(listener.address, Message({}), deadline=soon())
                    assert refused.head["micro-unprocessed"] == "1"
                go.set()
        assert replies[1].body == b"wait"
        assert len(accepting.calls) == 2
        await eventually(lambda: not client.connections, within=5)


async def test_draining_keeps_the_connections_of_go_clients() -> None:
    async with serving() as (listener, _), HTTPClient() as client:
        await listener.drain(soon())
        reply = await client.call(listener.address, Message({"user-agent": "Go-http-client/1.1"}), deadline=soon())
        assert reply.head[":status"] == "503"
        assert len(client.connections) == 1


async def test_drain_ends_at_its_deadline_and_close_cancels_the_rest() -> None:
    failures: list[TransportError] = []
    async with serving(hang) as (listener, accepting), HTTPClient() as client:

        async def call() -> None:
            with pytest.raises(TransportError) as caught:
                await client.call(listener.address, Message({}, b"hang"), deadline=soon())
            failures.append(caught.value)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await eventually(lambda: accepting.calls and accepting.calls[0].running, within=5)
            with anyio.fail_after(2):
                await listener.drain(soon(0.1))
            assert not accepting.calls[0].reasons
            await listener.aclose()
            assert accepting.calls[0].reasons[0] is Reset.GONE
        assert failures[0].reason is Reset.GONE
        await listener.aclose()
        with pytest.raises(TransportError) as caught:
            await client.call(listener.address, Message({}), deadline=soon())
        assert caught.value.processed is False


async def test_an_address_that_cannot_be_bound_says_what_to_do() -> None:
    async with serving() as (listener, accepting):
        for address, text in (
            (listener.address, "in use.*port 0"),
            ("127.0.0.1", "host:port"),
            ("127.0.0.1:99999", "host:port"),
            ("192.0.2.1:0", "no such address"),
        ):
            with pytest.raises(ConfigurationError, match=text):
                await listen(address, accepting)


async def test_an_empty_host_is_every_interface() -> None:
    async with await listen(":0", Accepting(echo)) as listener, HTTPClient() as client:
        port = listener.address.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", ""):
            await client.call(f"{host}:{port}", Message({}), deadline=soon())


async def test_leaving_the_client_fails_what_waits_and_leaving_twice_does_nothing() -> None:
    failures: list[TransportError] = []
    async with serving(hang) as (listener, accepting), anyio.create_task_group() as group:
        async with HTTPClient() as client:

            async def call() -> None:
                with pytest.raises(TransportError) as caught:
                    await client.call(listener.address, Message({}, b"hang"), deadline=soon())
                failures.append(caught.value)

            group.start_soon(call)
            await eventually(lambda: accepting.calls, within=5)
        await eventually(lambda: failures, within=5)
        assert failures[0].reason is Reset.GONE
        await client.__aexit__(None, None, None)
        with pytest.raises(TransportError):
            await client.call(listener.address, Message({}), deadline=soon())


async def test_no_request_is_lost_when_a_server_drains_and_closes_under_load() -> None:
    async def work(head: Head, body: bytes) -> Message:
        await anyio.sleep(0.001)
        return Message({}, body)

    lost: list[TransportError] = []
    stop = anyio.Event()
    async with serving(work) as (listener, _), HTTPClient() as client:

        async def caller() -> None:
            while not stop.is_set():
                try:
                    await client.call(listener.address, Message({}), deadline=soon())
                except TransportError as error:
                    if error.processed:
                        lost.append(error)
                    await anyio.sleep(0.002)

        async with anyio.create_task_group() as group:
            for _ in range(16):
                group.start_soon(caller)
            await anyio.sleep(0.05)
            await listener.drain(soon())
            await listener.aclose()
            await anyio.sleep(0.02)
            stop.set()
    assert not lost
