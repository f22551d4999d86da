"""Errors of users' own classes: what they take, what crosses the wire, and what a stranger's word may do."""

from __future__ import annotations

import pickle
from enum import Enum
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from micro_core.details import MAX_DETAILS
from micro_core.errors import ConfigurationError, Conflict, Gone, NotFound, Outcome, RPCError, from_wire
from micro_core.revival import check_named, revive, to_wire


class Colour(Enum):
    RED = "red"


class EmailTaken(Conflict):
    kind: ClassVar[str] = "constant"
    email: str
    suggestion: str | None = None


class Rich(EmailTaken):
    parts: tuple[int, ...] = ()
    pair: tuple[str, int] = ("", 0)
    share: float = 0.0
    colour: Colour | None = None
    mode: Literal["a", "b"] = "a"
    table: dict[str, list[bool]] | None = None
    anything: Any = None


class OwnConstructor(NotFound):
    who: str

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} is not there")
        self.who = who


class Unheard(Gone):
    when: bytes


def came(name: str, details: Any, code: int = 409) -> RPCError:
    return from_wire("taken", id="users", code=code, type_name=name, details=details)


def test_fields_are_given_by_name_and_kept() -> None:
    error = EmailTaken("taken", email="a@b", id="users")
    assert (error.email, error.suggestion, error.code, error.detail) == ("a@b", None, 409, "taken")
    assert (error.type_name, error.details) == ("EmailTaken", {"email": "a@b", "suggestion": None})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is EmailTaken
    assert again.details == error.details
    assert Conflict("x").type_name == ""
    assert Conflict("x").details == {}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({}, "needs email="), ({"email": "a", "emial": "b"}, "unexpected argument 'emial'; its fields are email, sugg")],
)
def test_a_wrong_field_is_an_error_where_it_is_raised(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        EmailTaken("taken", **arguments)
    wrong: Any = Conflict
    with pytest.raises(TypeError, match="it has no fields"):
        wrong("taken", email="a")


def test_a_field_may_not_hide_what_every_error_has() -> None:
    for name in ("service", "args", "details", "_private"):
        with pytest.raises(TypeError, match=f"{name} cannot be a detail"):
            type("Bad", (Conflict,), {"__annotations__": {name: str}, "__module__": "users"})
    with pytest.raises(TypeError, match="shared"):
        type("Bad", (Conflict,), {"__annotations__": {"names": list[str]}, "names": [], "__module__": "users"})


def test_what_is_named_comes_back_with_all_that_the_caller_knows() -> None:
    error = came(*to_wire(Rich("", email="a", parts=(1, 2), pair=("x", 1), colour=Colour.RED, table={"a": [True]})))
    error.service, error.attempts, error.outcome = "users", 2, Outcome.ANSWERED
    revived = revive(error, (EmailTaken, Rich))
    assert isinstance(revived, Rich)
    assert (revived.parts, revived.pair, revived.colour, revived.table) == ((1, 2), ("x", 1), Colour.RED, {"a": [True]})
    assert (revived.id, revived.detail, revived.service, revived.attempts) == ("users", "taken", "users", 2)
    own = revive(came(*to_wire(OwnConstructor("Ada")), code=404), (OwnConstructor,))
    assert isinstance(own, OwnConstructor)
    assert own.who == "Ada"
    assert type(revive(error, ())) is type(revive(error, (EmailTaken,))) is Conflict
    assert (error.type_name, error.details["email"]) == ("Rich", "a")


@pytest.mark.parametrize(
    ("name", "details", "code"),
    [
        ("EmailTaken", {}, 409),
        ("EmailTaken", {"email": 3}, 409),
        ("EmailTaken", {"email": True, "suggestion": "x"}, 409),
        ("EmailTaken", {"email": "a", "suggestion": ["x"]}, 409),
        ("EmailTaken", {"email": "a"}, 404),
        ("EmailTaken", {"email": "a"}, 0),
        ("Elsewhere", {"email": "a"}, 409),
        ("Rich", {"email": "a", "mode": "c"}, 409),
        ("Rich", {"email": "a", "pair": ["x"]}, 409),
        ("Rich", {"email": "a", "colour": "blue"}, 409),
        ("Rich", {"email": "a", "colour": {}}, 409),
        ("Rich", {"email": "a", "parts": [True]}, 409),
        ("Rich", {"email": "a", "table": {"a": [1]}}, 409),
    ],
)
def test_what_does_not_fit_is_the_plain_class(name: str, details: Any, code: int) -> None:
    error = came(name, details, code)
    assert revive(error, (EmailTaken, Rich)) is error


def test_a_member_that_the_class_does_not_know_is_left_out() -> None:
    revived = revive(came("EmailTaken", {"email": "a", "service": "root", "__class__": "x"}), (EmailTaken,))
    assert isinstance(revived, EmailTaken)
    assert (revived.service, revived.details) == ("", {"email": "a", "suggestion": None})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["email", "suggestion", *Rich.__micro_details__]) | st.text(), json_values))
def test_whatever_comes_is_one_of_two_classes(details: dict[str, Any]) -> None:
    assert type(revive(came("Rich", details), (Rich,))) in (Rich, Conflict)


def test_only_classes_of_ones_own_can_be_named() -> None:
    class EmailTaken(Conflict):
        """Another of that name."""

    for errors, text in [
        ((Conflict,), "classes of your own"),
        ((ValueError,), "classes of your own"),
        ((Unheard,), "Unheard.when: details hold str"),
        ((EmailTaken, Rich.__bases__[0]), "two classes EmailTaken"),
    ]:
        with pytest.raises(ConfigurationError, match=text):
            check_named(errors)


@pytest.mark.parametrize("value", [b"x", float("nan"), "x" * MAX_DETAILS, object()])
def test_what_no_head_can_hold_is_not_sent(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        to_wire(Rich("", email="a", anything=value))
