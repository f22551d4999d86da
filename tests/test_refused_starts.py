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

service = micro.Service({name!r}{arguments})

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


def refusal(folder: Path, *, name: object = "greeter", body: str = SAY, arguments: str = "", **environment: str) -> str:
    """The one line that `python -m` of a service says before it ends with 2."""
    (folder / "bad.py").write_text(SERVICE.format(name=name, body=body, arguments=arguments))
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
                {"MICRO_CLIENT_REQUEST_TIMEOUT": "5x"},
                "MICRO_CLIENT_REQUEST_TIMEOUT in the environment: expected a duration such as 5, 0.5, 200ms, 5s or "
                "1m30s, not '5x'",
                id="duration-of-what-nobody-used-yet",
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


class TestCode:
    """What is wrong at a line of the service's module is told with that line, not with a traceback of its import."""

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            pytest.param("", "a service needs a name, not ''; write micro.Service(\"greeter\")", id="none"),
            pytest.param(5, "a service needs a name, not 5; write ", id="no-text"),
            pytest.param("a b", "'a b' cannot name a service: a name has no blanks and none of / and \\", id="blank"),
            pytest.param("a/b", "'a/b' cannot name a service: ", id="slash"),
            pytest.param("a\\b", "'a\\\\b' cannot name a service: ", id="backslash"),
            pytest.param("..", "'..' cannot name a service: ", id="path"),
            pytest.param("a\nb", "'a\\nb' cannot name a service: ", id="line-break"),
            pytest.param("a" * 256, f"'{'a' * 60}' cannot name a service: ", id="long"),
        ],
    )
    def test_a_name_that_no_registry_carries(self, name: object, said: str, tmp_path: Path) -> None:
        assert refusal(tmp_path, name=name).startswith(f"error: bad.py:6: {said}")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            pytest.param(
                ", registry=5",
                'registry=5 is neither a name nor an object of class micro_core.Registry; write registry="mdns"',
                id="kind",
            ),
            pytest.param(
                ", options=5", 'options is a mapping such as {"stop.drain": 5}, not of type int', id="options"
            ),
            pytest.param(", options={5: 6}", "options={5: …}: a key is a text such as ", id="key"),
            pytest.param(", metadata=5", 'metadata=5 is no mapping of texts; write metadata={"', id="metadata"),
            pytest.param(", metadata={'zone': 5}", "metadata={'zone': 5} is no mapping of texts", id="value"),
            pytest.param(
                ", server_middleware=print",
                "server_middleware=<built-in function print> is no sequence of functions; "
                "write server_middleware=[logged]",
                id="middleware",
            ),
            pytest.param(
                ", client_middleware=[5]", "client_middleware=[5] is no sequence of functions", id="no-function"
            ),
        ],
    )
    def test_an_argument_of_a_service(self, arguments: str, said: str, tmp_path: Path) -> None:
        assert refusal(tmp_path, arguments=arguments).startswith(f"error: bad.py:6: {said}")

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            pytest.param(
                "@service.handler\nasync def say_hello(request: Greeting) -> Greeting: ...",
                "say_hello is a function; a handler is a class, or an object of one: write `class Say:` with the "
                "method `async def say_hello(self, request: Request) -> Reply`",
                id="function",
            ),
            pytest.param(
                "service.handler(5)", "int has no public method to serve; write `async def hello", id="number"
            ),
            pytest.param("@service.handler\nclass Say:\n    x = 1", "Say has no public method to serve", id="class"),
            pytest.param("service.handler(None)", "NoneType has no public method to serve", id="none"),
            pytest.param(
                "@service.subscriber\nasync def on_greeting(event: Greeting) -> None: ...",
                "a subscriber needs a topic, not <function on_greeting at ",
                id="no-topic",
            ),
            pytest.param(
                'service.subscriber("greetings")(5)', "a subscriber is a function of one event, not 5", id="subscriber"
            ),
            pytest.param(
                'service.subscriber("greetings", concurrency="2")(print)',
                "concurrency='2' is no whole number",
                id="concurrency",
            ),
            pytest.param(
                'service.subscriber("greetings", requires=micro.Capability.DURABLE)(print)',
                "requires=<Capability.DURABLE: 'durable'> is no set of capabilities",
                id="requires",
            ),
            pytest.param("service.lifespan(5)", "a lifespan is an async generator, not 5; write ", id="lifespan"),
            pytest.param("service.before_start(5)", "a hook is a function without arguments, not 5", id="hook"),
        ],
    )
    def test_what_is_handed_to_a_service(self, body: str, said: str, tmp_path: Path) -> None:
        assert refusal(tmp_path, body=body).startswith(f"error: bad.py:12: {said}")

    def test_a_function_that_a_lifespan_would_serve(self, tmp_path: Path) -> None:
        body = "@service.lifespan\nasync def life():\n    service.handler(print)\n    yield"
        assert refusal(tmp_path, body=body).startswith("error: bad.py:14: print is a function; a handler is a class")

    @pytest.mark.parametrize(
        "life",
        [
            pytest.param("    async with client:\n        yield", id="awaited"),
            pytest.param("    blocking.list_services()\n    yield", id="blocking"),
        ],
    )
    def test_an_argument_of_a_client_when_a_service_uses_it(self, life: str, tmp_path: Path) -> None:
        body = (
            "client = micro.Client(registry=5)\n"
            "import micro.sync\nblocking = micro.sync.Client(registry=5)\n"
            f"@service.lifespan\nasync def life():\n{life}"
        )
        line = 12 if "client:" in life else 14
        assert refusal(tmp_path, body=body).startswith(f"error: bad.py:{line}: registry=5 is neither a name nor ")

    def test_the_first_one_counts(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, name="", arguments=", registry=5", body="service.handler(print)")
        assert text.startswith("error: bad.py:6: a service needs a name")

    def test_a_module_elsewhere_is_named_in_full(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "parts.py").write_text("def add(service):\n    service.handler(print)\n")
        text = refusal(tmp_path, body="import parts\nparts.add(service)", PYTHONPATH=f"{elsewhere}")
        assert text.startswith("error: elsewhere/parts.py:2: print is a function")

    def test_a_name_of_the_environment_that_no_registry_carries(self, tmp_path: Path) -> None:
        text = refusal(tmp_path, MICRO_SERVER_NAME="a/b")
        assert text.startswith("error: MICRO_SERVER_NAME in the environment: 'a/b' cannot name a service: ")

    def test_a_name_of_a_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "micro.toml").write_text('[server]\nname = ""\n')
        text = refusal(tmp_path)
        assert text.startswith("error: [server] name in micro.toml: a service needs a name, not ''")
