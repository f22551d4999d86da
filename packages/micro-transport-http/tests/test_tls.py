"""TLS of the transport beside its refusals: what it serves, what it reads, and when it reads it again."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from micro_conformance import eventually
from micro_core import ConfigurationError, EndOfStream, Reset, TransportError, capture_clock
from micro_http import HTTP2
from micro_transport_http import HTTPTransport, micro_doctor
from tls_files import DAY, LOCAL, Authority, ask, now, opened, serving, transport

pytestmark = pytest.mark.anyio

GET = b"POST /greeter HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


def raw(address: str, context: ssl.SSLContext | None, sent: bytes) -> tuple[bytes, str | None]:
    """What a client of the standard library reads until the end, and the protocol that was agreed on."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        wrapped = plain if context is None else context.wrap_socket(plain, server_hostname="localhost")
        with wrapped as stream:
            stream.sendall(sent)
            read = b""
            while data := stream.recv(65536):
                read += data
            return read, stream.selected_alpn_protocol() if isinstance(stream, ssl.SSLSocket) else None


async def test_every_call_and_stream_goes_over_http2_where_both_speak_it(authority: Authority) -> None:
    async with serving(authority.serving()) as (address, seen), authority.calling() as client:
        exchange = await opened(client, address)
        await exchange.send(b"first")
        assert await exchange.recv() == b"first"
        async with anyio.create_task_group() as group:
            for _ in range(64):
                group.start_soon(ask, client, address)
        await exchange.end()
        with pytest.raises(EndOfStream):
            await exchange.recv()
        assert {peer.protocol for peer in seen.peers} == {"h2"}
        assert len({peer.address for peer in seen.peers}) == 1, "they share one connection"


async def test_while_one_dials_the_others_wait_for_what_the_peer_speaks(authority: Authority) -> None:
    async with (
        serving(authority.serving()) as (address, seen),
        authority.calling(http2=HTTP2.NEVER) as one,
        authority.calling() as two,
    ):
        for client, most in ((one, 64), (two, 1)):
            seen.peers.clear()
            async with anyio.create_task_group() as group:
                for _ in range(64):
                    group.start_soon(ask, client, address)
            assert len({peer.address for peer in seen.peers}) <= most


async def test_those_who_waited_for_a_dial_that_was_refused_are_refused(authority: Authority) -> None:
    errors: list[TransportError] = []

    async def one(client: HTTPTransport, address: str) -> None:
        with pytest.raises(TransportError, match="not for 'greeter'") as caught:
            await ask(client, address)
        errors.append(caught.value)

    async with (
        serving(authority.serving("billing")) as (address, _),
        authority.calling() as client,
        anyio.create_task_group() as group,
    ):
        for _ in range(20):
            group.start_soon(one, client, address)
    assert {(error.reason, error.processed) for error in errors} == {(Reset.REFUSED, False)}


async def test_a_caller_that_is_cancelled_while_it_dials_lets_another_dial(authority: Authority) -> None:
    async with serving(authority.serving()) as (address, _), authority.calling() as client:
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def given_up() -> None:
                with scope:
                    await ask(client, address)

            group.start_soon(given_up)
            await anyio.lowlevel.checkpoint()
            group.start_soon(ask, client, address)
            await anyio.lowlevel.checkpoint()
            scope.cancel()
        assert (await ask(client, address)).body == b"x"


async def test_services_at_one_address_have_connections_of_their_own(authority: Authority) -> None:
    server = authority.serving("greeter", "billing", "localhost", "127.0.0.1")
    async with serving(server) as (address, seen), authority.calling() as client:
        for name in ("greeter", "billing", "greeter", None):
            await ask(client, address, name)
        assert len({peer.address for peer in seen.peers}) == 3
        with pytest.raises(TransportError, match="not for 'payments'"):
            await ask(client, address, "payments")


