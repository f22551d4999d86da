"""What people do wrong, and what goes wrong for them: one clear line and the right exit code, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from micro_cli.nodes import Answer
from micro_cli.rows import figures
from micro_core import Node

Micro = Callable[..., Any]
Started = Callable[..., Any]
Install = Callable[..., None]

NOWHERE = ("-o", "registry.mdns.interfaces=192.0.2.1")
EMPTY = ("-o", "namespace=nobody")

VAULT = """
from dataclasses import dataclass
from micro_core import NotRegistered, Reach, Registry, Secret, hookimpl, option

class Vault(Registry):
    reach = Reach.PROCESS

    @dataclass(frozen=True)
    class Options:
        token: Secret | None = option(None, help="what opens it")

    def __init__(self, options): ...
    async def register(self, service, *, ttl): ...
    async def deregister(self, service): ...
    async def get_service(self, name): raise NotRegistered(name)
    async def list_services(self): return ()
    def watch(self, name): ...

@hookimpl
def micro_registry():
    return Vault
"""


def says(ended: Any, code: int, *texts: str) -> None:
    assert ended.code == code, (ended.out, ended.err)
    assert len(ended.err) == 1, ended.err
    assert "Traceback" not in ended.err[0]
    for text in texts:
        assert text in ended.err[0]


@pytest.mark.parametrize("command", [["list"], ["health"], ["stats"]])
def test_no_services_is_no_error(micro_: Micro, command: list[str]) -> None:
    ended = micro_(*command, *EMPTY)
    says(ended, 0, "no services in registry 'mdns'")
    assert ended.out == []
    assert micro_(*command, "--json", *EMPTY).out == []


ASKING = [
    ["get", "greeter"],
    ["openapi", "greeter"],
    ["client", "greeter"],
    ["call", "greeter", "Say.Hello", "name=x"],
    ["call", "greeter", "Say.Hello", "name=x", "--each"],
    ["stream", "greeter", "Say.Up", "x"],
    ["health", "greeter"],
    ["stats", "greeter"],
]


@pytest.mark.parametrize("command", ASKING)
def test_a_service_that_is_not_there_is_exit_code_3(micro_: Micro, command: list[str]) -> None:
    says(micro_(*command, *EMPTY), 3, "no service 'greeter' in registry 'mdns', namespace 'nobody'")


@pytest.mark.parametrize("command", [*ASKING, ["list"], ["health"], ["stats"]])
def test_a_registry_that_does_not_answer_is_exit_code_4(micro_: Micro, command: list[str]) -> None:
    says(micro_(*command, *NOWHERE), 4, "registry 'mdns' does not answer: multicast DNS on UDP port")


@pytest.mark.parametrize(
    "command", [*ASKING, ["list"], ["publish", "users", "a=1"], ["subscribe", "users"], ["doctor"]]
)
def test_a_registry_that_hangs_is_exit_code_4(
    micro_: Micro, install: Install, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("micro_cli.connection.PATIENCE", 0.2)
    slow = VAULT.replace("name): raise NotRegistered(name)", "name): await anyio.sleep_forever()")
    slow = slow.replace("services(self): return ()", "services(self): await anyio.sleep_forever()")
    install("micro.registry", "slow", "micro_slow", "import anyio" + slow)
    ended = micro_(*command, "--registry", "slow")
    text = "registry 'slow' does not answer within 0.2 s"
    if command == ["doctor"]:
        assert ended.code == 4
        assert text in "\n".join(ended.out)
    else:
        says(ended, 4, text)


SLOTH = """
import os, anyio, micro
service = micro.Service("sloth")

@service.handler
class Say:
    async def word(self, text: str) -> str:
        await anyio.sleep(float(os.environ["SLOW"]))
        return text
