"""The options of every installed plugin and the settings of a service, as MyST text. Knows nothing of Sphinx."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from micro.config.settings import KEYS, Settings
from micro.config.sources import variable
from micro_core import Secret
from micro_core.loader import KINDS, load, plugins
from micro_core.options import OptionField, option_fields

TYPES = {str: "text", int: "whole number", float: "seconds", bool: "true or false", Path: "path", Secret: "secret"}


def plugin_options(kind: str) -> str:
    """A section for every installed plugin of a kind, with an entry for each of its options."""
    return "\n".join(line for plugin in plugins(f"micro.{kind}") for line in _plugin(kind, plugin.name))


def settings() -> str:
    """An entry for every setting of a service."""
    fields = option_fields(Settings)
    return "\n".join(
        line for key, name in KEYS.items() for line in _entry(key, variable(*key.split(".")), fields[name])
    )


def kinds_with_plugins() -> tuple[str, ...]:
    """The kinds that anything is installed for."""
    return tuple(kind for kind in KINDS if plugins(f"micro.{kind}"))


def _plugin(kind: str, name: str) -> Iterator[str]:
    loaded = load(kind, name)
    assert loaded.plugin is not None
    yield f"## {kind} {name}\n"
    chosen = f"`{variable(kind)}={name}`, from" if kind != "codec" else "From"
    yield f"{chosen} `{loaded.plugin.distribution}`. {_first_sentence(loaded.cls)}\n"
    fields = option_fields(loaded.cls.Options)
    if not fields:
        yield "It has no options.\n"
    for option, field in fields.items():
        yield from _entry(f"{kind}.{name}.{option}", variable(kind, name, option), field)


def _first_sentence(cls: type[Any]) -> str:
    summary = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    summary = re.sub(r"\s*\(WIRE §[^)]*\)", "", summary)
    return summary if summary.endswith((".", ":")) else f"{summary}."


def _entry(key: str, name: str, field: OptionField) -> Iterator[str]:
    yield f"````{{confval}} {key}"
    yield f":type: {_type(field)}"
    yield f":default: {_default(field)}"
    yield ""
    yield f"{_sentence(field.help)}{_bounds(field)}\n"
    also = f" (or the file that `{name}_FILE` names)" if field.secret else ""
    default_from = f"; its default comes from `{field.environment}`" if field.environment else ""
    yield f"Environment: `{name}`{also}{default_from}"
    yield "````\n"


def _type(field: OptionField) -> str:
    if issubclass(field.type, Enum):
        bare = "one of " + ", ".join(f"`{member.value}`" for member in field.type)
    else:
        bare = TYPES[field.type]
    return f"{bare}, several with commas between" if field.many else bare


def _default(field: OptionField) -> str:
    if field.required:
        return "none: it must be given"
    value = field.default
    if value is None or value == "" or value == () or (field.secret and not value):
        return "none"
    if isinstance(value, tuple):
        return f"`{','.join(str(part) for part in value)}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _sentence(help_text: str) -> str:
    text = help_text.rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _bounds(field: OptionField) -> str:
    least = f" At least {field.minimum:g}." if field.minimum is not None else ""
    return least + (f" At most {field.maximum:g}." if field.maximum is not None else "")
