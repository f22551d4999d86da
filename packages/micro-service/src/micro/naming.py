"""Go Micro's names for what Python calls otherwise."""

from __future__ import annotations


def go_name(name: str) -> str:
    """`hello` and `say_hello` as Go Micro writes them: `Hello`, `SayHello`; a name that is such already stays."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