@pytest.mark.parametrize(
    ("identity", "names"),
    [("service", ("greeter",)), ("host", ("127.0.0.1",)), ("mesh.internal", ("mesh.internal",))],
)
async def test_the_identity_is_the_service_the_host_or_one_name(
    authority: Authority, identity: str, names: tuple[str, ...]
) -> None:
    async with serving(authority.serving(*names)) as (address, _), authority.calling(tls_identity=identity) as client:
        assert (await ask(client, address)).body == b"x"


@pytest.mark.parametrize("http2", [HTTP2.AUTO, HTTP2.NEVER])
async def test_a_stream_knows_the_verified_name_of_its_server(authority: Authority, http2: HTTP2) -> None:
    async with serving(authority.serving()) as (address, _), authority.calling(http2=http2) as client:
        exchange = await opened(client, address)
        assert exchange.peer.identity == "greeter"
        exchange.reset(Reset.CANCELLED)
    async with serving(transport()) as (address, _), transport(http2=http2) as client:
        exchange = await opened(client, address)
        assert exchange.peer.identity is None
        exchange.reset(Reset.CANCELLED)


async def test_the_name_in_the_subject_alone_does_not_count(authority: Authority) -> None:
    certificate = authority.issue("elsewhere", common_name="greeter")
    async with serving(transport(tls_cert=certificate)) as (address, _), authority.calling() as client:
        with pytest.raises(TransportError, match="not for 'greeter'"):
            await ask(client, address)


async def test_a_name_that_no_certificate_can_hold_is_refused(authority: Authority) -> None:
    async with serving(authority.serving()) as (address, _), authority.calling() as client:
        with pytest.raises(TransportError, match="no certificate can hold") as caught:
            await ask(client, address, ".hidden")
        assert (caught.value.reason, caught.value.processed) == (Reset.REFUSED, False)


# Peers that know less


@pytest.mark.parametrize("offered", [[], ["http/1.1"], ["http/1.0", "spdy/3"]])
async def test_a_client_that_offers_no_http2_is_served_http1(authority: Authority, offered: list[str]) -> None:
    context = ssl.create_default_context(cafile=authority.ca)
    if offered:
        context.set_alpn_protocols(offered)
    async with serving(authority.serving()) as (address, seen):
        reply, agreed = await anyio.to_thread.run_sync(raw, address, context, GET)
        assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
        assert reply.endswith(b"\r\n\r\nhi")
        assert agreed == ("http/1.1" if "http/1.1" in offered else None)
        assert [peer.protocol for peer in seen.peers] == ["http/1.1"]


