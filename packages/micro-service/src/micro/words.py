"""What a service or client was given in code, as the configuration takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from micro_core import ConfigurationError
from micro_core.loader import KINDS

from micro.config.resolve import DEFAULTS


def split_kinds(options: Mapping[str, Any], **kinds: object) -> tuple[dict[str, Any], dict[str, object]]:
    """Dotted keys for what was named, and the objects by kind. Raises ConfigurationError for neither."""
    code, objects = dict(options), {}
    for kind, given in kinds.items():
        if given is None:
            continue
        if isinstance(given, str):
            code[kind] = given
        elif isinstance(given, KINDS[kind]):
            objects[kind] = given
        else:
            raise ConfigurationError(
                f"{kind}={given!r} is neither a name nor an object of class micro_core.{KINDS[kind].__name__}; write "
                f'{kind}="{DEFAULTS[kind]}", or hand over such an object'
            )
    return code, objects
