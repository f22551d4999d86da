"""What a service or client was given in code, as the configuration takes it.

Every function raises ConfigurationError for what it cannot take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from micro_core import ConfigurationError
from micro_core.loader import KINDS

from micro.config.resolve import DEFAULTS


def split_kinds(options: Mapping[str, Any], **kinds: object) -> tuple[dict[str, Any], dict[str, object]]:
    """Options and what was named, by dotted key, and the objects by kind."""
    code, objects = _by_key(options), {}
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


def _by_key(options: Any) -> dict[str, Any]:
    """A copy of the options; no text shows them, since some are secret."""
    if not isinstance(options, Mapping):
        raise ConfigurationError(
            f'options is a mapping such as {{"stop.drain": 5}}, not of type {type(options).__name__}'
        )
    for key in options:
        if not isinstance(key, str):
            raise ConfigurationError(f'options={{{key!r}: …}}: a key is a text such as "stop.drain"')
    return dict(options)


def texts(name: str, given: Any) -> dict[str, str]:
    """A copy of a mapping of texts to texts."""
    if isinstance(given, Mapping) and all(isinstance(text, str) for pair in given.items() for text in pair):
        return dict(given)
    raise ConfigurationError(f'{name}={given!r} is no mapping of texts; write {name}={{"zone": "a"}}')


def functions(name: str, given: Any) -> tuple[Any, ...]:
    """Middleware as a tuple."""
    made = tuple(given) if isinstance(given, Iterable) else (given, None)
    if not all(callable(each) for each in made):
        raise ConfigurationError(f"{name}={given!r} is no sequence of functions; write {name}=[logged]")
    return made


def check_function(given: object, what: str, example: str) -> None:
    """`what` says what it has to be."""
    if not callable(given):
        raise ConfigurationError(f"{what}, not {given!r}; write `{example}`")
