"""What is wrong with JSON that is meant to be a message."""

from __future__ import annotations

from typing import Any

MOST = 20
"""Problems that are looked for; what comes behind them is not."""


class Misfit(ValueError):
    """What of a JSON value does not fit: pairs of a path, such as `.users[3].email`, and a sentence."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def below(self, part: str | int) -> tuple[tuple[str, str], ...]:
        """The problems as the value that holds this one has them, under a name or an index."""
        step = f"[{part}]" if isinstance(part, int) else f".{part}"
        return tuple((step + path, text) for path, text in self.problems)

    def __str__(self) -> str:
        return self.at("$")

    def at(self, place: str) -> str:
        """All of them on one line; `place` is the path of the message."""
        return "; ".join(f"{text} - at `{place}{path}`" for path, text in self.problems)

    def within(self, text: str) -> str:
        """As `at`, by the text of the error that msgspec made of this one: its own, and the message's path behind."""
        place = text.removeprefix(str(self)).removeprefix(" - at `").removesuffix("`")
        return self.at(place or "$")


def expected(what: str, value: Any) -> Misfit:
    """The misfit of a value of another kind."""
    return Misfit(("", f"Expected `{what}`, got `{'null' if value is None else type(value).__name__}`"))
