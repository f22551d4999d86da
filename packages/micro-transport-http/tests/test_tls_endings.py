"""How connections end over TLS: what is an end, what is a connection lost, and what broken bytes do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.to_thread
import pytest
from micro_conformance import eventually
from micro_core import EndOfStream, Exchange, Head, Message, Peer, Reset, StreamCall, TransportError, UnaryCall
from micro_http import HTTP2
from tls_files import Answer, Authority, ask, serving

pytestmark = pytest.mark.anyio


class Collecting(StreamCall):
    """A handler that reads to the end, then answers."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.ended = ""
        self.cancelled: Reset | None = None

    async def run(self, exchange: Exchange) -> None:
        try:
            while True:
                self.bodies.append(await exchange.recv())
        except EndOfStream:
            self.ended = "well"
            with suppress(TransportError):
                await exchange.send(b"thanks")
                await exchange.end()
        except TransportError as error:
            self.ended = error.reason.value

    def cancel(self, reason: Reset) -> None:
        self.cancelled = reason


def post(body: bytes, *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in ("POST / HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *lines))
    return head.encode() + b"\r\n" + body


NAMED = ("Micro-Endpoint: Say.Chat", "Micro-Id: 7", "Micro-Stream: 7")


def secured(authority: Authority, address: str) -> ssl.SSLSocket:
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=authority.ca)
    plain = socket.create_connection((host, int(port)), timeout=5)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname="localhost")


def read_to_end(stream: ssl.SSLSocket) -> bytes:
    read = b""
    with suppress(OSError):
        while data := stream.recv(65536):
            read += data
    return read


def leave_after_eos(stream: ssl.SSLSocket) -> bytes:
    """As Go Micro's client: an EOS, and the connection is closed behind it."""
    stream.sendall(post(b"open", *NAMED) + post(b"1", *NAMED) + post(b"", *NAMED, "Micro-Error: EOS"))
    with stream, suppress(OSError):
        stream.unwrap()
    return b""


def close_as_the_end(stream: ssl.SSLSocket) -> bytes:
    """As Go Micro's client of v1.1.0, which knows neither a stream's name nor an EOS."""
    stream.sendall(post(b"open", *NAMED[:2]) + post(b"1", *NAMED[:2]))
    with stream, suppress(OSError):
        stream.unwrap()
    return b""


def cut_without_notice(stream: ssl.SSLSocket) -> bytes:
    """Somebody between the two closes the TCP connection: that is no end of a stream."""
    stream.sendall(post(b"open", *NAMED[:2]) + post(b"1", *NAMED[:2]))
    with socket.socket(fileno=stream.detach()):
        return b""


def wait_for_the_answer(stream: ssl.SSLSocket) -> bytes:
    stream.sendall(post(b"open", *NAMED) + post(b"1", *NAMED) + post(b"", *NAMED, "Micro-Error: EOS"))
    read = b""
    with stream:
        while b"EOS" not in read:
            read += stream.recv(65536)
    return read


@pytest.mark.parametrize(
    ("client", "ended"),
    [
        (leave_after_eos, "well"),
        (close_as_the_end, "well"),
        (cut_without_notice, "gone"),
        (wait_for_the_answer, "well"),
    ],
)
async def test_a_stream_of_http1_ends_well_or_not_as_without_tls(
    authority: Authority, client: Callable[[ssl.SSLSocket], bytes], ended: str
) -> None:
    stream = Collecting()

    def accept(head: Head, peer: Peer) -> UnaryCall | StreamCall | Message:
        return stream

    async with authority.serving() as server:
        listener = await server.listen("127.0.0.1:0", accept)

        def run() -> bytes:
            return client(secured(authority, listener.address))

        read = await anyio.to_thread.run_sync(run)
        await eventually(lambda: stream.ended, within=5)
        assert (stream.ended, stream.bodies) == (ended, [b"1"])
        assert (stream.cancelled is not None) == (ended == "gone")
        assert (b"thanks" in read) == (client is wait_for_the_answer)


