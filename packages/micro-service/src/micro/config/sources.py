"""Where values come from, each source brought to one form: entries that know what they are about.

    source         choice                  specific option                general option      setting
    environment    MICRO_REGISTRY          MICRO_REGISTRY_CONSUL_TOKEN    MICRO_REGISTRY_…    MICRO_SERVER_ADDRESS
    file           [registry] plugin=      [registry.consul] token=       [registry] …=       [server] address=
    code, command  registry                registry.consul.token          registry.…          server.address

The environment cannot be split on its underscores alone: the longest installed name wins, hyphens are underscores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from micro_core import ConfigurationError, OptionError
from micro_core.loader import KINDS, plugins
from micro_core.suggest import did_you_mean

from micro.config.settings import KEYS, PER_SERVICE


class Origin(IntEnum):
    """Later ones win."""

    CODE = 1
    FILE = 2
    ENVIRONMENT = 3
    COMMAND_LINE = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One value that a person wrote.

    Attributes:
        kind: `registry` and so on; empty for a setting of the service.
        plugin: the plugin it is for; empty for any.
        option: the option or the setting's field; empty for the choice of the plugin itself.
        service: the service that a setting is for; empty for any.
        source: where it was written, for people.
    """

    kind: str
    plugin: str
    option: str
    value: Any
    origin: Origin
    source: str
    service: str = ""


def installed_names(kind: str) -> tuple[str, ...]:
    """Names of the installed plugins of a kind, without importing any."""
    return tuple(sorted({plugin.name for plugin in plugins(f"micro.{kind}")}))


def from_environment(environment: Mapping[str, str]) -> tuple[list[Entry], list[str]]:
    """The entries among the variables, and the names of those that nothing is known about."""
    entries: list[Entry] = []
    unknown: list[str] = []
    for name in sorted(environment):
        value = environment[name]
        if not name.startswith("MICRO_") or not value or name == "MICRO_CONFIG" or injected(name, value):
            continue
        entry = _variable(name, value)
        if entry is None:
            unknown.append(name)
        else:
            entries.append(entry)
    return entries, unknown


_INJECTED = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")


def injected(name: str, value: str) -> bool:
    """Whether Kubernetes made the variable up for a service that happens to be called micro-something."""
    return bool(_INJECTED.search(name)) or (name.endswith("_PORT") and "://" in value)


def variables() -> Iterator[str]:
    """Every variable that is known without importing a plugin."""
    yield "MICRO_CONFIG"
    yield from (variable(key) for key in KEYS)
    yield from (variable(kind) for kind in KINDS if kind != "codec")


def variable(*parts: str) -> str:
    """The name in the environment: `registry`, `my-consul`, `token` is MICRO_REGISTRY_MY_CONSUL_TOKEN."""
    return "_".join(["MICRO", *(re.sub(r"[^0-9A-Za-z]", "_", part).upper() for part in parts if part)])


def _variable(name: str, value: str) -> Entry | None:
    source = f"{name} in the environment"
    for key, field in KEYS.items():
        if name == variable(key):
            return Entry("", "", field, value, Origin.ENVIRONMENT, source)
    for kind in KINDS:
        prefix = variable(kind)
        if name == prefix and kind != "codec":
            return Entry(kind, "", "", value, Origin.ENVIRONMENT, source)
        if name.startswith(prefix + "_"):
            plugin, option = _split(kind, name)
            if plugin or kind != "codec":
                return Entry(kind, plugin, option, value, Origin.ENVIRONMENT, source)
    return None


def _split(kind: str, name: str) -> tuple[str, str]:
    for plugin in sorted(installed_names(kind), key=len, reverse=True):
        prefix = variable(kind, plugin) + "_"
        if name.startswith(prefix):
            return plugin, name.removeprefix(prefix).lower()
    return "", name.removeprefix(variable(kind) + "_").lower()


