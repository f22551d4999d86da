"""Precedence, sources, and every mistake as one clear error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from micro.config import Config
from micro_core import ConfigurationError, NoOptions, OptionError, Secret, option
from micro_core.errors import UnknownPlugin


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str) -> None:
    Path("micro.toml").write_text(text)


def config(code: Mapping[str, object] | None = None, name: str = "greeter", **environment: str) -> Config:
    return Config(name, code or {}, environment=environment)


class Consul:
    """Stands for a plugin with every sort of option."""

    @dataclass(frozen=True, slots=True)
    class Options:
        address: str = option("127.0.0.1:8500", help="agent")
        token: Secret | None = option(None, help="ACL token")
        timeout: float = option(5.0, help="seconds", minimum=0.0)
        dead_letters: int = option(3, help="how many")


class Bare:
    Options = NoOptions


def options(given: Config, name: str = "memory", cls: type[Any] = Consul) -> Any:
    return given.options("registry", name, cls)[0]


def test_each_source_beats_the_next() -> None:
    written('[registry]\nplugin = "mdns"\n')
    environment = {"MICRO_REGISTRY": "memory"}
    code = {"registry": "static"}
    line = {"registry": "other"}
    assert Config("x", code, command_line=line, environment=environment).choice("registry").name == "other"
    assert Config("x", code, environment=environment).choice("registry").name == "memory"
    assert Config("x", code).choice("registry").name == "mdns"
    Path("micro.toml").unlink()
    assert Config("x", code).choice("registry").name == "static"
    assert not Config("x").choice("registry").explicit


def test_a_choice_remembers_where_it_was_written() -> None:
    assert config(MICRO_REGISTRY="memory").choice("registry").source == "MICRO_REGISTRY in the environment"
    written('[registry]\nplugin = "memory"\n')
    assert config().choice("registry").source == "[registry] plugin in micro.toml"
    assert config({"broker": "memory"}).choice("broker").source == "broker in code"


def test_a_kind_alone_may_stand_at_the_top_of_the_file() -> None:
    written('registry = "memory"\n')
    assert config().choice("registry").name == "memory"


def test_options_come_from_every_source_and_the_specific_one_wins() -> None:
    written('[registry.memory]\naddress = "file"\ntimeout = "1m30s"\n')
    given = config(
        {"registry.memory.dead_letters": 7},
        MICRO_REGISTRY_ADDRESS="general",
        MICRO_REGISTRY_MEMORY_ADDRESS="specific",
    )
    assert options(given) == Consul.Options("specific", None, 90.0, 7)
    sources = {value.key: value.source for value in given.values}
    assert sources["registry.memory.address"] == "MICRO_REGISTRY_MEMORY_ADDRESS in the environment"
    assert sources["registry.memory.timeout"] == "[registry.memory] timeout in micro.toml"
    assert sources["registry.memory.dead_letters"] == "registry.memory.dead_letters in code"
    assert sources["registry.memory.token"] == "default"


def test_the_general_option_serves_whichever_plugin_is_chosen() -> None:
    assert options(config(MICRO_REGISTRY_ADDRESS="there")).address == "there"
    assert options(config({"registry.address": "there"})).address == "there"


def test_an_option_for_another_installed_plugin_is_left_alone() -> None:
    given = config({"registry.mdns.address": "x"}, MICRO_REGISTRY_MDNS_ADDRESS="x")
    assert options(given).address == "127.0.0.1:8500"
    assert given.warnings == []


def test_the_longest_installed_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("micro.config.sources.installed_names", lambda _: ("dead", "dead-letters", "memory"))
    given = config(MICRO_REGISTRY_DEAD_LETTERS_ADDRESS="x", MICRO_REGISTRY_DEAD_ADDRESS="y")
    assert options(given, "dead-letters").address == "x"
    assert options(given, "dead").address == "y"


@pytest.mark.parametrize("text", ["5", "5s", "5000ms"])
def test_durations_are_read(text: str) -> None:
    assert options(config(MICRO_REGISTRY_TIMEOUT=text)).timeout == 5.0


def test_an_unparsable_value_names_its_source() -> None:
    with pytest.raises(OptionError, match=r"MICRO_REGISTRY_TIMEOUT in the environment: expected a duration.*'soon'"):
        options(config(MICRO_REGISTRY_TIMEOUT="soon"))
    with pytest.raises(OptionError, match="MICRO_REGISTER_TTL in the environment: expected a duration"):
        config(MICRO_REGISTER_TTL="soon")


def test_a_secret_may_be_named_by_its_file_and_is_never_printed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hush\n")
    given = config(MICRO_REGISTRY_MEMORY_TOKEN_FILE=str(tmp_path / "token"))
    assert options(given).token.reveal() == "hush"
    assert "hush" not in repr(given.values)
    assert "hush" not in repr(options(config(MICRO_REGISTRY_TOKEN="hush")))


def test_a_secret_whose_file_is_missing_is_an_error_at_start() -> None:
    with pytest.raises(OptionError, match="MICRO_REGISTRY_TOKEN_FILE in the environment: the secret in /nowhere"):
        options(config(MICRO_REGISTRY_TOKEN_FILE="/nowhere"))


@pytest.mark.parametrize(
    ("code", "environment", "said"),
    [
        ({"registry.memory.tokne": "x"}, {}, r"registry.memory.tokne in code: .*unknown option 'tokne'.*mean 'token'"),
        ({"registry.tokne": "x"}, {}, r"registry.tokne in code: .*unknown option 'tokne'"),
        ({}, {"MICRO_REGISTRY_MEMORY_TOKNE": "x"}, r"MICRO_REGISTRY_MEMORY_TOKNE in the env.*mean 'token'"),
    ],
)
def test_an_unknown_option_is_an_error_that_names_the_known_ones(
    code: dict[str, object], environment: dict[str, str], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        options(config(code, **environment))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[registry.consl]\ntoken = "x"\n',
            r"\[registry.consl\] token .*: no registry 'consl' is installed",
        ),
        ('[registri]\naddress = "x"\n', "unknown setting 'registri.address' .*did you mean 'registry'\\?"),
        ('[server.memory]\naddress = "x"\n', "no server 'memory' is installed"),
        ("[stop]\ndrian = 5\n", "unknown setting 'stop.drian'.*did you mean 'stop.drain'"),
        ('[service.greeter]\nadress = "x"\n', "unknown setting 'adress'.*did you mean 'address'"),
        ("[registry]\nplugin = 5\n", "expected the name of a registry, not 5"),
        ('[codec]\nplugin = "json"\n', "a codec is chosen by content type"),
        ("[registry\n", "micro.toml is not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_one_error(text: str, said: str) -> None:
    written(text)
    with pytest.raises(ConfigurationError, match=said):
        config()


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.toml cannot be read"):
        config(MICRO_CONFIG="nowhere.toml")
    Path("other.toml").write_text("[stop]\ndrain = 3\n")
    assert config(MICRO_CONFIG="other.toml").settings.stop_drain == 3.0


def test_a_parents_file_is_never_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written("[stop]\ndrain = 3\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert config().settings.stop_drain == 6.0


def test_an_unknown_variable_warns_once_with_a_suggestion() -> None:
    given = config(MICRO_REGISTYR="memory", MICRO_REGISTRY_ADRESS="x", MICRO_CODEC="json")
    options(given)
    assert given.warnings == [
        "MICRO_CODEC in the environment is unknown: a codec is chosen by MICRO_CLIENT_CONTENT_TYPE",
        "MICRO_REGISTYR in the environment is unknown; did you mean MICRO_REGISTRY?",
        "MICRO_REGISTRY_ADRESS in the environment is unknown; did you mean MICRO_REGISTRY_ADDRESS?",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MICRO_SERVICE_HOST", "10.0.0.1"),
        ("MICRO_SERVICE_PORT_HTTP", "80"),
        ("MICRO_REGISTRY_PORT", "tcp://10.0.0.1:8500"),
        ("MICRO_REGISTRY_MEMORY_SERVICE_PORT", "8500"),
        ("MICRO_REGISTRY_MEMORY_PORT_8500_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_kubernetes_injects_is_ignored(name: str, value: str) -> None:
    given = Config(environment={name: value})
    options(given)
    assert given.warnings == []


def test_an_empty_variable_counts_as_absent() -> None:
    assert config(MICRO_REGISTRY="", MICRO_REGISTRY_ADDRESS="").choice("registry").name == "mdns"


@pytest.mark.parametrize("name", ["default", "cache"])
def test_go_micros_selectors_are_random(name: str) -> None:
    assert config(MICRO_SELECTOR=name).plugin("selector").loaded.name == "random"


@pytest.mark.parametrize("name", ["dns", "static"])
def test_go_micros_registries_among_selectors_are_pointed_out(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name!r} is a registry here.*MICRO_REGISTRY={name}"):
        config(MICRO_SELECTOR=name).choice("selector")


def test_an_unknown_plugin_says_where_it_was_selected() -> None:
    with pytest.raises(UnknownPlugin, match=r"'memroy'.*MICRO_REGISTRY in the environment.*did you mean 'memory'"):
        config(MICRO_REGISTRY="memroy").plugin("registry")


def test_a_file_names_no_code() -> None:
    written('[registry]\nplugin = "os:path"\n')
    with pytest.raises(UnknownPlugin, match="a file may name installed plugins only"):
        config().plugin("registry")


def test_settings_of_one_service_beat_those_of_all() -> None:
    written('[server]\naddress = ":1"\n[service.greeter]\naddress = ":2"\nmetadata = {zone = "a"}\n')
    assert config().settings.server_address == ":2"
    assert config().settings.server_metadata == ("zone=a",)
    assert config(name="other").settings.server_address == ":1"


def test_a_service_is_renamed_by_the_environment_when_it_is_alone() -> None:
    assert config(MICRO_SERVER_NAME="hallo").settings.server_name == "hallo"
    given = Config("greeter", environment={"MICRO_SERVER_NAME": "x", "MICRO_SERVER_ADDRESS": ":1"}, beside=["mailer"])
    assert (given.settings.server_name, given.settings.server_address) == ("greeter", "127.0.0.1:0")
    assert "[service.greeter]" in given.warnings[0]


def test_a_table_that_nearly_names_a_service_is_told() -> None:
    written('[service.greter]\naddress = ":1"\nadvertise = "h:1"\n')
    (warning,) = config().warnings
    assert warning.startswith("[service.greter] ")
    assert warning.endswith("in micro.toml is for no service of this process; did you mean [service.greeter]?")
    assert config().settings.server_address == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        ('[service.mailer]\naddress = ":1"\n', ()),
        ('[service.greeter]\naddress = ":1"\n[service.greeter2]\naddress = ":2"\n', ()),
        ('[service.greeter2]\naddress = ":1"\n[service.greeter]\naddress = ":2"\n', ("greeter2",)),
        ('[service.greeter]\naddress = ":1"\n', ("greeter2",)),
    ],
)
def test_a_file_may_serve_other_processes_too(text: str, beside: tuple[str, ...]) -> None:
    written(text)
    assert config().warnings == []
    assert Config("greeter", beside=beside).warnings == []
    assert Config().warnings == []


def test_a_name_with_dots_and_hyphens_has_its_own_section() -> None:
    written('[service."go.micro.my-greeter"]\naddress = ":2"\n')
    assert config(name="go.micro.my-greeter").settings.server_address == ":2"


def test_a_registration_must_be_renewed_before_it_ends() -> None:
    with pytest.raises(OptionError, match=r"register.interval \(30 s\) must be shorter.*MICRO_REGISTER_TTL"):
        config(MICRO_REGISTER_TTL="10")


def test_metadata_is_pairs() -> None:
    with pytest.raises(OptionError, match=r"MICRO_SERVER_METADATA.*expected key=value, not 'zone'"):
        config(MICRO_SERVER_METADATA="zone")


def test_options_make_a_kind_load_at_start_where_a_person_wrote_them() -> None:
    assert not config().written("broker")
    assert config(MICRO_BROKER_ADDRESS=":1").written("broker")
    assert config(MICRO_BROKER_HTTP_ADDRESS=":1").written("broker")
    assert config({"broker.address": ":1"}).written("broker")
    assert not config(MICRO_SERVER_MAX_RUNNING="1").written("server")


def test_a_variable_for_whichever_plugin_is_chosen_does_not_ask_for_one_that_is_not_installed() -> None:
    program = (
        "import importlib_metadata as metadata\n"
        "everything = metadata.distributions\n"
        "metadata.distributions = lambda: (one for one in everything() if one.name != 'micro-broker-http')\n"
        "from micro.config import Config\n"
        "print(Config('x', environment={'MICRO_BROKER_ADDRESS': ':1'}).written('broker'),"
        " Config('x', environment={'MICRO_BROKER': 'http'}).written('broker'))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert told.stdout.split() == ["False", "True"]


class Foreign:
    """Stands for a plugin whose options have defaults in variables of somebody else's."""

    @dataclass(frozen=True, slots=True)
    class Options:
        address: tuple[str, ...] = option(("127.0.0.1:8500",), help="agents", environment="CONSUL_HTTP_ADDR")
        token: Secret | None = option(None, help="ACL token", environment="CONSUL_HTTP_TOKEN")
        tls: bool = option(False, help="whether", environment="CONSUL_HTTP_SSL")


