"""A service that cannot start says so in one line without a traceback: what, where from, what to do; it ends with 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from micro_core.loader import plugins

SERVICE = """
from __future__ import annotations
from dataclasses import dataclass
import micro

service = micro.Service("greeter"{arguments})

@dataclass
class Greeting:
    name: str

{body}

if __name__ == "__main__":
    service.run()
"""
SAY = """
@service.handler
class Say:
    async def hello(self, request: Greeting) -> Greeting:
        return request
"""


def refusal(folder: Path, *, body: str = SAY, arguments: str = "", **environment: str) -> str:
    """The one line that `python -m` of a service says before it ends with 2."""
    (folder / "bad.py").write_text(SERVICE.format(body=body, arguments=arguments))
    run = subprocess.run(
        [sys.executable, "-m", "bad"],
        cwd=folder,
        env={**os.environ, "MICRO_LOG": "warning", "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (run.returncode, run.stdout) == (2, ""), run.stderr
    assert run.stderr.startswith("error: "), run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


def distribution(folder: Path, name: str, plugin: str, module: str, source: str | None) -> None:
    """An installed distribution with one registry plugin."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[micro.registry]\n{plugin} = {module}\n")
    if source is not None:
        (folder / f"{module}.py").write_text(source)


HOOK = "from micro_core import hookimpl\n\n@hookimpl\ndef micro_registry(name):\n    return {answer}\n"


