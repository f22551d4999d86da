"""Heads and errors, whatever their bytes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_core import Message, Outcome, Peer, Reply, RPCError, StreamCall, UnaryCall, errors
from micro_rpc.wire import error_text, outgoing_metadata, read_error, refusal_of, remaining, user_metadata
from micro_transport_memory import MemoryTransport
from rpc_rig import rig_of, streaming, unary

NAMES = st.sampled_from(
    "micro-endpoint micro-method x-micro-endpoint micro-stream micro-id timeout content-type :path :method origin "  # noqa: SIM905
    "micro-error micro-service remote grpc-timeout grpc-encoding x".split()
)
VALUES = st.text() | st.sampled_from(
    [
        "Say.Hello",
        "Say.Chat",
        "application/json",
        "application/octet-stream",
        "/greeter/Say.Hello",
        "application/grpc+json",
        "/greeter.Say/Hello",
        "1S",
        "1",
        "-1",
        "POST",
    ]
)


def test_accept_never_raises() -> None:
    async def chat(call: Any) -> Reply:
        return Reply()

    async def main() -> None:
        async with rig_of(lambda: MemoryTransport(MemoryTransport.Options(address="wire"))) as rig:
            listener: Any = await rig.serve(unary(lambda call: None), streaming(chat))

            @settings(max_examples=300, deadline=None)
            @given(st.dictionaries(NAMES, VALUES))
            def check(head: dict[str, str]) -> None:
                found = listener._inner._accept(head, Peer("x"))
                assert isinstance(found, Message | UnaryCall | StreamCall)

            check()

    asyncio.run(main())


@given(st.text())
def test_any_text_is_an_error(text: str) -> None:
    error = read_error(text)
    assert isinstance(error, RPCError)
    str(error)


@given(st.dictionaries(st.sampled_from(["id", "code", "detail", "status"]), st.none() | st.text() | st.integers()))
def test_any_json_is_an_error(fields: dict[str, Any]) -> None:
    error = read_error(json.dumps(fields))
    assert isinstance(error.code, int)
    assert isinstance(error.detail, str)
    assert isinstance(error.status, str)


def test_errors_of_go_micro() -> None:
    text = '{"id":"go.micro.srv.x","code":404,"detail":"no","status":"Not Found"}'
    error = read_error(text)
    assert isinstance(error, errors.NotFound)
    assert error_text(error, "mine") == text
    sparse = read_error('{"id":"x","detail":"no"}')
    assert (type(sparse), sparse.code, sparse.detail) == (RPCError, 0, "no")
    bare = read_error("rpc: can't find method X")
    assert (bare.id, bare.code, bare.detail, bare.status) == ("", 0, "rpc: can't find method X", "")


def test_an_error_that_cannot_be_json_is_a_text() -> None:
    odd: Any = errors.NotFound(["not", "a", "text"])  # type: ignore[arg-type]
    assert json.loads(error_text(odd, "x"))["detail"] == "['not', 'a', 'text']"


@pytest.mark.parametrize(
    ("head", "outcome"),
    [
        ({"micro-error": '{"code":503}'}, Outcome.ANSWERED),
        ({"micro-error": '{"code":503}', "micro-unprocessed": "1"}, Outcome.NOT_PROCESSED),
        ({"micro-error": '{"code":408}'}, Outcome.UNKNOWN),
        ({"x-micro-error": "old"}, Outcome.ANSWERED),
        ({":status": "500"}, Outcome.ANSWERED),
        ({":status": "9" * 5000}, Outcome.ANSWERED),
    ],
)
def test_outcomes(head: dict[str, str], outcome: Outcome) -> None:
    error = refusal_of(head)
    assert error is not None
    assert error.outcome is outcome


def test_a_reply_without_an_error_is_none() -> None:
    assert refusal_of({":status": "200", "micro-error": ""}) is None
    assert refusal_of({}) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("1000000000", 1.0), ("1", 1e-9), ("0", 0.0), ("-7", 0.0), ("5s", None), ("", None)]
)
def test_timeouts(text: str, seconds: float | None) -> None:
    assert remaining(text) == seconds


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_metadata_that_is_sent_is_what_arrives_or_an_error(metadata: dict[str, str]) -> None:
    try:
        sent = outgoing_metadata(metadata)
    except ValueError:
        return
    assert user_metadata(sent) == sent
    assert all((name == name.lower() and value.isascii()) or value.encode() for name, value in sent.items() if value)


class Taken(errors.Conflict):
    email: str


def test_an_error_of_a_users_class_has_two_members_more_that_go_leaves_out() -> None:
    text = error_text(Taken("taken", email="ä"), "users")
    fields = json.loads(text)
    assert text.isascii()
    assert fields == {
        "id": "users", "code": 409, "detail": "taken", "status": "Conflict", "type": "Taken", "details": {"email": "ä"},
    }  # fmt: skip
    error = read_error(text)
    assert type(error) is errors.Conflict
    assert (error.type_name, error.details) == ("Taken", {"email": "ä"})
    assert json.loads(error_text(error, "front")) == fields


@pytest.mark.parametrize("member", ['"type":3,"details":{}', '"type":"Taken","details":[]', '"details":{"email":"a"}'])
def test_members_of_another_kind_are_left_out(member: str) -> None:
    error = read_error(f'{{"code":409,"detail":"taken",{member}}}')
    assert type(error) is errors.Conflict
    assert error.details == {}
