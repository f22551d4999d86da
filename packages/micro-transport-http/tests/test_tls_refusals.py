"""Who is refused by default, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from micro_conformance import eventually
from micro_core import Reset, TransportError
from micro_http import HTTP2
from micro_transport_http import HTTPTransport
from tls_files import DAY, LOCAL, Authority, ask, now, opened, serving, transport

pytestmark = pytest.mark.anyio
VERSIONS = (HTTP2.AUTO, HTTP2.NEVER)


async def refused(server: HTTPTransport, client: HTTPTransport, why: str, name: str | None = "greeter") -> None:
    """A call and a stream are refused for that reason, and no handler sees either."""
    async with serving(server) as (address, seen), client:
        with pytest.raises(TransportError) as caught:
            await ask(client, address, name)
        assert why in str(caught.value)
        assert (caught.value.reason, caught.value.processed) == (Reset.REFUSED, False)
        with pytest.raises(TransportError) as caught:
            await (await opened(client, address, name)).recv()
        assert why in str(caught.value)
        assert (caught.value.reason, caught.value.processed) == (Reset.REFUSED, False)
        assert not seen.peers


@pytest.mark.parametrize("http2", VERSIONS)
class TestRefusals:
    async def test_a_self_signed_certificate(self, authority: Authority, tmp_path: Path, http2: HTTP2) -> None:
        (tmp_path / "other").mkdir()
        other = Authority(tmp_path / "other")
        own = tmp_path / "own.pem"
        own.write_bytes(other.signer.private_key_pem.bytes() + other.signer.cert_pem.bytes())
        await refused(transport(tls_cert=own), authority.calling(http2=http2), "self-signed")

    async def test_the_certificate_of_another_service(self, authority: Authority, http2: HTTP2) -> None:
        server = authority.serving("billing", "localhost", "127.0.0.1")
        await refused(server, authority.calling(http2=http2), "not for 'greeter'")

    async def test_the_certificate_of_another_host(self, authority: Authority, http2: HTTP2) -> None:
        server = authority.serving("greeter", "localhost", "10.0.0.1")
        client = authority.calling(http2=http2, tls_identity="host")
        await refused(server, client, "not for '127.0.0.1'")

    async def test_a_certificate_without_the_identity_that_was_asked_for(
        self, authority: Authority, http2: HTTP2
    ) -> None:
        client = authority.calling(http2=http2, tls_identity="mesh.internal")
        await refused(authority.serving(*LOCAL), client, "not for 'mesh.internal'")

    async def test_a_certificate_of_another_ca(self, authority: Authority, tmp_path: Path, http2: HTTP2) -> None:
        (tmp_path / "other").mkdir()
        other = Authority(tmp_path / "other")
        await refused(other.serving(), authority.calling(http2=http2), "CA that tls_ca does not hold")

    async def test_an_expired_certificate(self, authority: Authority, http2: HTTP2) -> None:
        expired = authority.issue(not_before=now() - 2 * DAY, not_after=now() - DAY)
        await refused(transport(tls_cert=expired), authority.calling(http2=http2), "has expired")

    async def test_a_certificate_that_is_not_valid_yet(self, authority: Authority, http2: HTTP2) -> None:
        early = authority.issue(not_before=now() + DAY, not_after=now() + 2 * DAY)
        await refused(transport(tls_cert=early), authority.calling(http2=http2), "not valid yet")

    async def test_a_revoked_certificate(self, authority: Authority, http2: HTTP2) -> None:
        certificate = authority.issue()
        client = transport(tls_ca=authority.revoke(certificate), http2=http2)
        await refused(transport(tls_cert=certificate), client, "has been revoked")

    async def test_a_client_without_a_certificate(self, authority: Authority, http2: HTTP2) -> None:
        server = authority.serving(tls_client_auth=True)
        await refused(server, authority.calling(http2=http2), "demands a certificate")

    async def test_a_client_with_a_certificate_of_another_ca(
        self, authority: Authority, tmp_path: Path, http2: HTTP2
    ) -> None:
        (tmp_path / "other").mkdir()
        foreign = Authority(tmp_path / "other").issue()
        client = authority.calling(http2=http2, tls_cert=foreign)
        await refused(authority.serving(tls_client_auth=True), client, "does not know the CA")

    async def test_a_client_whose_certificate_was_revoked(self, authority: Authority, http2: HTTP2) -> None:
        certificate = authority.issue("caller", file="client.pem")
        server = transport(tls_cert=authority.issue(), tls_ca=authority.revoke(certificate), tls_client_auth=True)
        await refused(server, authority.calling(http2=http2, tls_cert=certificate), "has been revoked")

    async def test_a_server_without_tls(self, authority: Authority, http2: HTTP2) -> None:
        await refused(transport(), authority.calling(http2=http2), "does not speak TLS")

    async def test_a_server_whose_ca_is_not_among_the_systems(self, authority: Authority, http2: HTTP2) -> None:
        client = transport(tls_cert=authority.issue("caller", file="client.pem"), http2=http2)
        await refused(authority.serving(), client, "CA that tls_ca does not hold")

    async def test_a_server_keeps_the_reason_for_its_log(
        self, authority: Authority, http2: HTTP2, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG", "micro.http")
        server = authority.serving(tls_client_auth=True)
        async with serving(server) as (address, _), authority.calling(http2=http2) as client:
            with pytest.raises(TransportError):
                await ask(client, address)
            await eventually(lambda: "was refused" in caplog.text, within=5)
        assert "peer did not return a certificate" in caplog.text

    async def test_who_has_all_that_is_served_and_known_by_name(self, authority: Authority, http2: HTTP2) -> None:
        client = authority.calling(http2=http2, tls_cert=authority.issue("caller", file="client.pem"))
        async with serving(authority.serving(tls_client_auth=True)) as (address, seen), client:
            assert (await ask(client, address)).body == b"x"
            (peer,) = seen.peers
            assert peer.identity == "caller"
            assert peer.protocol == ("h2" if http2 is HTTP2.AUTO else "http/1.1")