class TestPlugins:
    def test_an_unknown_one_says_who_chose_it_what_is_installed_and_what_it_would_come_with(
        self, tmp_path: Path
    ) -> None:
        text = refusal(tmp_path, MICRO_REGISTRY="etcd")
        assert "no registry named 'etcd' is installed (selected by MICRO_REGISTRY in the environment)" in text
        installed = ", ".join(plugin.name for plugin in plugins("micro.registry"))
        assert f"known are {installed}; it would come with a distribution such as micro-registry-etcd" in text

    def test_a_slip_of_the_finger_in_a_file_is_told_with_what_was_meant(self, tmp_path: Path) -> None:
        (tmp_path / "micro.toml").write_text('[transport]\nplugin = "htttp"\n')
        text = refusal(tmp_path)
        assert "no transport named 'htttp' is installed (selected by [transport] plugin in micro.toml)" in text
        assert text.endswith("did you mean 'http'?\n")

    def test_two_that_claim_a_name_are_told_apart_by_their_distribution(self, tmp_path: Path) -> None:
        distribution(tmp_path, "acme-mdns", "mdns", "acme_mdns", HOOK.format(answer="None"))
        text = refusal(tmp_path, MICRO_REGISTRY="mdns")
        assert "registry 'mdns' (selected by MICRO_REGISTRY in the environment) is claimed by " in text
        assert "acme-mdns 1.0 and micro-registry-mdns" in text
        assert text.endswith("choose one by writing mdns@acme-mdns or mdns@micro-registry-mdns\n")

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            pytest.param("import acme_client\n", "needs the module 'acme_client', which is not", id="dependency"),
            pytest.param("1 / 0\n", "fails while being imported: ZeroDivisionError: division by zero", id="import"),
            pytest.param(None, "its module acme does not exist; install it again", id="no-module"),
            pytest.param("x = 1\n", "is registered, but no @hookimpl micro_registry in acme answers", id="no-hook"),
            pytest.param(
                HOOK.format(answer="dict"), "is <class 'dict'>, not a class derived from micro_core.Registry", id="type"
            ),
        ],
    )
    def test_a_broken_one_says_whose_it_is_and_what_is_wrong(
        self, source: str | None, said: str, tmp_path: Path
    ) -> None:
        distribution(tmp_path, "acme-registry", "acme", "acme", source)
        text = refusal(tmp_path, MICRO_REGISTRY="acme")
        assert "registry 'acme' of acme-registry 1.0 (selected by MICRO_REGISTRY in the environment)" in text
        assert said in text


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "environment", "said"),
        [
            pytest.param(
                "",
                {"MICRO_REGISTRY_MDNS_INTERFACE": "lo"},
                "MICRO_REGISTRY_MDNS_INTERFACE in the environment: registry 'mdns': unknown option 'interface'; "
                "known are dns_sd, go_micro, interfaces, port; did you mean 'interfaces'?",
                id="unknown-in-environment",
            ),
            pytest.param(
                ", options={'transport.http.pool_sise': 3}",
                {},
                "transport.http.pool_sise in code: transport 'http': unknown option 'pool_sise'; known are ",
                id="unknown-in-code",
            ),
            pytest.param(
                ", options={'server.adress': ':0'}",
                {},
                "server 'rpc': unknown option 'adress'; known are address, ",
                id="unknown-setting",
            ),
            pytest.param(
                "",
                {"MICRO_REGISTER_TTL": "soon"},
                "MICRO_REGISTER_TTL in the environment: expected a duration such as 5, 0.5, 200ms, 5s or 1m30s, "
                "not 'soon'",
                id="duration",
            ),
            pytest.param(
                "",
                {"MICRO_SERVER_ADDRESS": "8080"},
                "MICRO_SERVER_ADDRESS in the environment: cannot listen: '8080' is not an address: "
                "expected host:port, for example 127.0.0.1:8080",
                id="address",
            ),
            pytest.param(
                ", options={'server.advertise': 'a b'}",
                {},
                "the advertised address 'a b' is neither a host nor host:port; write for example 10.0.0.5",
                id="advertise",
            ),
            pytest.param(
                "",
                {"MICRO_NAMESPACE": "a b/c"},
                "the namespace 'a b/c' (MICRO_NAMESPACE) may hold letters, digits, '-' and '_' only, at most 63",
                id="namespace",
            ),
        ],
    )
    def test_what_cannot_be_read_says_where_it_was_written_and_what_to_write(
        self, arguments: str, environment: dict[str, str], said: str, tmp_path: Path
    ) -> None:
        assert said in refusal(tmp_path, arguments=arguments, **environment)

    def test_an_address_of_the_broker_says_whose_it_is(self, tmp_path: Path) -> None:
        body = "@service.subscriber('greetings')\nasync def on_greeting(event: Greeting) -> None: ..."
        text = refusal(tmp_path, body=body, MICRO_BROKER_ADDRESS="nope")
        assert "subscriber on_greeting: broker 'http': cannot listen: 'nope' is not an address: expected " in text
        assert text.endswith("(option address, MICRO_BROKER_HTTP_ADDRESS)\n")

    def test_a_port_in_use_is_told_with_the_variable_and_a_way_out(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            text = refusal(tmp_path, MICRO_SERVER_ADDRESS=address)
        assert f"MICRO_SERVER_ADDRESS in the environment: cannot listen at {address}: the port is in use" in text
        assert "port 0" in text


class TestHandlers:
    @pytest.mark.parametrize(
        ("body", "said"),
        [
            pytest.param(
                "@service.handler\nclass Say:\n    async def hello(self, request) -> Greeting: ...",
                "Say.hello: 'request' has no annotation; write `async def hello(self, request: Request) -> Reply`",
                id="request",
            ),
            pytest.param(
                "@service.handler\nclass Say:\n    async def hello(self, request: Greeting): ...",
                "Say.hello has no return annotation; write `async def hello(self, request: Request) -> Reply`",
                id="reply",
            ),
            pytest.param(
                "@service.handler\nclass Say:\n    async def hello(self, request: object) -> Greeting: ...",
                "endpoint Say.Hello of service 'greeter': no installed codec carries its types: JSON cannot carry "
                "object: make it a dataclass",
                id="type",
            ),
            pytest.param(
                "@service.subscriber('greetings')\nasync def on_greeting(event): ...",
                "subscriber on_greeting must take one annotated event; write "
                "`async def on_greeting(event: UserCreated) -> None`",
                id="subscriber",
            ),
            pytest.param(
                "@service.subscriber('greetings')\nasync def on_greeting(event: object) -> None: ...",
                "subscriber on_greeting: no installed codec carries its event: JSON cannot carry object",
                id="event-type",
            ),
            pytest.param(
                "@service.lifespan\ndef life():\n    yield",
                "lifespan life is neither an async generator nor an async context manager; write "
                "`async def life(): …; yield`",
                id="lifespan",
            ),
        ],
    )
    def test_what_cannot_be_served_says_what_to_write(self, body: str, said: str, tmp_path: Path) -> None:
        assert said in refusal(tmp_path, body=body)
