"""JSONTestSuite's lists: what must be accepted, what must be refused, and what is made of the rest."""

import ast
import json
from pathlib import Path
from typing import Any

import pydantic
import pytest
from micro_codec_json import JsonCodec
from micro_core import DecodeError


class Anything(pydantic.RootModel[Any]):
    pass


def literal(text: str) -> bytes:
    """The bytes of `b'…'`, `b'…' * 500` and sums of these."""
    return b"".join(
        ast.literal_eval(part) * int(times or 1)
        for part, _, times in (piece.partition(" * ") for piece in text.split(" + b'"))
        for part in [part if part.startswith("b") else f"b'{part}"]
    )


LINES = Path(__file__).with_name("jsontestsuite.txt").read_text().splitlines()
CASES = [line.partition(": ")[::2] for line in LINES if not line.startswith("#")]
ACCEPTED = [literal(text) for verdict, text in CASES if verdict.endswith("accepted")]
REFUSED = [literal(text) for verdict, text in CASES if verdict.endswith("refused")]


def short(body: bytes) -> str:
    return repr(body)[2:60]


def test_the_lists_are_whole() -> None:
    verdicts = [verdict for verdict, _ in CASES]
    assert (verdicts.count("accepted"), verdicts.count("refused")) == (95, 188)
    assert (verdicts.count("either accepted"), verdicts.count("either refused")) == (5, 30)


@pytest.mark.parametrize("body", ACCEPTED, ids=short)
def test_what_is_json_is_read_as_others_read_it(body: bytes) -> None:
    expected = json.loads(body)
    assert JsonCodec().decoder(Any)(body) == expected
    assert JsonCodec().decoder(Anything)(body) == Anything(expected)


@pytest.mark.parametrize("type_", [Any, list[Any], dict[str, Any], None, Anything], ids=repr)
@pytest.mark.parametrize("body", REFUSED, ids=short)
def test_what_is_no_json_is_refused_whatever_is_asked_for(type_: Any, body: bytes) -> None:
    with pytest.raises(DecodeError):
        JsonCodec().decoder(type_)(body)


@pytest.mark.parametrize("body", REFUSED, ids=short)
def test_what_is_no_json_is_refused_where_it_is_passed_over(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError:
        pytest.skip("texts of unknown fields are not decoded")
    outer = b'{"unknown":%s}' % body
    try:
        json.loads(outer)
    except (ValueError, RecursionError):
        with pytest.raises(DecodeError):
            JsonCodec().decoder(None)(outer)