@pytest.mark.parametrize("notice", [True, False])
async def test_a_reply_that_the_close_ends_is_whole_only_with_a_notice(authority: Authority, notice: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue())
    with socket.create_server(("127.0.0.1", 0)) as bound:
        bound.settimeout(5)

        def serve() -> None:
            with context.wrap_socket(bound.accept()[0], server_side=True) as stream:
                stream.recv(65536)
                stream.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
                if notice:
                    with suppress(OSError):
                        stream.unwrap()
                else:
                    socket.socket(fileno=stream.detach()).close()

        async with authority.calling() as client, anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, serve)
            address = f"127.0.0.1:{bound.getsockname()[1]}"
            if notice:
                assert (await ask(client, address)).body == b"half"
            else:
                with pytest.raises(TransportError) as caught:
                    await ask(client, address)
                assert (caught.value.reason, caught.value.processed) == (Reset.GONE, True)


async def test_bytes_that_are_no_tls_end_one_connection_and_no_other(authority: Authority) -> None:
    async with serving(authority.serving()) as (address, _), authority.calling() as client:
        await ask(client, address)

        def spoil() -> bytes:
            stream = secured(authority, address)
            stream.sendall(post(b"x"))
            assert stream.recv(65536)
            with socket.socket(fileno=stream.detach()) as plain:
                plain.settimeout(5)
                plain.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32 + b"GET / HTTP/1.1\r\n\r\n")
                read = b""
                with suppress(ConnectionError):
                    while data := plain.recv(65536):
                        read += data
                return read

        alert = await anyio.to_thread.run_sync(spoil)
        assert alert[:1] in (b"\x15", b"\x17", b""), "an alert, and nothing in plain text"
        assert b"HTTP" not in alert
        assert (await ask(client, address)).body == b"x"


@pytest.mark.parametrize("size", [1, 5, 600])
async def test_whatever_pieces_it_arrives_in_it_is_the_same(authority: Authority, size: int) -> None:
    """A handshake and a request of HTTP/1.1, some bytes of ciphertext at a time."""

    def call(address: str) -> bytes:
        host, _, port = address.rpartition(":")
        context = ssl.create_default_context(cafile=authority.ca)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(back, there, server_hostname="localhost")
        with socket.create_connection((host, int(port)), timeout=5) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def send() -> None:
                data = there.read()
                for at in range(0, len(data), size):
                    plain.sendall(data[at : at + size])

            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    send()
                    back.write(plain.recv(size))
            tls.write(post(b"in pieces", "Connection: close"))
            send()
            read = b""
            while b"in pieces" not in read:
                try:
                    read += tls.read(65536)
                except ssl.SSLWantReadError:
                    back.write(plain.recv(size))
            return read

    async with serving(authority.serving()) as (address, _):
        read = await anyio.to_thread.run_sync(call, address)
        assert read.startswith(b"HTTP/1.1 200 OK")


async def test_a_large_body_goes_both_ways_in_records(authority: Authority) -> None:
    large = bytes(range(256)) * 8192
    async with serving(authority.serving()) as (address, _):
        for http2 in (HTTP2.AUTO, HTTP2.NEVER):
            async with authority.calling(http2=http2) as client:
                assert (await ask(client, address, body=large)).body == large


async def test_a_client_that_left_its_pool_closes_its_connections(authority: Authority) -> None:
    """No connection of either version survives the client; the server's own ends of them are gone, too."""
    async with authority.serving() as server:
        listener = await server.listen("127.0.0.1:0", lambda head, peer: Answer())
        for http2 in (HTTP2.AUTO, HTTP2.NEVER):
            async with authority.calling(http2=http2) as client, anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(ask, client, listener.address)
            await eventually(lambda: not listener.connections, within=5)  # type: ignore[attr-defined]
