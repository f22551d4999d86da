from __future__ import annotations

import pickle

import pytest
from micro_core import Outcome, RPCError, ServiceNotFound, errors


def test_every_status_has_one_class_and_is_revived_as_it() -> None:
    kinds = RPCError.__subclasses__()
    assert len({kind.default_code for kind in kinds}) == len(kinds)
    for kind in kinds:
        revived = errors.from_wire("why", id="svc", code=kind.default_code)
        assert type(revived) is kind
        assert revived.status == errors.phrase(kind.default_code) != ""


@pytest.mark.parametrize("code", [0, 418, 999, -1])
def test_a_code_without_a_class_keeps_its_number(code: int) -> None:
    error = errors.from_wire("why", id="svc", code=code, status="custom")
    assert type(error) is RPCError
    assert (error.code, error.status, error.detail, error.id) == (code, "custom", "why", "svc")


def test_service_not_found_is_never_revived_from_the_wire() -> None:
    assert type(errors.from_wire("x", code=503)) is errors.ServiceUnavailable
    assert ServiceNotFound("x").outcome is Outcome.NOT_PROCESSED


def test_the_text_names_what_was_called_where_and_how_often() -> None:
    error = errors.NotFound("no such user")
    assert str(error) == "404 Not Found: no such user"
    error.service, error.endpoint, error.node, error.attempts, error.elapsed = "users", "Users.Get", "users-1", 2, 0.25
    assert str(error) == ("404 Not Found: no such user (users Users.Get at users-1, 2 attempts, 0.250 s, answered)")


def test_errors_survive_pickling() -> None:
    error = errors.Conflict("taken", id="users")
    error.attempts, error.outcome = 3, Outcome.ANSWERED
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is errors.Conflict
    assert copy.__dict__ == error.__dict__
    assert str(copy) == str(error)


def test_the_tree_at_the_top_of_the_module_names_every_error() -> None:
    assert errors.__doc__ is not None
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.MicroError):
            assert name in errors.__doc__


def test_transport_errors_survive_pickling() -> None:
    copy = pickle.loads(pickle.dumps(errors.TransportError("why", errors.Reset.GONE, processed=True)))
    assert (str(copy), copy.reason, copy.processed) == ("why", errors.Reset.GONE, True)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (413, "Request Entity Too Large"),
        (414, "Request URI Too Long"),
        (416, "Requested Range Not Satisfiable"),
        (418, "I'm a teapot"),
        (422, "Unprocessable Entity"),
        (599, ""),
    ],
)
def test_phrases_are_gos_in_every_release_of_python(code: int, status: str) -> None:
    assert errors.RPCError("", code=code).status == status
