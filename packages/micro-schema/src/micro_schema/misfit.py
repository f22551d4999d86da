"""What is wrong with a value that is not read by msgspec or pydantic, but by us."""

from __future__ import annotations

from typing import Any

MOST = 20
"""Problems that are looked for; what comes behind them is not."""


class Misfit(ValueError):
    """What of a value does not fit: pairs of a path, such as `.users[3].email`, and a sentence."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def below(self, part: str | int) -> tuple[tuple[str, str], ...]:
        """The problems as the value that holds this one has them, under a name or an index."""
        step = f"[{part}]" if isinstance(part, int) else f".{part}"
        return tuple((step + path, text) for path, text in self.problems)

    def __str__(self) -> str:
        return self.at("")

    def at(self, place: str) -> str:
        """All of them on one line; `place` is the path of the value."""
        return "; ".join(located(f"{place}{path}".removeprefix("."), text) for path, text in self.problems)


def expected(what: str, value: Any) -> Misfit:
    """The misfit of a value of another kind."""
    return Misfit(("", f"Expected `{what}`, got `{'null' if value is None else type(value).__name__}`"))


def located(path: str, text: str) -> str:
    """One problem, for people."""
    return f"{path}: {text}" if path else text
