"""From what people wrote to what a service is built with. Every value remembers where it came from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from micro_core import ConfigurationError, OptionError, Secret
from micro_core.loader import Loaded, load
from micro_core.options import OptionField, make_options, option_fields, unknown_option

from micro.config.settings import FIELDS, KEYS, Settings, check_settings
from micro.config.sources import (
    Entry,
    Origin,
    config_path,
    from_environment,
    from_file,
    from_mapping,
    installed_names,
    variable,
    variables,
)

DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "registry": "mdns",
        "selector": "random",
        "transport": "http",
        "broker": "http",
        "client": "rpc",
        "server": "rpc",
    }
)
_ALIASES = {("selector", "default"): "random", ("selector", "cache"): "random"}
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A value and its source, as `micro config` prints it. A secret prints as `Secret(…)`."""

    key: str
    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The plugin that was chosen for a kind: its name and where that was written."""

    kind: str
    name: str
    source: str
    origin: Origin | None

    @property
    def explicit(self) -> bool:
        """Whether a person chose it."""
        return self.origin is not None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plugin class with its options, ready to be built."""

    loaded: Loaded[Any]
    options: Any
    source: str
    given: frozenset[str]
    """The options that a person set."""


class Config:
    """Everything that was written about one service or client.

    Args:
        name: the service's name in code.
        code: its other words in code, by dotted key: kinds by name, `server.version`, options.
        command_line: dotted keys from a command line, for whoever parses one; `config` names the file.
        environment: the process's variables.
        beside: the other services of the process; where there are any, MICRO_SERVER_NAME and the like apply to none.

    Raises:
        ConfigurationError: something cannot be read or is unknown; the text says where it was written.
    """

    def __init__(
        self,
        name: str = "",
        code: Mapping[str, object] = MappingProxyType({}),
        *,
        command_line: Mapping[str, object] = MappingProxyType({}),
        environment: Mapping[str, str] = MappingProxyType({}),
        beside: Collection[str] = (),
    ) -> None:
        self.path: Path | None = config_path(environment, command_line)
        written, self._unknown = from_environment(environment)
        self._entries = [
            *from_mapping(code, Origin.CODE),
            *(from_file(self.path) if self.path else ()),
            *written,
            *from_mapping({key: command_line[key] for key in command_line if key != "config"}, Origin.COMMAND_LINE),
        ]
        self._environment = environment
        self._chosen: dict[str, Chosen] = {}
        self._values: list[Resolved] = []
        self.warnings: list[str] = [_unknown_variable(name, variables()) for name in self._unknown]
        self.warnings += self._near_misses({name, *beside} - {""})
        self.settings = self._read_settings(name, several=bool(beside))

    @property
    def values(self) -> tuple[Resolved, ...]:
        """Every value resolved so far, settings first; a plugin's once it was asked for."""
        return tuple(self._values)

    def new_warnings(self) -> list[str]:
        """What was found since the last time that a person should know, though it is no error."""
        found, self.warnings = self.warnings, []
        return found

    def source(self, key: str) -> str:
        """Where a setting was written: `MICRO_SERVER_ADDRESS in the environment`, or `default`."""
        return next(value.source for value in self._values if value.key == key)

    def choice(self, kind: str) -> Choice:
        """Which plugin of the kind, and who said so. Raises ConfigurationError."""
        entries = [entry for entry in self._entries if entry.kind == kind and not entry.option]
        if not entries:
            return Choice(kind, DEFAULTS[kind], _DEFAULT, None)
        entry = max(entries, key=lambda entry: entry.origin)
        name = str(entry.value)
        if name not in installed_names(kind):
            _refuse_registry_as_selector(kind, name, entry.source)
            name = _ALIASES.get((kind, name), name)
        return Choice(kind, name, entry.source, entry.origin)

    def written(self, kind: str) -> bool:
        """Whether the kind must be loaded at start: a person chose it, or gave options for it.

        Variables for whichever plugin is chosen may be meant for other programs: they ask for no default that is not
        installed, and for no server, which whoever serves loads anyway.
        """
        chosen = self.choice(kind)
        at_hand = kind != "server" and chosen.name in installed_names(kind)
        return chosen.explicit or any(
            at_hand or entry.plugin or entry.origin is not Origin.ENVIRONMENT
            for entry in self._of_plugin(kind, chosen.name)
        )

    def plugin(self, kind: str) -> Chosen:
        """Loads the chosen plugin's class and reads its options; once. Raises ConfigurationError."""
        if kind not in self._chosen:
            choice = self.choice(kind)
            loaded = load(
                kind, choice.name, selected_by=_selected_by(choice), references=choice.origin is not Origin.FILE
            )
            self._values.append(Resolved(kind, choice.name, choice.source))
            options, given = self.options(kind, loaded.name, loaded.cls)
            self._chosen[kind] = Chosen(loaded, options, choice.source, given)
        return self._chosen[kind]

    def options(self, kind: str, name: str, cls: type[Any]) -> tuple[Any, frozenset[str]]:
        """The Options of a plugin class, and the names of those that were given. Raises OptionError."""
        fields = option_fields(cls.Options)
        found = {field: self._foreign(declared) for field, declared in fields.items() if self._variable_of(declared)}
        for entry in self._of_plugin(kind, name):
            field, value = self._read(entry, fields, name)
            if field:
                found[field] = value, entry.source
        for field, declared in fields.items():
            value, source = found.get(field, (declared.default, _DEFAULT))
            self._values.append(Resolved(f"{kind}.{name}.{field}", value, source))
        try:
            return make_options(cls.Options, {key: value for key, (value, _) in found.items()}), frozenset(found)
        except OptionError as error:
            raise OptionError(f"{kind} {name!r}: {error}") from None

    def _variable_of(self, declared: OptionField) -> str:
        """The variable of somebody else's that is set and gives the default of an option; empty for none."""
        names = [declared.environment] if declared.environment else []
        names += [f"{name}_FILE" for name in names if declared.secret]
        return next((name for name in names if self._environment.get(name)), "")

    def _foreign(self, declared: OptionField) -> tuple[Any, str]:
        name = self._variable_of(declared)
        text, source = self._environment[name], f"{name} in the environment"
        try:
            value = Secret(path=Path(text)) if name != declared.environment else declared.read(text)
            if isinstance(value, Secret):
                value.reveal()
        except OptionError as error:
            raise OptionError(f"{source}: {error}") from None
        return value, source

    def has_options(self, kind: str, name: str) -> bool:
        """Whether anything was written for that one plugin."""
        return any(entry.kind == kind and entry.plugin == name for entry in self._entries)

    def _of_plugin(self, kind: str, name: str) -> list[Entry]:
        entries = [entry for entry in self._entries if entry.kind == kind and entry.option]
        mine = [entry for entry in entries if entry.plugin in ("", name)]
        return sorted(mine, key=lambda entry: (entry.origin, bool(entry.plugin)))

    def _read(self, entry: Entry, fields: Mapping[str, OptionField], name: str) -> tuple[str, Any]:
        option, from_path = entry.option, False
        if option not in fields:
            base = option.removesuffix("_file")
            from_path = base != option and base in fields and fields[base].secret
            if not from_path:
                self._unknown_option(entry, fields, name)
                return "", None
            option = base
        try:
            value = Secret(path=Path(str(entry.value))) if from_path else fields[option].read(entry.value)
            if isinstance(value, Secret):
                value.reveal()
        except OptionError as error:
            raise OptionError(f"{entry.source}: {error}") from None
        return option, value

    def _unknown_option(self, entry: Entry, fields: Mapping[str, OptionField], name: str) -> None:
        if entry.origin is not Origin.ENVIRONMENT or entry.plugin:
            known_here = fields if entry.plugin else {**fields, **_settings_of(entry.kind)}
            raise OptionError(f"{entry.source}: {entry.kind} {name!r}: {unknown_option(entry.option, known_here)}")
        known = [*variables(), *(variable(entry.kind, field) for field in fields)]
        self.warnings.append(_unknown_variable(entry.source.split()[0], known))

    def _read_settings(self, name: str, *, several: bool) -> Settings:
        found: dict[str, tuple[Any, str]] = {"server_name": (name, "in code")} if name else {}
        for entry in sorted(self._of_service(name), key=lambda entry: (entry.origin, bool(entry.service))):
            if several and entry.origin is Origin.ENVIRONMENT and entry.option in _ONE_SERVICE:
                self.warnings.append(
                    f"{entry.source} is not applied: this process runs several services; "
                    f"write [service.{name}] in micro.toml"
                )
                continue
            try:
                found[entry.option] = FIELDS[entry.option].read(entry.value), entry.source
            except OptionError as error:
                raise OptionError(f"{entry.source}: {error}") from None
        settings: Settings = make_options(Settings, {field: value for field, (value, _) in found.items()})
        check_settings(settings, {field: source for field, (_, source) in found.items()})
        for key, field in KEYS.items():
            self._values.append(Resolved(key, getattr(settings, field), found.get(field, (None, _DEFAULT))[1]))
        return settings

    def _near_misses(self, running: Collection[str]) -> Iterable[str]:
        """Tables for no service here that are nearly named as one which has none; a file may serve other processes."""
        tables = {entry.service: entry.source for entry in self._entries if entry.service}
        bare = [name for name in running if name not in tables]
        for table in sorted(tables.keys() - running) if bare else ():
            for close in _close(table, bare):
                yield f"{tables[table]} is for no service of this process; did you mean [service.{close}]?"

    def _of_service(self, name: str) -> Iterable[Entry]:
        return (entry for entry in self._entries if not entry.kind and entry.service in ("", name))