def from_file(path: Path) -> list[Entry]:
    """The entries of a file. Raises ConfigurationError for one that cannot be read or is not TOML."""
    import tomllib

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"the config file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the config file {path} is not TOML: {error}") from None
    return [_entry(parts, value, Origin.FILE, f"{_place(parts)} in {path}") for parts, value in _leaves((), tables)]


def _place(parts: tuple[str, ...]) -> str:
    return f"[{'.'.join(parts[:-1])}] {parts[-1]}" if len(parts) > 1 else parts[0]


def _leaves(parts: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    metadata = parts[-1:] == ("metadata",) and parts[:1] in {("server",), ("service",)}
    if isinstance(value, dict) and not metadata:
        for name, inner in value.items():
            yield from _leaves((*parts, name), inner)
    else:
        yield parts, value


def from_mapping(values: Mapping[str, object], origin: Origin) -> list[Entry]:
    """The entries of dotted keys: `options={…}` in code, or the command line's."""
    place = "in code" if origin is Origin.CODE else "on the command line"
    return [_entry(tuple(key.split(".")), value, origin, f"{key} {place}") for key, value in values.items()]


def _entry(parts: tuple[str, ...], value: Any, origin: Origin, source: str) -> Entry:
    parts = (*parts[:-1], parts[-1].replace("-", "_"))
    key = ".".join(parts)
    if key in KEYS:
        return Entry("", "", KEYS[key], _pairs(value), origin, source)
    if parts[0] == "service" and len(parts) > 2:
        return _service_entry(parts, value, origin, source)
    if parts[0] in KINDS:
        return _plugin_entry(parts, value, origin, source)
    raise OptionError(f"unknown setting {key!r} ({source}); {_instead(key, parts[0])}")


def _instead(key: str, section: str) -> str:
    sections = {"service", *KINDS, *(known.partition(".")[0] for known in KEYS)}
    if section != key and section not in sections:
        return did_you_mean(section, sections)
    return did_you_mean(key, {"service", *KINDS, *KEYS})


def _service_entry(parts: tuple[str, ...], value: Any, origin: Origin, source: str) -> Entry:
    option = parts[-1]
    if option not in PER_SERVICE:
        raise OptionError(f"unknown setting {option!r} ({source}); {did_you_mean(option, PER_SERVICE)}")
    return Entry("", "", f"server_{option}", _pairs(value), origin, source, service=".".join(parts[1:-1]))


def _plugin_entry(parts: tuple[str, ...], value: Any, origin: Origin, source: str) -> Entry:
    kind, rest = parts[0], parts[1:]
    if not rest or rest == ("plugin",):
        if kind == "codec":
            raise OptionError(f"{source}: a codec is chosen by content type, as client.content_type")
        if not isinstance(value, str) or not value:
            raise OptionError(f"{source}: expected the name of a {kind}, not {value!r}")
        return Entry(kind, "", "", value, origin, source)
    if len(rest) == 1 and kind != "codec":
        return Entry(kind, "", rest[0], value, origin, source)
    named = {name.replace("-", "_"): name for name in installed_names(kind)}
    plugin = named.get(rest[0].replace("-", "_"))
    if plugin is None or len(rest) != 2:
        raise OptionError(f"{source}: no {kind} {rest[0]!r} is installed; {did_you_mean(rest[0], named.values())}")
    return Entry(kind, plugin, rest[1], value, origin, source)


def _pairs(value: Any) -> Any:
    return tuple(f"{key}={text}" for key, text in value.items()) if isinstance(value, Mapping) else value


def config_path(environment: Mapping[str, str], command_line: Mapping[str, object]) -> Path | None:
    """The file to read: the one that was named, else `micro.toml` in the working directory where there is one."""
    named = command_line.get("config") or environment.get("MICRO_CONFIG")
    if named:
        return Path(str(named))
    here = Path("micro.toml")
    return here if here.is_file() else None
