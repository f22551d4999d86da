"""What the fuzzer begins with, and what it once found: every body again, without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from targets import TARGETS

CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_no_body_of_the_corpus_does_anything_else(name: str) -> None:
    run = TARGETS[name].function()
    bodies = sorted((CORPUS / name).iterdir())
    assert bodies
    for body in bodies:
        run(body.read_bytes())


def test_a_value_that_does_not_survive_is_found() -> None:
    class Forgetful(type(TARGETS["bytes"].codec)):  # type: ignore[misc]
        def encoder(self, type_: object) -> object:
            return lambda value: b"else"

    target = TARGETS["bytes"]
    forgetful = type(target)(Forgetful(target.codec.Options()), target.exact)
    with pytest.raises(AssertionError, match="became"):
        forgetful.function()(b"\0abc")