def test_a_foreign_variable_gives_a_default_and_is_shown_as_its_source() -> None:
    given = config(CONSUL_HTTP_ADDR="10.0.0.1:8500", CONSUL_HTTP_TOKEN="abc", CONSUL_HTTP_SSL="true")
    found = options(given, cls=Foreign)
    assert (found.address, found.tls, found.token.reveal()) == (("10.0.0.1:8500",), True, "abc")
    sources = {value.key: value.source for value in given.values}
    assert sources["registry.memory.address"] == "CONSUL_HTTP_ADDR in the environment"
    assert sources["registry.memory.token"] == "CONSUL_HTTP_TOKEN in the environment"


def test_everything_written_for_the_option_itself_beats_a_foreign_variable() -> None:
    foreign = {"CONSUL_HTTP_ADDR": "10.0.0.1:8500", "CONSUL_HTTP_TOKEN": "theirs"}
    assert options(config({"registry.address": "code:1"}, **foreign), cls=Foreign).address == ("code:1",)
    written('[registry.memory]\naddress = ["file:1"]\n')
    assert options(config(**foreign), cls=Foreign).address == ("file:1",)
    assert options(config(**foreign, MICRO_REGISTRY_ADDRESS="ours:1"), cls=Foreign).address == ("ours:1",)
    assert options(config(**foreign, MICRO_REGISTRY_MEMORY_TOKEN="ours"), cls=Foreign).token.reveal() == "ours"


def test_a_foreign_secret_may_stand_in_a_file_and_a_bad_value_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("filed\n")
    assert options(config(CONSUL_HTTP_TOKEN_FILE=str(tmp_path / "token")), cls=Foreign).token.reveal() == "filed"
    with pytest.raises(OptionError, match=r"CONSUL_HTTP_SSL in the environment: expected true or false, not 'maybe'"):
        options(config(CONSUL_HTTP_SSL="maybe"), cls=Foreign)
    with pytest.raises(OptionError, match=r"CONSUL_HTTP_TOKEN_FILE in the environment: the secret in /none"):
        options(config(CONSUL_HTTP_TOKEN_FILE="/none"), cls=Foreign)
    assert options(config(CONSUL_HTTP_ADDR=""), cls=Foreign).address == ("127.0.0.1:8500",)
