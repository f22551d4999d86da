"""gRPC with grpcio, both ways: the four shapes, statuses, deadlines, cancellation, metadata, with TLS and without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import grpc
import micro
import pytest
from greeter_pb2 import Reply, Request
from grpc_rig import Certificates, Stub, Taken, calling, channel, in_thread, serving, theirs
from micro_conformance import eventually
from micro_core import Node, ServiceRecord, loader
from micro_http import HTTP2

pytestmark = pytest.mark.anyio
ADA = Request(name="Ada", count_to=3)


@pytest.fixture(params=["plaintext", "tls"])
def certificates(request: pytest.FixtureRequest, tmp_path: Path) -> Certificates | None:
    return Certificates(tmp_path) if request.param == "tls" else None


# An ordinary client calls a service of ours


async def test_their_client_unary(certificates: Certificates | None) -> None:
    async with serving(certificates) as (_, address):
        with channel(address, certificates) as opened:
            reply = await in_thread(lambda: Stub(opened).hello(Request(name="Ada", tags=["a", "b"]), timeout=10))
            assert reply == Reply(msg="Hello Ada", seq_no=2)
            assert await in_thread(lambda: Stub(opened).hello(Request(), timeout=10)) == Reply(msg="Hello ")


async def test_their_client_server_streaming(certificates: Certificates | None) -> None:
    async with serving(certificates) as (_, address):
        with channel(address, certificates) as opened:
            replies = await in_thread(lambda: list(Stub(opened).count(Request(name="a", count_to=2000), timeout=10)))
            assert [reply.seq_no for reply in replies] == list(range(2000))
            assert await in_thread(lambda: list(Stub(opened).count(Request(), timeout=10))) == []


async def test_their_client_client_streaming(certificates: Certificates | None) -> None:
    async with serving(certificates) as (_, address):
        with channel(address, certificates) as opened:
            many = [Request(name="x", count_to=number) for number in range(500)]
            reply = await in_thread(lambda: Stub(opened).total(iter(many), timeout=10))
            assert reply == Reply(msg="x" * 500, seq_no=sum(range(500)))
            assert await in_thread(lambda: Stub(opened).total(iter([]), timeout=10)) == Reply()


async def test_their_client_bidirectional(certificates: Certificates | None) -> None:
    async with serving(certificates) as (_, address):
        with channel(address, certificates) as opened:

            def chat() -> list[str]:
                sent: list[str] = []

                def requests() -> Any:
                    for number in range(200):
                        sent.append(f"m{number}")
                        yield Request(name=sent[-1])

                heard = [reply.msg for reply in Stub(opened).chat(requests(), timeout=10)]
                assert heard == [name.upper() for name in sent]
                return heard

            assert len(await in_thread(chat)) == 200


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, grpc.StatusCode.INVALID_ARGUMENT),
        (401, grpc.StatusCode.UNAUTHENTICATED),
        (403, grpc.StatusCode.PERMISSION_DENIED),
        (404, grpc.StatusCode.NOT_FOUND),
        (408, grpc.StatusCode.DEADLINE_EXCEEDED),
        (409, grpc.StatusCode.ALREADY_EXISTS),
        (412, grpc.StatusCode.FAILED_PRECONDITION),
        (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (499, grpc.StatusCode.CANCELLED),
        (500, grpc.StatusCode.INTERNAL),
        (501, grpc.StatusCode.UNIMPLEMENTED),
        (503, grpc.StatusCode.UNAVAILABLE),
        (418, grpc.StatusCode.UNKNOWN),
        (1, grpc.StatusCode.ABORTED),
    ],
)
async def test_their_client_is_told_statuses(code: int, status: grpc.StatusCode) -> None:
    text = "50 % of «ä»\nand more"
    async with serving() as (_, address):
        with channel(address, None) as opened:
            stub = Stub(opened)
            for call in (stub.hello, lambda *a, **k: list(stub.count(*a, **k))):
                with pytest.raises(grpc.RpcError) as caught:
                    await in_thread(lambda call=call: call(Request(name=text, error_code=code), timeout=10))  # type: ignore[misc]
                error: Any = caught.value
                assert (error.code(), error.details()) == (status, text)


async def test_their_client_is_told_what_is_not_here_and_what_failed(certificates: Certificates | None) -> None:
    async with serving(certificates) as (_, address):
        with channel(address, certificates) as opened:
            with pytest.raises(grpc.RpcError) as caught:
                await in_thread(lambda: Stub(opened).unknown(ADA, timeout=10))
            unknown: Any = caught.value
            assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "Say.Unknown" in unknown.details()
            with pytest.raises(grpc.RpcError) as caught:
                await in_thread(lambda: Stub(opened).hello(Request(error_code=3), timeout=10))
            failed: Any = caught.value
            assert (failed.code(), failed.details()) == (grpc.StatusCode.INTERNAL, "Say.Hello failed: LookupError")


async def test_their_clients_package_does_not_matter() -> None:
    async with serving() as (_, address):
        with channel(address, None) as opened:
            reply = await in_thread(lambda: Stub(opened, "/hello.world.Say").hello(ADA, timeout=10))
            assert reply.msg == "Hello Ada"


async def test_messages_before_an_error_arrive(certificates: Certificates | None) -> None:
    async with serving(certificates) as (_, address):
        with channel(address, certificates) as opened:

            def count() -> tuple[list[int], Any]:
                replies = Stub(opened).count(Request(name="no", count_to=3, error_code=404), timeout=10)
                numbers = [next(replies).seq_no for _ in range(3)]
                with pytest.raises(grpc.RpcError) as caught:
                    next(replies)
                return numbers, caught.value

            numbers, error = await in_thread(count)
            assert (numbers, error.code(), error.details()) == ([0, 1, 2], grpc.StatusCode.NOT_FOUND, "no")


async def test_their_clients_deadline_reaches_the_handler_and_ends_it(certificates: Certificates | None) -> None:
    async with serving(certificates) as (say, address):
        with channel(address, certificates) as opened:
            await in_thread(lambda: Stub(opened).hello(ADA, timeout=7))
            deadline = say.seen[0].deadline
            assert deadline is not None
            assert 1 < deadline - anyio.current_time() <= 7
            for call in (Stub(opened).hello, lambda *a, **k: list(Stub(opened).count(*a, **k))):
                say.left.clear()
                with pytest.raises(grpc.RpcError) as caught:
                    await in_thread(lambda call=call: call(Request(sleep_ms=20_000), timeout=0.2))  # type: ignore[misc]
                error: Any = caught.value
                assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                await eventually(say.left.is_set, within=5)


async def test_their_client_cancels(certificates: Certificates | None) -> None:
    async with serving(certificates) as (say, address):
        with channel(address, certificates) as opened:
            for begin in (Stub(opened).hello.future, Stub(opened).count):
                say.left.clear()
                say.entered.clear()
                call: Any = begin(Request(sleep_ms=20_000), timeout=15)
                await eventually(say.entered.is_set, within=5)
                call.cancel()
                await eventually(say.left.is_set, within=5)
                assert call.code() is grpc.StatusCode.CANCELLED
            assert (await in_thread(lambda: Stub(opened).hello(ADA, timeout=10))).msg == "Hello Ada"


async def test_their_clients_metadata(certificates: Certificates | None) -> None:
    async with serving(certificates) as (say, address):
        with channel(address, certificates) as opened:
            sent = (("x-one", "1"), ("x-raw-bin", b"\x00\xff"))
            reply, call = await in_thread(lambda: Stub(opened).hello.with_call(ADA, timeout=10, metadata=sent))
            assert reply.msg == "Hello Ada"
            assert dict(say.seen[0].metadata) == {"x-one": "1", "x-raw-bin": "AP8"}
            assert dict(call.initial_metadata())["x-stamp"] == "seen"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_their_client_compresses(certificates: Certificates | None, compression: grpc.Compression) -> None:
    long = Request(name="a" * 2_000_000, count_to=1)
    sent: Any = {"timeout": 20, "compression": compression}
    async with serving(certificates) as (_, address):
        with channel(address, certificates) as opened:
            stub = Stub(opened)
            assert (await in_thread(lambda: stub.hello(long, **sent))).msg == f"Hello {long.name}"
            assert [each.seq_no for each in await in_thread(lambda: list(stub.count(long, **sent)))] == [0]
            total = await in_thread(lambda: stub.total(iter([long, ADA, long]), **sent))
            assert total.seq_no == 2 + ADA.count_to
            replies = await in_thread(lambda: list(stub.chat(iter([long, ADA]), **sent)))
            assert [each.msg for each in replies] == [long.name.upper(), "ADA"]


async def test_their_client_that_compresses_too_much_is_told(certificates: Certificates | None) -> None:
    large = Request(name="a" * 5_000_000)
    sent: Any = {"timeout": 20, "compression": grpc.Compression.Gzip}
    async with serving(certificates) as (_, address):
        with channel(address, certificates) as opened:
            stub = Stub(opened)
            for call in (lambda: stub.hello(large, **sent), lambda: list(stub.chat(iter([large]), **sent))):
                with pytest.raises(grpc.RpcError) as caught:
                    await in_thread(call)
                error: Any = caught.value
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "message_limit" in error.details()


async def test_their_client_sends_and_asks_for_large_messages(certificates: Certificates | None) -> None:
    large = "ä" * 700_000
    async with serving(certificates) as (_, address):
        with channel(address, certificates, ("grpc.max_send_message_length", -1)) as opened:
            reply = await in_thread(lambda: Stub(opened).hello(Request(name=large), timeout=20))
            assert reply.msg == f"Hello {large}"
            replies = await in_thread(lambda: list(Stub(opened).count(Request(name=large, count_to=5), timeout=20)))
            assert [reply.msg == large for reply in replies] == [True] * 5


async def test_their_clients_messages_over_the_limit() -> None:
    large = Request(name="a" * 5000)
    async with serving(message_limit=4000) as (_, address):
        with channel(address, None) as opened:
            stub = Stub(opened)
            for call in (
                lambda: stub.hello(large, timeout=10),
                lambda: list(stub.chat(iter([ADA, large]), timeout=10)),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    await in_thread(call)
                error: Any = caught.value
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "4000" in error.details()
            assert (await in_thread(lambda: stub.hello(ADA, timeout=10))).msg == "Hello Ada"


async def test_many_calls_of_theirs_at_once(certificates: Certificates | None) -> None:
    async with serving(certificates) as (_, address):
        with channel(address, certificates) as opened:

            def many() -> list[str]:
                begun = [Stub(opened).hello.future(Request(name=str(number)), timeout=20) for number in range(300)]
                return [call.result().msg for call in begun]

            assert await in_thread(many) == [f"Hello {number}" for number in range(300)]


async def test_a_server_that_has_too_much_to_do_is_unavailable() -> None:
    async with serving(options={"server.max_running": 1, "server.max_waiting": 0}) as (say, address):
        with channel(address, None) as opened:
            busy = Stub(opened).hello.future(Request(sleep_ms=20_000), timeout=20)
            await eventually(say.entered.is_set, within=5)
            with pytest.raises(grpc.RpcError) as caught:
                await in_thread(lambda: Stub(opened).hello(ADA, timeout=10))
            error: Any = caught.value
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            busy.cancel()


# Our client calls an ordinary server


COMPRESSIONS = pytest.mark.parametrize(
    "compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["as they are", "gzip", "deflate"]
)


@COMPRESSIONS
async def test_our_client_unary(certificates: Certificates | None, compression: grpc.Compression | None) -> None:
    with theirs(certificates, compression) as (_, address):
        async with calling(certificates) as client:
            request = Request(name="Ada", tags=["a", "b"])
            reply = await client.call("greeter", "Say.Hello", request, Reply, address=address)
            assert reply == Reply(msg="Hello Ada", seq_no=2)
            by_path = await client.call("greeter", "/greeter.Say/Hello", request, Reply, address=address)
            assert by_path == reply


@COMPRESSIONS
async def test_our_client_streams(certificates: Certificates | None, compression: grpc.Compression | None) -> None:
    class Say:
        def count(self, request: Request) -> AsyncIterator[Reply]:
            raise NotImplementedError

        async def total(self, requests: AsyncIterator[Request]) -> Reply:
            raise NotImplementedError

        def chat(self, requests: AsyncIterator[Request]) -> AsyncIterator[Reply]:
            raise NotImplementedError

    async def requests(many: int) -> AsyncIterator[Request]:
        for number in range(many):
            yield Request(name=f"m{number}", count_to=number)

    with theirs(certificates, compression) as (_, address):
        async with calling(certificates) as client:
            say = client.proxy(Say, "greeter", address=address)
            numbers = [reply.seq_no async for reply in say.count(Request(count_to=1000))]
            assert numbers == list(range(1000))
            total = await say.total(requests(100))
            assert total.seq_no == sum(range(100))
            heard = [reply.msg async for reply in say.chat(requests(200))]
            assert heard == [f"M{number}" for number in range(200)]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (grpc.StatusCode.CANCELLED, 499, micro.errors.RPCError),
        (grpc.StatusCode.UNKNOWN, 500, micro.errors.InternalServerError),
        (grpc.StatusCode.INVALID_ARGUMENT, 400, micro.errors.BadRequest),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 408, micro.errors.Timeout),
        (grpc.StatusCode.NOT_FOUND, 404, micro.errors.NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, 409, micro.errors.Conflict),
        (grpc.StatusCode.PERMISSION_DENIED, 403, micro.errors.Forbidden),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, micro.errors.TooManyRequests),
        (grpc.StatusCode.FAILED_PRECONDITION, 412, micro.errors.PreconditionFailed),
        (grpc.StatusCode.ABORTED, 409, micro.errors.Conflict),
        (grpc.StatusCode.OUT_OF_RANGE, 400, micro.errors.BadRequest),
        (grpc.StatusCode.UNIMPLEMENTED, 501, micro.errors.NotImplementedByServer),
        (grpc.StatusCode.INTERNAL, 500, micro.errors.InternalServerError),
        (grpc.StatusCode.UNAVAILABLE, 503, micro.errors.ServiceUnavailable),
        (grpc.StatusCode.DATA_LOSS, 500, micro.errors.InternalServerError),
        (grpc.StatusCode.UNAUTHENTICATED, 401, micro.errors.Unauthorized),
    ],
)
async def test_our_client_reads_statuses(status: Any, code: int, kind: type[micro.errors.RPCError]) -> None:
    text = "50 % of «ä»\nand more"
    request = Request(name=text, count_to=2, error_code=status.value[0])
    with theirs() as (_, address):
        async with calling() as client:
            with pytest.raises(micro.errors.RPCError) as caught:
                await client.call("greeter", "Say.Hello", request, Reply, address=address)
            error = caught.value
            assert (type(error), error.code, error.status, error.detail) == (kind, code, status.name, text)
            stream = client.stream("greeter", "Say.Count", Reply, address=address)
            async with stream:
                await stream.send(request)
                assert [(await stream.recv()).seq_no for _ in range(2)] == [0, 1]
                with pytest.raises(micro.errors.RPCError) as caught:
                    await stream.recv()
            assert (type(caught.value), caught.value.detail) == (kind, text)


async def test_our_clients_deadline_and_cancellation(certificates: Certificates | None) -> None:
    slow = Request(sleep_ms=20_000)
    with theirs(certificates) as (servicer, address):
        async with calling(certificates) as client:
            await client.call("greeter", "Say.Hello", ADA, Reply, address=address, timeout=7)
            assert 5 < servicer.remaining[0] <= 7
            with pytest.raises(micro.errors.Timeout):
                await client.call("greeter", "Say.Hello", slow, Reply, address=address, timeout=0.2)
            await eventually(servicer.left.is_set, within=5)
            servicer.left.clear()
            servicer.entered.clear()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: client.call("greeter", "Say.Hello", slow, Reply, address=address, timeout=15))
                await eventually(servicer.entered.is_set, within=5)
                tasks.cancel_scope.cancel()
            await eventually(servicer.left.is_set, within=5)


async def test_our_clients_metadata(certificates: Certificates | None) -> None:
    with theirs(certificates) as (servicer, address):
        async with calling(certificates) as client:
            sent = {"X-One": "1", "x-raw-bin": "AP8="}
            response = await client.call_response("greeter", "Say.Hello", ADA, Reply, address=address, metadata=sent)
            got = servicer.metadata[0]
            assert (got["x-one"], got["x-raw-bin"]) == ("1", b"\x00\xff")
            assert (response.header["x-early"], response.header["x-late"]) == ("1", "2")
            assert response.header["x-raw-bin"] == "AP8"
            with pytest.raises(micro.errors.BadRequest, match="x-two-bin"):
                await client.call("greeter", "Say.Hello", ADA, Reply, address=address, metadata={"x-two": "ä"})


@COMPRESSIONS
async def test_our_client_and_large_messages(
    certificates: Certificates | None, compression: grpc.Compression | None
) -> None:
    large = "ä" * 1_000_000
    with theirs(certificates, compression) as (_, address):
        async with calling(certificates) as client:
            reply = await client.call("greeter", "Say.Hello", Request(name=large), Reply, address=address, timeout=20)
            assert reply.msg == f"Hello {large}"


@COMPRESSIONS
async def test_messages_over_our_clients_limit(compression: grpc.Compression | None) -> None:
    with theirs(None, compression) as (_, address):
        async with calling(message_limit=4000) as client:
            large = Request(name="a" * 3999, count_to=1)
            with pytest.raises(micro.errors.BadGateway, match="4000") as caught:
                await client.call("greeter", "Say.Hello", large, Reply, address=address)
            assert caught.value.outcome is micro.errors.Outcome.ANSWERED
            async with client.stream("greeter", "Say.Chat", Reply, address=address) as stream:
                await stream.send(Request(name="ŉ" * 1500))  # 3,000 bytes, and 4,500 in capitals
                with pytest.raises(micro.errors.BadGateway, match="4000"):
                    await stream.recv()
            assert (await client.call("greeter", "Say.Hello", ADA, Reply, address=address)).msg == "Hello Ada"


async def test_many_calls_of_ours_at_once(certificates: Certificates | None) -> None:
    heard: set[str] = set()
    with theirs(certificates) as (_, address):
        async with calling(certificates) as client:

            async def ask(number: int) -> None:
                request = Request(name=str(number))
                reply = await client.call("greeter", "Say.Hello", request, Reply, address=address, timeout=20)
                heard.add(reply.msg)

            async with anyio.create_task_group() as tasks:
                for number in range(300):
                    tasks.start_soon(ask, number)
    assert heard == {f"Hello {number}" for number in range(300)}


async def test_our_client_finds_a_server_by_its_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICRO_NAMESPACE")
    plugin = loader.load("registry", "memory").cls
    with theirs() as (_, address):
        async with plugin(plugin.Options(address="grpc")) as registry:
            node = Node("theirs", address, {"protocol": "grpc"})
            await registry.register(ServiceRecord("greeter", "1", (node,)), ttl=60)
            options = {
                "namespace": "",
                "registry.memory.address": "grpc",
                "client.content_type": "application/protobuf",
            }
            with anyio.fail_after(20):
                async with micro.Client(registry="memory", broker="memory", options=options) as client:
                    assert (await client.call("greeter", "Say.Hello", ADA, Reply)).msg == "Hello Ada"
                    stream = client.stream("greeter", "Say.Count", Reply)
                    async with stream:
                        await stream.send(ADA)
                        await stream.end()
                        assert [reply.seq_no async for reply in stream] == [0, 1, 2]


async def test_our_client_at_a_server_without_http2(certificates: Certificates | None) -> None:
    async with serving(certificates) as (_, address), calling(certificates, http2=HTTP2.NEVER) as client:
        with pytest.raises(micro.errors.ServiceUnavailable, match="needs HTTP/2"):
            await client.call("greeter", "Say.Hello", ADA, Reply, address=address, timeout=0.3)


# Both ends are ours


async def test_both_ends_are_ours(certificates: Certificates | None) -> None:
    async with serving(certificates) as (_, address), calling(certificates) as client:
        reply = await client.call("greeter", "Say.Hello", ADA, Reply, address=address)
        assert reply.msg == "Hello Ada"
        with pytest.raises(micro.errors.NotFound):
            await client.call("greeter", "Say.Helo", ADA, Reply, address=address)
        request = Request(name="ada", error_code=2)
        with pytest.raises(Taken) as caught:
            await client.call("greeter", "Say.Hello", request, Reply, address=address, errors=[Taken])
        assert (caught.value.name, caught.value.detail, caught.value.id) == ("ada", "taken", "greeter")