"""


def test_a_slow_node_shows_and_holds_nobody_up(micro_: Micro, start: Started, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SLOTH)
    for process in [start("run", "app:service", SLOW=slow) for slow in ("60", "0")]:
        assert any("is registered" in line for line in process.stderr)
    ended = micro_("call", "sloth", "Say.Word", "x", "--each", "--timeout", "1s")
    assert ended.code == 4
    quick, slow = ended.out
    assert quick.endswith('"x"')
    assert "error: 408 Request Timeout" in slow


def test_a_node_that_was_killed_is_exit_code_3_or_4(micro_: Micro, start: Started, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import micro\nservice = micro.Service('ghost')\n")
    process = start("run", "app:service")
    assert any("is registered" in line for line in process.stderr)
    process.kill()
    process.wait()
    ended = micro_("call", "ghost", "Debug.Health", "--timeout", "1s")
    assert ended.code in (3, 4)
    assert len(ended.err) == 1


def test_events_without_a_registry_are_exit_code_4(micro_: Micro) -> None:
    says(micro_("subscribe", "users", *NOWHERE), 4, "registry 'mdns' does not answer")
    says(micro_("publish", "users", "a=1", *NOWHERE), 4, "registry 'mdns' does not answer")


def test_doctor_says_what_to_do_about_a_registry_that_does_not_answer(micro_: Micro) -> None:
    ended = micro_("doctor", "--json", *NOWHERE)
    assert ended.code == 4
    errors = [found for found in map(json.loads, ended.out) if found["level"] == "error"]
    assert {found["kind"] for found in errors} == {"registry"}
    assert all(found["cure"] for found in errors)


def test_a_name_that_is_close_is_suggested(micro_: Micro, greeters: list[int]) -> None:
    says(micro_("get", "greter"), 3, "did you mean 'greeter'?")
    says(micro_("call", "greeter", "Say.Helo"), 3, "known are Say.Fail, Say.Hello", "did you mean 'Say.Hello'?")
    says(micro_("call", "greeter", "Say.Hello", "nam=Ada"), 2, "no field 'nam'", "did you mean 'name'?")
    says(micro_("lits"), 2, "no command 'lits'; did you mean 'list'?")


@pytest.mark.parametrize("command", ["openapi", "client"])
def test_nothing_is_described_that_nobody_registered(
    micro_: Micro, greeters: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    says(micro_(command, "greeter", "--version", "7"), 3, "'greeter' has no version '7'; there is latest")
    (tmp_path / "services.toml").write_text('[[service]]\nname = "bare"\nnodes = ["127.0.0.1:1"]\n')
    monkeypatch.setenv("MICRO_REGISTRY", "static")
    ended = micro_(command, "bare")
    says(ended, 3, "'bare' registered no endpoints, so nothing is known of what it takes")
    assert ended.out == []


def test_a_registry_that_keeps_no_shapes_lets_everything_be_sent(
    micro_: Micro, greeters: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (node,) = json.loads(micro_("get", "greeter", "--json").out[0])["nodes"][:1]
    listed = f'[[service]]\nname = "greeter"\nendpoints = ["Say.Who"]\nnodes = ["{node["address"]}"]\n'
    (tmp_path / "services.toml").write_text(listed)
    monkeypatch.setenv("MICRO_REGISTRY", "static")
    assert micro_("call", "greeter", "Say.Who", "--json", '"me"').out == ['"me"']


@pytest.mark.parametrize("command", ["call", "stream"])
def test_an_endpoint_that_nobody_registers_is_exit_code_3_too(micro_: Micro, greeters: list[int], command: str) -> None:
    says(micro_(command, "greeter", "Debug.Nope", "--json", "{}"), 3, "no endpoint 'Debug.Nope'")


def test_a_node_that_is_gone_is_exit_code_4(micro_: Micro) -> None:
    ended = micro_("call", "greeter", "Say.Hello", "name=x", "--address", "127.0.0.1:1", "--timeout", "200ms")
    says(ended, 4, "127.0.0.1:1", "refused")


def test_an_address_that_is_none_is_one_line(micro_: Micro) -> None:
    ended = micro_("call", "greeter", "Say.Hello", "--address", "nonsense", "--timeout", "200ms")
    assert ended.code in (2, 4)
    assert len(ended.err) == 1


@pytest.mark.parametrize(
    ("arguments", "stdin", "text"),
    [
        (["call", "greeter", "Say.Hello", "--json", "{'a': 1}"], None, "this is not JSON"),
        (["call", "greeter", "Say.Hello", "--json", "-"], "{", "this is not JSON"),
        (["call", "greeter", "Say.Hello", "times:=x"], None, "this is not JSON"),
        (["call", "greeter", "Say.Hello", "times=x"], None, "times: expected a whole number, not 'x'"),
        (["call", "greeter", "Say.Hello", "name"], None, "is not name=value"),
        (["call", "greeter", "Say.Hello", "times=2"], None, "Say.Hello: 'name' is missing (--no-check sends it"),
        (["call", "greeter", "Say.Hello", "times=2", "--each"], None, "Say.Hello: 'name' is missing"),
        (["call", "greeter", "Say.Hello", "name=a", "address.city:=5"], None, "address.city: expected a text, not 5"),
        (["call", "greeter", "Say.Hello", "name=a", "address.street=b"], None, "there is no field 'street'"),
        (["call", "greeter", "Say.Hello", "name=a", "at=noon"], None, "at: expected a date and time"),
        (["call", "greeter", "Say.Hello", "--json", '{"name": 5, "tags": ["a", 3]}'], None,
         "name: expected a text, not 5; tags[1]: expected a text, not 3"),
        (["call", "greeter", "Say.Hello", "--json", '{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}'], None, "; and 2 more"),
        (["call", "greeter", "Say.Who"], None, "Say.Who: expected a text, not {}"),
        (["stream", "greeter", "Say.Up", "--json", "5"], None, "Say.Up: expected a text, not 5"),
        (["stream", "greeter", "Say.Up"], '"a"\n5\n', "Say.Up: expected a text, not 5"),
        (["call", "greeter", "Say.Hello", "name=a", "name=b"], None, "given twice"),
        (["call", "greeter", "Say.Hello", "name=a", "--json", "{}"], None, "not both"),
        (["call", "greeter", "Say.Up", "x"], None, "Say.Up is a stream: micro stream greeter Say.Up"),
        (["stream", "greeter", "Say.Hello", "name=x"], None, "Say.Hello is no stream: micro call"),
        (["stream", "greeter", "Say.Up"], '"a"\nnonsense\n', "this is not JSON: 'nonsense'"),
        (["stream", "greeter", "Say.Up"], '"\udcff"\n', "cannot be sent"),
        (["stream", "greeter", "Say.Up"], "[" * 100_000, "nested too deeply: '[[["),
        (["call", "greeter", "Say.Hello", "--json", "-"], "[" * 100_000, "nested too deeply: '[[["),
        (["publish", "users", "--json", "nonsense"], None, "this is not JSON"),
        (["publish", "", "a=1"], None, "topic"),
        (["call", "greeter", "Say.Hello", "name=a", "--timeout", "soon"], None, "expected a duration"),
        (["call", "greeter", "Say.Hello", "--content-type", "text/none", "name=a"], None, "text/none"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_exit_code_2(
    micro_: Micro, greeters: list[int], arguments: list[str], stdin: str | None, text: str
) -> None:
    ended = micro_(*arguments, stdin=stdin)
    assert ended.code == 2, ended
    assert len(ended.err) == 1
    assert text in ended.err[0]


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ("[server]\naddress = 5\n", "[server] address in"),
        ("[registry.mdns]\nport = 'x'\n", "expected a whole number, not 'x'"),
        ("registry = 3\n", "expected the name of a registry, not 3"),
        ("nonsense", "is not TOML"),
    ],
)
@pytest.mark.parametrize("command", ["list", "config", "doctor", "plugins"])
def test_a_config_file_that_is_wrong_is_exit_code_2(
    micro_: Micro, tmp_path: Path, toml: str, text: str, command: str
) -> None:
    (tmp_path / "micro.toml").write_text(toml)
    ended = micro_(*command.split())
    if command in ("doctor", "plugins") and "mdns" in toml:
        assert ended.code == (2 if command == "doctor" else 0)
        return
    says(ended, 2, text)


CONFIGURED = [*ASKING, *([each] for each in ("list", "health", "stats", "config", "plugins", "doctor"))]
CONFIGURED += [["publish", "users", "a=1"], ["subscribe", "users"], ["run", "app"]]
UNCONFIGURED = [["--help"], ["config", "schema"], ["plugins", "inspect", "mdns"], ["completion", "bash"]]


@pytest.mark.parametrize("command", [*CONFIGURED, *UNCONFIGURED, ["new", "service", "x"]])
def test_every_command_tells_of_a_wrong_type_and_of_a_secret_in_one_line_or_does_without(
    micro_: Micro, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    (tmp_path / "app.py").write_text("import micro\nservice = micro.Service('app')\n")
    (tmp_path / "micro.toml").write_text("[register]\nttl = []\n")
    ended = micro_(*command)
    if command not in CONFIGURED:
        assert (ended.code, ended.err) == (0, [])
        return
    says(ended, 2, "[register] ttl in micro.toml: expected a duration, not []")
    (tmp_path / "micro.toml").unlink()
    monkeypatch.setenv("MICRO_REGISTRY", "consul")
    monkeypatch.setenv("MICRO_REGISTRY_CONSUL_TOKEN_FILE", "/nowhere/token")
    ended = micro_(*command)
    if command == ["plugins"]:  # it says what is installed, whatever it is told
        assert (ended.code, ended.err) == (0, [])
    elif command == ["doctor"]:
        assert ended.code == 2
        assert any("the secret in /nowhere/token cannot be read" in line for line in ended.out)
    else:
        says(ended, 2, "TOKEN_FILE in the environment: the secret in /nowhere/token cannot be read")


def test_a_secret_that_cannot_be_read_is_exit_code_2(micro_: Micro, install: Install) -> None:
    install("micro.registry", "vault", "micro_vault", VAULT)
    chosen = ("--registry", "vault", "-o", "registry.vault.token_file=/nowhere/token")
    for command in ("list", "config"):
        says(micro_(command, *chosen), 2, "registry.vault.token_file on the command line", "/nowhere/token")


def test_a_secret_is_never_shown(micro_: Micro, install: Install, tmp_path: Path) -> None:
    install("micro.registry", "vault", "micro_vault", VAULT)
    (tmp_path / "token").write_text("open-sesame\n")
    chosen = ("--registry", "vault", "-o", f"registry.vault.token_file={tmp_path / 'token'}")
    for form in ((), ("--json",)):
        text = "\n".join(micro_("config", *form, *chosen).out)
        assert "(secret)" in text
        assert "open-sesame" not in text


def test_a_broken_plugin_breaks_only_what_selects_it(micro_: Micro, install: Install) -> None:
    install("micro.registry", "bug", "micro_bug", "1 / 0")
    says(micro_("list", "--registry", "bug"), 2, "registry 'bug' of micro-bug 1.2", "ZeroDivisionError")
    assert micro_("list", *EMPTY).code == 0
    assert any("micro-bug" in line for line in micro_("plugins").out)
    checked = micro_("plugins", "--check")
    assert checked.code == 2
    assert [line.split()[1] for line in checked.out if " no: " in line] == ["bug"]
    assert micro_("doctor", "--registry", "bug").code == 2
    schema = micro_("config", "schema")
    assert schema.code == 0
    assert "micro-bug" in schema.err[0]


def test_a_broken_command_of_a_plugin_breaks_only_itself(micro_: Micro, install: Install) -> None:
    install("micro.command", "bang", "micro_bang", "1 / 0")
    says(micro_("bang"), 2, "the command 'bang' of micro-bang cannot be imported: ZeroDivisionError")
    helped = micro_("--help")
    assert helped.code == 0
    assert any("bang" in line for line in helped.out)


def test_a_plugin_adds_a_command(micro_: Micro, install: Install) -> None:
    code = "import click\n@click.command()\ndef command():\n    click.echo('hello')\n"
    install("micro.command", "hello", "micro_hello", code)
    assert micro_("hello").out == ["hello"]


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        (None, "nothere:x", "there is no module 'nothere'"),
        ("x = ", "app", "SyntaxError: invalid syntax"),
        ("import no_such_library", "app", "app needs the module 'no_such_library'"),
        ("1 / 0", "app", "ZeroDivisionError: division by zero"),
        ("", "app", "holds no services"),
        ("service = 5", "app:service", "is no micro.Service but a int"),
        ("", "app:service", "has no service 'service'"),
        ("", "9to5", "is no name of a module"),
    ],
)
def test_run_says_what_is_wrong_with_a_module(
    micro_: Micro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, target: str, text: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    if source is not None:
        (tmp_path / "app.py").write_text(source)
    says(micro_("run", target), 2, text)


@pytest.mark.parametrize("reply", [None, [1], "fine", 3, {"uptime": "soon", "memory": None, "gc": {}}])
def test_a_reply_of_another_shape_has_a_row_all_the_same(reply: object) -> None:
    answer = Answer("greeter", "1", Node("greeter-1", "127.0.0.1:1"), 0.0, reply)
    assert figures(answer) == ("-", "-", "-", "-")


def test_control_characters_of_strangers_reach_no_terminal(micro_: Micro, greeters: list[int]) -> None:
    ended = micro_("call", "greeter", "Say.Who", "\x1b[31mred")
    assert "\x1b" not in ended.out[0]
    ended = micro_("get", "\x1b[31mred")
    assert ended.code == 3
    assert "\x1b" not in ended.err[0]


def test_without_the_command_the_module_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['micro_cli'] = None; import runpy; runpy.run_module('micro', run_name='__main__')"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.startswith("error: the micro command is not installed; install micro-cli")
