from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from micro_core import OptionError, Secret, option
from micro_core.options import make_options, option_fields, parse_duration


class Mode(Enum):
    FAST = "fast"
    SAFE = "safe"


@dataclass(frozen=True, slots=True)
class Options:
    address: str = option("127.0.0.1:8500", help="where")
    size: int = option(3, help="how many", minimum=1, maximum=10)
    wait: float = option(1.0, help="seconds", minimum=0)
    loud: bool = option(False, help="whether")
    path: Path | None = option(None, help="file")
    token: Secret | None = option(None, help="key")
    mode: Mode = option(Mode.SAFE, help="how")
    names: tuple[str, ...] = option((), help="which")


def test_texts_and_values_are_read_alike() -> None:
    texts = {"size": "4", "wait": "1m30s", "loud": "yes", "path": "/x", "mode": "fast", "names": "a, b"}
    values = {"size": 4, "wait": 90, "loud": True, "path": Path("/x"), "mode": Mode.FAST, "names": ["a", "b"]}
    assert make_options(Options, texts) == make_options(Options, values)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("size", "four", "option 'size': expected a whole number, not 'four'"),
        ("size", "0", "0 is below the least allowed, 1"),
        ("size", 11, "11 is above the most allowed, 10"),
        ("size", True, "expected a whole number"),
        ("wait", "5 parsecs", "expected a duration such as"),
        ("wait", "-1", "expected a duration"),
        ("wait", "", "expected a duration"),
        ("wait", "nan", "expected a duration"),
        ("loud", "maybe", "expected true or false"),
        ("mode", "slow", "expected one of fast, safe"),
        ("names", 5, "expected a list"),
        ("address", 5, "expected a text"),
        ("sise", 5, "unknown option 'sise'; known are"),
        ("sise", 5, "did you mean 'size'?"),
    ],
)
def test_a_value_that_cannot_be_read_says_what_was_expected(name: str, value: object, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        make_options(Options, {name: value})
    assert says in str(caught.value)


def test_a_required_option_that_is_missing_is_named() -> None:
    @dataclass(frozen=True)
    class Needs:
        url: str = option(help="where")

    assert option_fields(Needs)["url"].required
    with pytest.raises(OptionError, match="'url' has no default"):
        make_options(Needs, {})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("0.5", 0.5), ("200ms", 0.2), ("5s", 5), ("1m30s", 90), ("2h", 7200), ("1h0.5s", 3600.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@given(st.text())
def test_any_text_is_a_duration_or_an_option_error(text: str) -> None:
    with suppress(OptionError):
        assert parse_duration(text) >= 0


def test_a_secret_is_never_printed() -> None:
    options = make_options(Options, {"token": "hunter2"})
    assert "hunter2" not in repr(options)
    assert "hunter2" not in f"{options.token}"
    assert options.token.reveal() == "hunter2"


def test_a_bad_value_for_a_secret_is_not_printed() -> None:
    with pytest.raises(OptionError) as caught:
        make_options(Options, {"token": ["hunter2"]})
    assert "hunter2" not in str(caught.value)


def test_a_secret_in_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    secret = Secret(path=file)
    assert secret.reveal() == "one"
    file.write_text("three\n")
    assert secret.reveal() == "three"
    file.unlink()
    with pytest.raises(OptionError, match="cannot be read"):
        secret.reveal()


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("x: float = option(float('nan'), help='', minimum=0)", "not nan"),
        ("x: int = option(-5, help='', minimum=0)", "its default: -5 is below"),
        ("x: int = option('five', help='')", "its default: expected a whole number"),
        ("x: str = option('a', help='', minimum=0)", "bounds are for numbers"),
        ("x: tuple[int, str] = option((), help='')", "no option can be a"),
        ("x: tuple[()] = option((), help='')", "no option can be a"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_told(field: str, says: str) -> None:
    names: dict[str, object] = {"option": option, "dataclass": dataclass, "__name__": __name__}
    exec(f"@dataclass(frozen=True)\nclass Bad:\n    {field}\n", names)
    with pytest.raises(OptionError) as caught:
        option_fields(names["Bad"])  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_an_enum_of_numbers_is_read_from_text() -> None:
    class Level(Enum):
        LOW = 1

    @dataclass(frozen=True)
    class Leveled:
        level: Level = option(Level.LOW, help="")

    Leveled.__annotations__["level"] = Level
    assert make_options(Leveled, {"level": "1"}).level is Level.LOW
