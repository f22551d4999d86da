"""`micro plugins`: what is installed, from metadata; what loads, by loading it; what each can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from enum import Enum
from typing import Any

from micro.config import DEFAULTS, Config
from micro.config.sources import variable
from micro_core import ConfigurationError
from micro_core.loader import EXTENSIONS, KINDS, load_plugin, manager_of, plugins
from micro_core.metadata import InstalledPlugin
from micro_core.options import OptionField, option_fields

from micro_cli.ending import Misused, NotThere
from micro_cli.output import emit, say, table
from micro_cli.settings import shown

ALL = (*KINDS, "extension", "command")


@dataclass(frozen=True, slots=True)
class Entry:
    """One installed plugin."""

    kind: str
    plugin: InstalledPlugin
    selected: bool
    trouble: str = ""

    def value(self, *, check: bool) -> dict[str, Any]:
        """For programs."""
        plugin = self.plugin
        return {
            "kind": self.kind,
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "module": plugin.module,
            "selected": self.selected,
            **({"loads": not self.trouble, "error": self.trouble or None} if check else {}),
        }


def entries(config: Config, *, check: bool) -> list[Entry]:
    """Every plugin; with `check`, each is imported and what is wrong with it noted. Raises ConfigurationError."""
    chosen = {kind: config.choice(kind).name.partition("@")[0] for kind in DEFAULTS}
    off = config.settings.extensions_disabled
    found = []
    for kind in ALL:
        for plugin in plugins(f"micro.{kind}"):
            selected = chosen.get(kind) == plugin.name or (kind == "extension" and plugin.name not in off)
            found.append(Entry(kind, plugin, selected, _trouble(kind, plugin) if check else ""))
    return found


def _trouble(kind: str, plugin: InstalledPlugin) -> str:
    try:
        if kind in KINDS:
            load_plugin(kind, plugin)
        elif kind == EXTENSIONS.removeprefix("micro."):
            manager_of(plugin)
    except ConfigurationError as error:
        return str(error)
    return ""


def print_entries(found: Sequence[Entry], *, programs: bool, check: bool) -> None:
    """A line for each."""
    if programs:
        for entry in found:
            emit(entry.value(check=check))
        return
    headers = ("KIND", "NAME", "DISTRIBUTION", "VERSION", "SELECTED", *(("LOADS",) if check else ()))
    rows = []
    for entry in found:
        plugin, selected = entry.plugin, "yes" if entry.selected else ""
        loads = (f"no: {entry.trouble}" if entry.trouble else "yes",) if check else ()
        rows.append((entry.kind, plugin.name, plugin.distribution, plugin.version, selected, *loads))
    table(headers, rows)


@dataclass(frozen=True, slots=True)
class Inspected:
    """One plugin with its class, where its kind has one."""

    kind: str
    plugin: InstalledPlugin
    cls: type[Any] | None

    @property
    def fields(self) -> Sequence[OptionField]:
        """Its options."""
        return tuple(option_fields(self.cls.Options).values()) if self.cls is not None else ()


def inspected(written: str) -> list[Inspected]:
    """The plugins of that name, of every kind or of the one before the slash. Raises NotThere, ConfigurationError."""
    kind, _, name = written.rpartition("/")
    if kind and kind not in ALL:
        raise Misused(f"there is no kind of plugin {kind!r}; known are {', '.join(ALL)}")
    found = [
        Inspected(each, plugin, load_plugin(each, plugin) if each in KINDS else None)
        for each in ALL
        for plugin in plugins(f"micro.{each}")
        if plugin.name == name and kind in ("", each)
    ]
    if not found:
        from micro_core.suggest import did_you_mean

        known = {plugin.name for each in ALL for plugin in plugins(f"micro.{each}") if kind in ("", each)}
        raise NotThere(f"no plugin {written!r} is installed; {did_you_mean(name, known)}")
    return found


def print_inspected(each: Inspected, *, programs: bool) -> None:
    """Where it comes from and what it can be told."""
    plugin = each.plugin
    if programs:
        emit(
            {
                "kind": each.kind, "name": plugin.name, "distribution": plugin.distribution, "version": plugin.version,
                "module": plugin.module, "class": each.cls.__qualname__ if each.cls else None,
                "options": [_option_value(each, field) for field in each.fields],
            }
        )  # fmt: skip
        return
    say(f"{each.kind} {plugin.name}: {plugin.distribution} {plugin.version}, module {plugin.module}")
    if each.cls is not None and each.cls.__doc__:
        say(each.cls.__doc__.strip().splitlines()[0])
    if each.fields:
        say("")
        rows = [
            (field.name, _type(field), _default(field), _help(field), _variable(each, field)) for field in each.fields
        ]
        table(("OPTION", "TYPE", "DEFAULT", "MEANING", "VARIABLE"), rows)
    say("")


def _option_value(each: Inspected, field: OptionField) -> dict[str, Any]:
    default = None if field.required or field.secret else shown(field.default)
    return {
        "option": field.name, "type": _type(field), "required": field.required, "default": default,
        "help": field.help, "variable": _variable(each, field),
    }  # fmt: skip


def _variable(each: Inspected, field: OptionField) -> str:
    return variable(each.kind, each.plugin.name, field.name)


def _type(field: OptionField) -> str:
    if issubclass(field.type, Enum):
        bare = "|".join(str(member.value) for member in field.type)
    else:
        bare = {"str": "text", "int": "number", "float": "seconds", "Path": "path"}.get(
            field.type.__name__, field.type.__name__.lower()
        )
    return f"{bare},..." if field.many else bare


def _default(field: OptionField) -> str:
    if field.default is MISSING:
        return "(required)"
    value = shown(field.default)
    return "-" if value in (None, "", []) else ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _help(field: OptionField) -> str:
    bounds = [f"at least {field.minimum:g}"] if field.minimum is not None else []
    bounds += [f"at most {field.maximum:g}"] if field.maximum is not None else []
    return f"{field.help} ({', '.join(bounds)})" if bounds else field.help
