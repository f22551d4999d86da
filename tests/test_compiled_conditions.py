"""What compiled code would decide otherwise is found before anything is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
from conditions import decided_otherwise

TWICE = """
class Link:
    lost: str | None = None

    async def close(self) -> None: ...

    async def end(self) -> str:
        if self.lost is not None:
            return "lost"
        await self.close()
        if {condition}:
            return "lost"
        return "ended"
"""
OVERLOADED = """
from typing import overload

NEVER = 1.5

@overload
def rests(due: float) -> bool: ...

@overload
def rests(due: None) -> None: ...

def rests(due: float | None) -> bool | None:
    return None if due is None else {condition}
"""
NUMBER = """
NEVER = float("inf")

class Timer:
    due: float = NEVER

    def rests(self) -> bool:
        return {condition}
"""


@pytest.mark.parametrize(
    ("module", "condition", "expected"),
    [
        pytest.param(TWICE, "self.lost is not None", ["module.py:11: lost is always None"], id="asked twice for None"),
        pytest.param(TWICE, "self.lost", ["module.py:11: lost is always None"], id="asked twice for its truth"),
        pytest.param(TWICE, "vars(self)['lost']", [], id="asked what nothing is believed of"),
        pytest.param(
            NUMBER,
            "self.due is NEVER",
            ["module.py:8: a number has no identity: compare it by == or !="],
            id="identity of a number",
        ),
        pytest.param(
            OVERLOADED,
            "due is NEVER",
            ["module.py:13: a number has no identity: compare it by == or !="],
            id="within overloads",
        ),
        pytest.param(NUMBER, "self.due == NEVER", [], id="equality of a number"),
    ],
)
def test_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, condition: str, expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("module.py").write_text(module.format(condition=condition))
    assert [str(each) for each in decided_otherwise(["module.py"])] == expected
