"""Both halves of the tests with grpcio: a service of ours, a server of grpcio's, and certificates for both."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import grpc
import micro
import trustme
from greeter_pb2 import Reply, Request
from micro_core import Call, CallNext, loader
from micro_core import Reply as Answer

NAMES = ("greeter", "localhost", "127.0.0.1")


class Certificates:
    """A CA and one certificate of all names; None of them for plaintext."""

    def __init__(self, folder: Path) -> None:
        signer = trustme.CA()
        issued = signer.issue_cert(*NAMES)
        self.ca, self.cert = folder / "ca.pem", folder / "cert.pem"
        signer.cert_pem.write_to_path(str(self.ca))
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.cert))
        self.chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        self.key = issued.private_key_pem.bytes()


def transport_of(certificates: Certificates | None, **options: Any) -> Any:
    plugin = loader.load("transport", "http").cls
    if certificates is not None:
        options.update(tls_cert=certificates.cert, tls_ca=certificates.ca)
    return plugin(plugin.Options(**options))


class Taken(micro.errors.Conflict):
    name: str


class Say:
    """The service, in the four shapes. What a request asks to go wrong does."""

    def __init__(self) -> None:
        self.seen: list[micro.Context] = []
        self.left = threading.Event()
        self.entered = threading.Event()

    async def hello(self, request: Request) -> Reply:
        self.seen.append(micro.context())
        await self._misbehave(request)
        return Reply(msg=f"Hello {request.name}", seq_no=len(request.tags))

    async def count(self, request: Request) -> AsyncIterator[Reply]:
        for number in range(request.count_to):
            yield Reply(msg=request.name, seq_no=number)
        await self._misbehave(request)

    async def total(self, requests: AsyncIterator[Request]) -> Reply:
        total, names = 0, []
        async for request in requests:
            await self._misbehave(request)
            total += request.count_to
            names.append(request.name)
        return Reply(msg="".join(names), seq_no=total)

    async def chat(self, requests: AsyncIterator[Request]) -> AsyncIterator[Reply]:
        async for request in requests:
            await self._misbehave(request)
            yield Reply(msg=request.name.upper())

    async def _misbehave(self, request: Request) -> None:
        if request.sleep_ms:
            self.entered.set()
            try:
                await anyio.sleep(request.sleep_ms / 1000)
            except BaseException:
                self.left.set()
                raise
        if request.error_code == 1:
            raise micro.errors.RPCError(request.name, code=409, status="ABORTED")
        if request.error_code == 2:
            raise Taken("taken", name=request.name)
        if request.error_code == 3:
            raise LookupError("nobody else's business")
        if request.error_code:
            raise micro.errors.RPCError(request.name, code=request.error_code)


async def stamped(call: Call, call_next: CallNext) -> Answer:
    """A middleware that adds to the head of replies."""
    reply = await call_next(call)
    reply.header["x-stamp"] = "seen"
    return reply


@asynccontextmanager
async def serving(
    certificates: Certificates | None = None, options: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[tuple[Say, str]]:
    """A service of ours, and its address."""
    say = Say()
    settings = {"server.address": "127.0.0.1:0", "stop.propagation": 0, **(options or {})}
    service = micro.Service(
        "greeter",
        registry="memory",
        broker="memory",
        transport=transport_of(certificates, **more),
        options=settings,
        server_middleware=[stamped],
    )
    service.handler(say)
    with anyio.fail_after(30):
        async with service:
            yield say, service.address


@contextmanager
def channel(address: str, certificates: Certificates | None, *options: tuple[str, Any]) -> Iterator[grpc.Channel]:
    """A channel of grpcio's."""
    if certificates is None:
        opened = grpc.insecure_channel(address, options)
    else:
        credentials = grpc.ssl_channel_credentials(certificates.ca.read_bytes())
        opened = grpc.secure_channel(address, credentials, options)
    with opened:
        yield opened


class Stub:
    """What protoc would make for the service; blocking."""

    def __init__(self, opened: grpc.Channel, prefix: str = "/greeter.Say") -> None:
        into: Any = {"request_serializer": Request.SerializeToString, "response_deserializer": Reply.FromString}
        self.hello = opened.unary_unary(f"{prefix}/Hello", **into)
        self.count = opened.unary_stream(f"{prefix}/Count", **into)
        self.total = opened.stream_unary(f"{prefix}/Total", **into)
        self.chat = opened.stream_stream(f"{prefix}/Chat", **into)
        self.unknown = opened.unary_unary(f"{prefix}/Unknown", **into)


async def in_thread(function: Callable[[], Any]) -> Any:
    """grpcio blocks, so that nothing of its own runs in our loop."""
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


class Theirs:
    """The same service written for grpcio."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, Any]] = []
        self.remaining: list[float] = []
        self.left = threading.Event()
        self.entered = threading.Event()

    def hello(self, request: Request, context: grpc.ServicerContext) -> Reply:
        self.metadata.append(dict(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        context.send_initial_metadata((("x-early", "1"),))
        context.set_trailing_metadata((("x-late", "2"), ("x-raw-bin", b"\x00\xff")))
        self._misbehave(request, context)
        return Reply(msg=f"Hello {request.name}", seq_no=len(request.tags))

    def count(self, request: Request, context: grpc.ServicerContext) -> Iterator[Reply]:
        for number in range(request.count_to):
            yield Reply(msg=request.name, seq_no=number)
        self._misbehave(request, context)

    def total(self, requests: Iterator[Request], context: grpc.ServicerContext) -> Reply:
        total, names = 0, []
        for request in requests:
            self._misbehave(request, context)
            total += request.count_to
            names.append(request.name)
        return Reply(msg="".join(names), seq_no=total)

    def chat(self, requests: Iterator[Request], context: grpc.ServicerContext) -> Iterator[Reply]:
        for request in requests:
            self._misbehave(request, context)
            yield Reply(msg=request.name.upper())

    def _misbehave(self, request: Request, context: grpc.ServicerContext) -> None:
        if request.sleep_ms:
            context.add_callback(self.left.set)
            self.entered.set()
            until = time.monotonic() + request.sleep_ms / 1000
            while context.is_active() and time.monotonic() < until:
                self.left.wait(0.01)
        if request.error_code:
            status = {code.value[0]: code for code in grpc.StatusCode}[request.error_code]
            context.abort(status, request.name)


@contextmanager
def theirs(
    certificates: Certificates | None = None, compression: grpc.Compression | None = None
) -> Iterator[tuple[Theirs, str]]:
    """A server of grpcio's, and its address."""
    servicer = Theirs()
    codec: Any = {"request_deserializer": Request.FromString, "response_serializer": Reply.SerializeToString}
    methods = {
        "Hello": grpc.unary_unary_rpc_method_handler(servicer.hello, **codec),
        "Count": grpc.unary_stream_rpc_method_handler(servicer.count, **codec),
        "Total": grpc.stream_unary_rpc_method_handler(servicer.total, **codec),
        "Chat": grpc.stream_stream_rpc_method_handler(servicer.chat, **codec),
    }
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, compression=compression)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("greeter.Say", methods)])
        if certificates is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            pair = [(certificates.key, certificates.chain)]
            port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
        server.start()
        try:
            yield servicer, f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait(5)


@asynccontextmanager
async def calling(certificates: Certificates | None = None, **more: Any) -> AsyncIterator[micro.Client]:
    """A client of ours that speaks gRPC."""
    client = micro.Client(
        registry="memory",
        broker="memory",
        transport=transport_of(certificates, **more),
        options={"client.content_type": "application/grpc"},
    )
    with anyio.fail_after(30):
        async with client:
            yield client