_ONE_SERVICE = frozenset({"server_name", "server_address", "server_advertise"})


def _settings_of(kind: str) -> dict[str, OptionField]:
    """Settings that are written like an option of the kind: `server.address` beside the options of the server."""
    return {key.removeprefix(f"{kind}."): FIELDS[field] for key, field in KEYS.items() if key.startswith(f"{kind}.")}


def _selected_by(choice: Choice) -> str:
    return choice.source if choice.explicit else f"default; choose another by {variable(choice.kind)}"


def _refuse_registry_as_selector(kind: str, name: str, source: str) -> None:
    if (kind, name) in {("selector", "dns"), ("selector", "static")}:
        raise ConfigurationError(f"{source}: {name!r} is a registry here, not a selector: write MICRO_REGISTRY={name}")


def _unknown_variable(name: str, known: Iterable[str]) -> str:
    if name == "MICRO_CODEC":
        return f"{name} in the environment is unknown: a codec is chosen by MICRO_CLIENT_CONTENT_TYPE"
    return f"{name} in the environment is unknown" + "".join(
        f"; did you mean {close}?" for close in _close(name, known)
    )


def _close(name: str, known: Iterable[str]) -> list[str]:
    """The nearest of the known names, where one is near."""
    from difflib import get_close_matches

    return get_close_matches(name, list(known), n=1, cutoff=0.6)
