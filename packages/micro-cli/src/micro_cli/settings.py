"""What `micro config` shows."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from micro.config import DEFAULTS, Config, Resolved
from micro_core import Secret
from micro_core.loader import load_plugin, plugins

HIDDEN = "(secret)"


def values_of(config: Config) -> list[Resolved]:
    """Settings, each kind with its plugin's options, codecs that were told something. Raises ConfigurationError."""
    for kind in DEFAULTS:
        config.plugin(kind)
    for plugin in plugins("micro.codec"):
        if config.has_options("codec", plugin.name):
            config.options("codec", plugin.name, load_plugin("codec", plugin))
    return list(config.values)


def shown(value: Any) -> Any:
    """As JSON has it; a secret is hidden, and an unset one is null."""
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return [shown(each) for each in value] if isinstance(value, tuple) else value