async def test_a_server_that_knows_no_http2_is_called_by_http1(authority: Authority) -> None:
    """One of the standard library, without ALPN, as every Go Micro."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue())
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    with socket.create_server(("127.0.0.1", 0)) as bound:
        bound.settimeout(5)

        def serve() -> bytes:
            with context.wrap_socket(bound.accept()[0], server_side=True) as stream:
                stream.settimeout(5)
                asked = b""
                for _ in range(3):
                    asked = stream.recv(65536)
                    stream.sendall(reply)
                return asked

        asked: list[bytes] = []

        async def run() -> None:
            asked.append(await anyio.to_thread.run_sync(serve))

        clock = capture_clock()
        async with authority.calling() as client, anyio.create_task_group() as group:
            group.start_soon(run)
            address = f"127.0.0.1:{bound.getsockname()[1]}"
            for _ in range(3):
                assert (await ask(client, address)).body == b"hi"
                await eventually(lambda: all(one.rests <= clock() for one in client._client.connections), within=5)
    assert asked[0].startswith(b"POST / HTTP/1.1\r\n")
    assert b"Micro-Http2" not in asked[0]


async def test_a_client_without_tls_is_told_so_in_plain_words(authority: Authority) -> None:
    async with serving(authority.serving()) as (address, seen):
        reply, _ = await anyio.to_thread.run_sync(raw, address, None, GET)
        assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"MICRO_TRANSPORT_TLS_CA" in reply
        async with transport() as plain:
            assert (await ask(plain, address)).head[":status"] == "400"
        assert not seen.peers


async def test_tls_older_than_1_2_is_not_spoken(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(authority.serving()) as (address, seen):
        with pytest.raises(ssl.SSLError):
            await anyio.to_thread.run_sync(raw, address, context, GET)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert (await anyio.to_thread.run_sync(raw, address, context, GET))[0].endswith(b"hi")
        assert len(seen.peers) == 1


async def test_a_handshake_that_does_not_go_on_is_cut_off(authority: Authority) -> None:
    async with serving(authority.serving(header_timeout=0.2)) as (address, _):
        host, _, port = address.rpartition(":")
        for begun in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"):
            async with await anyio.connect_tcp(host, int(port)) as stream:
                if begun:
                    await stream.send(begun)
                with anyio.fail_after(5), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await stream.receive()


async def test_a_server_that_does_not_go_on_with_the_handshake_is_given_up(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        async with authority.calling(dial_timeout=0.2) as client:
            with pytest.raises(TransportError, match=r"no answer within 0\.2 s|TLS handshake") as caught:
                await ask(client, address)
            assert (caught.value.reason, caught.value.processed) == (Reset.REFUSED, False)


async def test_closing_does_not_wait_for_handshakes(authority: Authority) -> None:
    async with authority.serving() as server:
        listener = await server.listen("127.0.0.1:0", lambda head, peer: pytest.fail("nobody calls"))
        host, _, port = listener.address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)):
            with anyio.fail_after(3):
                await anyio.sleep(0.05)
                await listener.aclose()


async def test_a_refusal_is_read_before_the_connection_closes(authority: Authority) -> None:
    """The client still sends its body: a socket closed at once would reset, and lose the answer."""
    context = ssl.create_default_context(cafile=authority.ca)
    large = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 500_000
    async with serving(authority.serving()) as (address, _):
        for _ in range(5):
            reply, _ = await anyio.to_thread.run_sync(raw, address, context, large)
            assert reply.startswith(b"HTTP/1.1 413 ")


# Files


Spoil = Callable[[Authority], dict[str, object]]
WRONG: dict[str, tuple[Spoil, str]] = {
    "a certificate that is not there": (
        lambda a: {"tls_cert": a.folder / "none.pem"},
        r"tls_cert \(MICRO_TRANSPORT_TLS_CERT\): .*none\.pem cannot be read: No such file",
    ),
    "a key that is not there": (
        lambda a: {"tls_cert": a.issue(), "tls_key": a.folder / "none.pem"},
        r"tls_key \(MICRO_TRANSPORT_TLS_KEY\): .*none\.pem cannot be read",
    ),
    "a ca that is not there": (
        lambda a: {"tls_ca": a.folder / "none.pem"},
        r"tls_ca \(MICRO_TRANSPORT_TLS_CA\): .*cannot be read",
    ),
    "a certificate that is none": (lambda a: {"tls_cert": written(a, "cert", "hello")}, "tls_cert .* no certificate"),
    "a ca that is none": (lambda a: {"tls_ca": written(a, "ca", "hello")}, "tls_ca .* no certificate in PEM"),
    "a broken ca": (lambda a: {"tls_ca": written(a, "ca", BROKEN)}, "tls_ca .* cannot be used"),
    "a broken certificate": (
        lambda a: {"tls_cert": written(a, "broken", BROKEN), "tls_key": a.issue()},
        "tls_cert .* cannot be used",
    ),
    "no key anywhere": (lambda a: {"tls_cert": a.ca}, "tls_cert .* holds no private key"),
    "the key of another certificate": (
        lambda a: {"tls_cert": a.issue(), "tls_key": a.issue(file="other.pem")},
        "tls_key .* is not the key of the certificate",
    ),
    "a key with a password": (lambda a: {"tls_cert": a.issue(), "tls_key": encrypted(a)}, "tls_key .* password"),
    "a key alone": (lambda a: {"tls_key": a.issue()}, "tls_cert .* without a certificate"),
    "client_auth without a ca": (
        lambda a: {"tls_cert": a.issue(), "tls_client_auth": True},
        r"tls_ca \(MICRO_TRANSPORT_TLS_CA\): tls_client_auth",
    ),
}
BROKEN = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"


def written(authority: Authority, name: str, text: str) -> Path:
    path = authority.folder / f"{name}.pem"
    path.write_text(text)
    return path


def encrypted(authority: Authority) -> Path:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(authority.issue(file="plain.pem").read_bytes(), None)
    kind = form.BestAvailableEncryption(b"secret")
    return written(authority, "locked", key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, kind).decode())


@pytest.mark.parametrize("case", WRONG)
async def test_files_that_cannot_be_used_are_told_at_the_start(authority: Authority, case: str) -> None:
    spoil, text = WRONG[case]
    with pytest.raises(ConfigurationError, match=text):
        async with transport(**spoil(authority)):
            pytest.fail("it was entered")


async def test_a_transport_with_tls_serves_nothing_without_a_certificate(authority: Authority) -> None:
    async with authority.calling() as client:
        with pytest.raises(ConfigurationError, match=r"MICRO_TRANSPORT_TLS_CERT.* no certificate to serve with"):
            await client.listen("127.0.0.1:0", lambda head, peer: pytest.fail("nobody calls"))


async def test_a_transport_says_that_its_nodes_speak_tls(authority: Authority) -> None:
    assert authority.serving().node_metadata == {"tls": "1"}
    assert authority.calling().node_metadata == {"tls": "1"}
    assert transport().node_metadata == {}


async def test_contexts_can_be_given_in_code(authority: Authority) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(authority.issue())
    server = HTTPTransport(HTTPTransport.Options(), server_context=server_context)
    client_context = ssl.create_default_context(cafile=authority.ca)
    client = HTTPTransport(HTTPTransport.Options(), client_context=client_context)
    async with serving(server) as (address, seen), client:
        exchange = await opened(client, address)
        await exchange.send(b"x")
        assert await exchange.recv() == b"x"
        exchange.reset(Reset.CANCELLED)
        assert (await ask(client, address)).body == b"x"
        assert {peer.protocol for peer in seen.peers} == {"h2"}
        with pytest.raises(TransportError, match="not for 'billing'"):
            await ask(client, address, "billing")


async def test_contexts_given_in_code_serve_streams_of_http1(authority: Authority) -> None:
    client_context = ssl.create_default_context(cafile=authority.ca)
    options = HTTPTransport.Options(http2=HTTP2.NEVER)
    client = HTTPTransport(options, client_context=client_context)
    async with serving(authority.serving()) as (address, seen), client:
        exchange = await opened(client, address)
        await exchange.send(b"x")
        assert await exchange.recv() == b"x"
        exchange.reset(Reset.CANCELLED)
        assert [peer.protocol for peer in seen.peers] == ["http/1.1"]


# Rotation


def moved(path: Path, to: Path) -> None:
    """As tools do that rotate certificates: written aside, then put in its place."""
    path.replace(to)


@pytest.mark.parametrize("http2", [HTTP2.AUTO, HTTP2.NEVER])
async def test_certificates_are_read_again_while_calls_go_on(authority: Authority, http2: HTTP2) -> None:
    """Each call of the short-lived connections is answered, and one that begins after a change sees the new one."""
    certificate = authority.issue()
    calls = 0

    async def go_on(client: HTTPTransport, address: str, stop: anyio.Event) -> None:
        nonlocal calls
        while not stop.is_set():
            assert (await ask(client, address, None)).body == b"x"
            calls += 1
            await anyio.sleep(0.002)

    async with (
        serving(transport(tls_cert=certificate)) as (address, _),
        authority.calling(http2=http2, pool_ttl=0.02) as client,
        anyio.create_task_group() as group,
    ):
        stop = anyio.Event()
        group.start_soon(go_on, client, address, stop)
        with pytest.raises(TransportError, match="not for 'renamed'"):
            await ask(client, address, "renamed")
        await eventually(lambda: calls > 5, within=5)
        moved(authority.issue("renamed", "127.0.0.1", file="new.pem"), certificate)
        await eventually(lambda: answered(client, address, "renamed"), within=5)
        before = calls
        await eventually(lambda: calls > before + 5, within=5)
        stop.set()


async def answered(client: HTTPTransport, address: str, name: str) -> bool:
    try:
        return (await ask(client, address, name)).body == b"x"
    except TransportError:
        return False


async def test_a_ca_is_read_again_by_servers_and_clients(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    client = authority.calling(tls_cert=other.issue("caller"), pool_ttl=0.0)
    async with serving(authority.serving(tls_client_auth=True, pool_ttl=0.0)) as (address, _), client:
        assert not await answered(client, address, "greeter")
        authority.ca.write_bytes(authority.ca.read_bytes() + other.ca.read_bytes())
        await eventually(lambda: answered(client, address, "greeter"), within=5)


async def test_a_revocation_counts_for_the_next_connection(authority: Authority) -> None:
    certificate = authority.issue()
    async with serving(transport(tls_cert=certificate)) as (address, _), authority.calling(pool_ttl=0.0) as client:
        assert await answered(client, address, "greeter")
        moved(authority.revoke(certificate), authority.ca)
        await eventually(lambda: refused(client, address, "has been revoked"), within=5)


async def refused(client: HTTPTransport, address: str, why: str) -> bool:
    try:
        await ask(client, address)
    except TransportError as error:
        return why in str(error)
    return False


async def test_new_files_that_cannot_be_used_leave_the_old_ones_and_are_logged_once(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = authority.issue()
    caplog.set_level(logging.INFO, "micro.http")

    def logged(text: str) -> int:
        return sum(text in record.getMessage() for record in caplog.records)

    async with serving(transport(tls_cert=certificate)) as (address, _), authority.calling(pool_ttl=0.0) as client:
        certificate.write_text("half of a certifi")

        async def called() -> bool:
            assert (await ask(client, address)).body == b"x"
            return logged("cannot be used, the old ones stay") == 1

        await eventually(called, within=5)
        until = anyio.current_time() + 1.2
        while anyio.current_time() < until:
            assert await called()
            await anyio.sleep(0.1)
        authority.issue("renamed")
        await eventually(lambda: answered(client, address, "renamed"), within=5)
        assert logged("read again") == 1
        certificate.unlink()
        assert await answered(client, address, "renamed")


async def test_an_expired_certificate_that_is_replaced_serves_again(authority: Authority) -> None:
    certificate = authority.issue(not_before=now() - 2 * DAY, not_after=now() - DAY)
    async with serving(transport(tls_cert=certificate)) as (address, _), authority.calling() as client:
        with pytest.raises(TransportError, match="expired"):
            await ask(client, address)
        moved(authority.issue(*LOCAL, file="new.pem"), certificate)
        await eventually(lambda: answered(client, address, "greeter"), within=5)


# What micro doctor is told


def test_doctor_tells_of_files_that_can_be_used_and_of_those_that_cannot(authority: Authority) -> None:
    def told(**options: Any) -> list[str]:
        return [finding.text for finding in micro_doctor(HTTPTransport.Options(**options)) if "TLS" in finding.text]

    assert told() == []
    (both,) = told(tls_cert=authority.issue(), tls_ca=authority.ca)
    assert "serves and calls" in both
    (caller,) = told(tls_ca=authority.ca)
    assert "no certificate to serve with" in caller
    (wrong,) = told(tls_ca=authority.folder / "none.pem")
    assert "TLS cannot be used" in wrong
    assert "MICRO_TRANSPORT_TLS_CA" in wrong
