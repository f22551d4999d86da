"""What `micro doctor` is told by plugins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from micro_core.errors import BrokenPlugin

if TYPE_CHECKING:
    from micro_core.metadata import InstalledPlugin

Level: TypeAlias = Literal["ok", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "error")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `ok`, `warning` (it works, but not as a person may expect) or `error` (it does not work).
        text: what was found, one sentence.
        cure: what to do about it, one sentence; empty for `ok`.
    """

    level: Level
    text: str
    cure: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown level, or one that is not `ok` without a cure."""
        if self.level not in LEVELS:
            raise ValueError(f"the level of a finding is one of {', '.join(LEVELS)}, not {self.level!r}")
        if self.level != "ok" and not self.cure:
            raise ValueError(f"a finding of level {self.level} says what to do about it: {self.text!r} has no cure")


def findings_of(plugin: InstalledPlugin, options: Any = None) -> tuple[Finding, ...]:
    """What an installed plugin's own `micro_doctor` says; empty where it has none.

    Args:
        plugin: its module is imported.
        options: its Options as configured; None for an extension.

    Raises:
        BrokenPlugin: it cannot be imported, its hook fails or answers something else than findings.
    """
    from micro_core.loader import manager_of

    manager, title = manager_of(plugin)
    try:
        answers: list[Iterable[Finding] | None] = manager.hook.micro_doctor(options=options)
        found = [finding for answer in answers for finding in answer or ()]
    except Exception as error:
        raise BrokenPlugin(f"{title}: its hook micro_doctor failed: {type(error).__name__}: {error}") from error
    for finding in found:
        if not isinstance(finding, Finding):
            raise BrokenPlugin(f"{title}: its hook micro_doctor answered {finding!r}, not a micro_core.Finding")
    return tuple(found)
