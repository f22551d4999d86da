"""Names: Go Micro's for what Python calls otherwise, and those that a service may have."""

from __future__ import annotations

from micro_core import ConfigurationError

_LONGEST, _SHOWN = 255, 60


def go_name(name: str) -> str:
    """`hello` and `say_hello` as Go Micro writes them: `Hello`, `SayHello`; a name that is such already stays."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def check_name(name: object) -> None:
    """Raises ConfigurationError for a name that no registry carries, or that cannot stand in the path of a call."""
    if not name or not isinstance(name, str):
        raise ConfigurationError(f'a service needs a name, not {name!r}; write micro.Service("greeter")')
    if len(name) > _LONGEST or not name.isprintable() or not set(name).isdisjoint(" /\\") or name in (".", ".."):
        raise ConfigurationError(
            f"{name[:_SHOWN]!r} cannot name a service: a name has no blanks and none of / and \\, "
            f"and at most {_LONGEST} characters; write for example greeter"
        )
