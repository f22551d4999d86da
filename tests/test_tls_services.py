"""Services in processes of their own that are given TLS by variables alone, with the certificates of `micro certs`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import golang
import micro
import pytest
from click.testing import CliRunner
from micro_cli.commands.certs import command
from micro_conformance import eventually

PROGRAM = '''
"""Two services; the second one calls the first."""

import sys
from collections.abc import AsyncIterator

import micro

greeter = micro.Service("greeter")
relay = micro.Service("relay")


@greeter.handler
class Say:
    async def hello(self, request: str) -> str:
        peer = micro.context().peer
        return f"Hello {request}, said {peer.identity} over {peer.protocol}"

    async def chat(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        async for message in messages:
            yield message.upper()


@relay.handler
class Pass:
    async def on(self, request: str) -> str:
        return await relay.client.call("greeter", "Say.Hello", request, str)


{"greeter": greeter, "relay": relay}[sys.argv[1]].run()
'''


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    result = CliRunner().invoke(command, ["greeter", "relay", "caller", "--dir", str(tmp_path / "certs")])
    assert result.exit_code == 0, result.output
    return tmp_path / "certs"


def secured(folder: Path, name: str, **more: str) -> dict[str, str]:
    """The variables of a process."""
    prefix = "MICRO_TRANSPORT_TLS_"
    return {
        f"{prefix}CERT": str(folder / f"{name}.pem"),
        f"{prefix}KEY": str(folder / f"{name}-key.pem"),
        f"{prefix}CA": str(folder / "ca.pem"),
        **{f"{prefix}{option}": value for option, value in more.items()},
    }


@contextmanager
def served(tmp_path: Path, name: str, variables: dict[str, str]) -> Iterator[None]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with (tmp_path / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(program), name],
            env={**os.environ, "MICRO_STOP_PROPAGATION": "0", **variables},
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def called(client: micro.Client, service: str, endpoint: str, request: Any) -> Any:
    """The reply, once the service is there."""

    async def ask() -> Any:
        try:
            return await client.call(service, endpoint, request, str)
        except micro.errors.ServiceUnavailable as error:
            raise AssertionError(str(error)) from error

    return await eventually(ask, within=20)


@pytest.mark.anyio
async def test_services_with_certificates_call_each_other_and_nobody_else_calls_them(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = {"CLIENT_AUTH": "true"}
    with (
        served(tmp_path, "greeter", secured(certificates, "greeter", **strict)),
        served(tmp_path, "relay", secured(certificates, "relay", **strict)),
    ):
        with monkeypatch.context() as patch:
            for name, value in secured(certificates, "caller").items():
                patch.setenv(name, value)
            async with micro.Client() as client:
                said = await called(client, "relay", "Pass.On", "Ada")
                assert said == "Hello Ada, said relay over h2"
                async with client.stream("greeter", "Say.Chat", str) as stream:
                    await stream.send("a")
                    assert await stream.recv() == "A"
                (record,) = [each for each in await client.list_services() if each.name == "greeter"]
                assert record.nodes[0].metadata["tls"] == "1"

        async with micro.Client() as client:
            with pytest.raises(micro.errors.ServiceUnavailable, match="TLS alone: set MICRO_TRANSPORT_TLS_CA"):
                await client.call("greeter", "Say.Hello", "Eve", str)
            address = record.nodes[0].address
            with pytest.raises(micro.errors.BadRequest, match="speaks TLS; set MICRO_TRANSPORT_TLS_CA"):
                await client.call("greeter", "Say.Hello", "Eve", str, address=address)

        monkeypatch.setenv("MICRO_TRANSPORT_TLS_CA", str(certificates / "ca.pem"))
        async with micro.Client() as client:
            with pytest.raises(micro.errors.ServiceUnavailable, match="demands a certificate"):
                await client.call("greeter", "Say.Hello", "Eve", str)


@pytest.mark.anyio
@pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go here")
async def test_go_micro_and_net_http_are_served_by_tls(tmp_path: Path, certificates: Path) -> None:
    """Go Micro and whoever offers HTTP/1.1 alone in HTTP/1.1, Go's own client in HTTP/2 where it wants that."""
    here = Path(__file__).parent
    modules = here.parent / "benchmarks" / "peers" / "gomicro"
    sources = [here / "go_tls_caller" / "main.go", modules / "go.mod", modules / "go.sum"]
    caller = golang.built("go-tls-caller", sources)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    variables = {**secured(certificates, "greeter"), "MICRO_SERVER_ADDRESS": address, "MICRO_REGISTRY": "memory"}
    with served(tmp_path, "greeter", variables):

        def answered() -> list[str]:
            command = [str(caller), address, str(certificates / "ca.pem")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        assert await eventually(answered, within=20) == [
            *["call: Hello Ada, said None over http/1.1"] * 3,
            *["stream: A", "stream: B"],
            'HTTP/1.1: 200 "Hello Ada, said None over http/1.1"',
            'HTTP/2.0: 200 "Hello Ada, said None over h2"',
        ]


@pytest.mark.anyio
async def test_events_go_over_the_transports_tls(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The publisher shows its own certificate, and verifies that of the service that subscribes."""
    monkeypatch.setenv("MICRO_REGISTRY", "memory")
    for name, value in secured(certificates, "greeter", CLIENT_AUTH="true").items():
        monkeypatch.setenv(name, value)
    service = micro.Service("greeter", options={"stop.propagation": 0.0})
    received: list[str] = []

    @service.subscriber("greeted")
    async def on_greeted(event: str) -> None:
        received.append(event)

    async with service, micro.Client() as client:
        await client.publish("greeted", "Ada")
        await eventually(lambda: received == ["Ada"], within=5)
        (record,) = [each for each in await client.list_services() if each.name == "micro.http.broker"]
        (node,) = record.nodes
        assert (node.metadata["secure"], node.metadata["micro-tls-name"]) == ("true", "greeter")

        for name in secured(certificates, "greeter", CLIENT_AUTH=""):
            monkeypatch.delenv(name)
        async with micro.Client() as plain:
            await plain.publish("greeted", "Eve")
            told = [record.getMessage() for record in caplog.records if "it gets no events" in record.getMessage()]
            assert len(told) == 1
            assert "listens by TLS" in told[0]
        await client.publish("greeted", "Grace")
        await eventually(lambda: received == ["Ada", "Grace"], within=5)


@pytest.mark.anyio
async def test_a_service_on_the_network_with_tls_does_not_say_that_it_is_open(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "micro.service")
    monkeypatch.setenv("MICRO_REGISTRY", "memory")
    monkeypatch.setenv("MICRO_SERVER_ADDRESS", ":0")
    async with micro.Service("greeter", options={"stop.propagation": 0.0}):
        assert caplog.text.count("without TLS") == 1
    for name, value in secured(certificates, "greeter").items():
        monkeypatch.setenv(name, value)
    async with micro.Service("greeter", options={"stop.propagation": 0.0}):
        assert caplog.text.count("without TLS") == 1


def test_a_service_whose_certificate_cannot_be_used_does_not_start(tmp_path: Path, certificates: Path) -> None:
    variables = secured(certificates, "greeter")
    variables["MICRO_TRANSPORT_HTTP_TLS_KEY"] = str(certificates / "relay-key.pem")
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), "greeter"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert "is not the key of the certificate" in done.stderr
    assert "Traceback" not in done.stderr
