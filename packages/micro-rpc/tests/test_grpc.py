"""gRPC without HTTP: heads, statuses, timeouts, calls over the memory transport. With grpcio: `tests/test_grpc.py`."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from micro_core import Call, EndOfStream, Message, Node, Outcome, Reply, RPCError, errors
from micro_rpc import grpc_status
from micro_rpc.grpc import GRPC
from micro_rpc.routing import Served
from rpc_rig import Rig, hello, streaming, unary

JSON = "application/grpc+json"
GO_MICRO = '{"id":"go.micro.srv.greeter","code":404,"detail":"no such name","status":"Not Found"}'
GO_MICRO_DETAILS = (
    "CAUSVXsiaWQiOiJnby5taWNyby5zcnYuZ3JlZXRlciIsImNvZGUiOjQwNCwiZGV0YWlsIjoibm8gc3VjaCBuYW1lIiwic3RhdHVzIjoiTm90"
    "IEZvdW5kIn0aVgogdHlwZS5nb29nbGVhcGlzLmNvbS9lcnJvcnMuRXJyb3ISMgoUZ28ubWljcm8uc3J2LmdyZWV0ZXIQlAMaDG5vIHN1Y2gg"
    "bmFtZSIJTm90IEZvdW5k"
)
"""What Go Micro 2.9.1 says of that error, message and details."""


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("Say.Hello", "/greeter.Say/Hello"),
        ("v1.Say.Hello", "/greeter.v1.Say/Hello"),
        ("/helloworld.Greeter/SayHello", "/helloworld.Greeter/SayHello"),
        ("Grüß.Dich", "/greeter.Gr%C3%BC%C3%9F/Dich"),
    ],
)
@pytest.mark.anyio
async def test_paths(endpoint: str, path: str, rig: Rig) -> None:
    assert GRPC.head(Call("greeter", endpoint), JSON)[":path"] == path
    listener: Any = await rig.serve(unary(lambda call: "one"))
    served: Served = listener._served
    expected = "Greeter.SayHello" if endpoint.startswith("/") else ".".join(endpoint.split(".")[-2:])
    assert GRPC.route(served, {":path": path}) == expected


@pytest.mark.parametrize("endpoint", ["Hello", ".Hello", "Say.", ""])
def test_endpoints_that_have_no_path(endpoint: str) -> None:
    with pytest.raises(ValueError, match="no endpoint for gRPC"):
        GRPC.head(Call("greeter", endpoint), JSON)


@pytest.mark.parametrize(
    ("content_type", "payload"),
    [
        ("application/grpc", "application/protobuf"),
        ("application/grpc+proto", "application/protobuf"),
        ("application/grpc+json", "application/json"),
        ("application/grpc+bytes", "application/octet-stream"),
        ("application/grpc+msgpack", "application/msgpack"),
        ("application/grpc-web+proto", None),
        ("application/grpcs", None),
        ("application/json", None),
    ],
)
def test_content_types(content_type: str, payload: str | None) -> None:
    assert GRPC.payload(content_type) == payload
    if payload is not None and content_type != "application/grpc":
        assert GRPC.around(payload) == content_type


@given(st.floats(1e-12, 1e12))
@example(0.2890625)
@example(0.1000009)
def test_a_timeout_is_read_as_it_was_told_to_the_unit(seconds: float) -> None:
    text = GRPC.timeout(seconds)
    assert len(text) <= 9
    left = GRPC.remaining({"grpc-timeout": text})
    assert left is not None
    assert left > 0
    # A hundred-thousandth is lost at most: past 99,999,999 of a unit the next one is a thousand times as long.
    assert left == pytest.approx(min(max(seconds, 1e-9), 99_999_999 * 3600), rel=1.1e-5, abs=1e-9)


@pytest.mark.parametrize("text", ["", "5", "s", "5s", "-1S", "123456789n", "1.5S", "५S"])
def test_timeouts_that_are_none(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        GRPC.remaining({"grpc-timeout": text})
    assert GRPC.remaining({}) is None


@given(st.text(max_size=400))
def test_messages_come_back(text: str) -> None:
    head = grpc_status.told(errors.NotFound(text), "greeter")
    assert head["grpc-message"].isascii()
    assert head["grpc-message"].isprintable()
    error = grpc_status.refusal({"grpc-status": head["grpc-status"], "grpc-message": head["grpc-message"]})
    assert error is not None
    assert error.detail == text.encode(errors="replace").decode()
    assert error.status == "NOT_FOUND"


@pytest.mark.parametrize("letter", ["a", "ä", "€", "😀"])
def test_long_messages_are_cut(letter: str) -> None:
    head = grpc_status.told(errors.NotFound(letter * 100_000), "greeter")
    assert sum(len(name) + len(value) + 32 for name, value in head.items()) < 8192
    error = grpc_status.refusal(head)
    assert error is not None
    assert error.detail.strip(letter) == "…"
    assert len(error.detail) > 150


@given(
    st.dictionaries(
        st.sampled_from(["grpc-status", "grpc-message", "micro-error", "micro-unprocessed", ":status"]),
        st.text()
        | st.sampled_from(["0", "5", "200", "503", "99", "-1", '{"code":404}', "{}", "{", "null", "%", "%ff"]),
    )
)
def test_any_end_is_none_or_an_error(head: dict[str, str]) -> None:
    error = grpc_status.refusal(head)
    assert (error is None) == (head.get("grpc-status") == "0")
    if error is not None:
        assert isinstance(error.code, int)
        assert isinstance(error.detail, str)


@pytest.mark.parametrize(("number", "name"), list(enumerate(grpc_status.NAMES)))
def test_a_status_that_is_passed_on_stays_what_it_was(number: int, name: str) -> None:
    error = grpc_status.refusal({"grpc-status": str(number)})
    if number == 0:
        assert error is None
        return
    assert error is not None
    assert (error.status, grpc_status.number_of(error)) == (name, number)


def test_codes_that_no_status_is_for_are_unknown() -> None:
    assert grpc_status.number_of(RPCError("", code=418)) == 2
    assert grpc_status.number_of(RPCError("", code=0, status="OK")) == 2


def test_an_end_without_a_status_is_unknown() -> None:
    error = grpc_status.refusal({":status": "200"})
    assert error is not None
    assert (error.code, error.outcome) == (502, Outcome.UNKNOWN)
    proxy = grpc_status.refusal({":status": "503"}, b"no healthy upstream")
    assert proxy is not None
    assert (proxy.code, proxy.detail) == (503, "no healthy upstream")


def test_errors_of_go_micros_servers() -> None:
    head = {"grpc-status": "5", "grpc-message": GO_MICRO, "grpc-status-details-bin": GO_MICRO_DETAILS}
    error = grpc_status.refusal(head)
    assert isinstance(error, errors.NotFound)
    assert (error.id, error.code, error.detail) == ("go.micro.srv.greeter", 404, "no such name")


def test_go_micros_clients_are_told_as_its_servers_tell_them() -> None:
    head = grpc_status.told(errors.NotFound("no such name", id="go.micro.srv.greeter"), "")
    theirs = b64decode(GO_MICRO_DETAILS)
    ours = b64decode(head["grpc-status-details-bin"] + "==")
    assert ours.partition(b"\x1a")[2] == theirs.partition(b"\x1a")[2]
    assert ours.startswith(b"\x08\x05\x12\x0cno such name")


@pytest.mark.anyio
async def test_a_call(rig: Rig) -> None:
    seen: list[Call] = []

    def answer(call: Call) -> Any:
        seen.append(call)
        if call.request == "no":
            raise errors.Gone("gone")
        return f"Hello {call.request}"

    await rig.serve(unary(answer))
    client = await rig.client()
    call = hello("Ada", content_type=JSON, metadata={"x-one": "1", "grpc-none": "2"})
    call.caller = "front"
    assert (await client.call(call)).value == "Hello Ada"
    assert (seen[0].metadata, seen[0].caller, seen[0].content_type) == ({"x-one": "1"}, "front", JSON)
    assert seen[0].deadline is not None
    with pytest.raises(errors.Gone):
        await client.call(hello("no", content_type=JSON))
    with pytest.raises(errors.NotFound) as caught:
        await client.call(hello("Ada", content_type=JSON, endpoint="Say.Helo"))
    assert (caught.value.status, caught.value.outcome) == ("UNIMPLEMENTED", Outcome.ANSWERED)
    with pytest.raises(errors.BadRequest, match="no endpoint for gRPC"):
        await client.call(hello("Ada", content_type=JSON, endpoint="Hello"))


@pytest.mark.anyio
async def test_a_stream(rig: Rig) -> None:
    async def chat(call: Call) -> Reply:
        assert call.stream is not None
        while True:
            value = await call.stream.recv()
            if value == "no":
                raise errors.Conflict("no more")
            await call.stream.send(value.upper())

    await rig.serve(streaming(chat, str, str))
    client = await rig.client()
    for last in ("end", "no"):
        call = Call("greeter", "Say.Chat", None, str, str, streaming=True)
        call.content_type = JSON
        stream = (await client.stream(call)).stream
        assert stream is not None
        await stream.send("a")
        assert await stream.recv() == "A"
        if last == "end":
            await stream.end()
            with pytest.raises(EndOfStream):
                await stream.recv()
        else:
            await stream.send("no")
            with pytest.raises(errors.Conflict, match="no more"):
                await stream.recv()


@pytest.mark.anyio
async def test_a_node_that_speaks_grpc_alone_is_called_so_and_the_others_are_not(rig: Rig) -> None:
    spoken: list[str | None] = []
    await rig.serve(unary(lambda call: spoken.append(call.content_type)))
    (node,) = rig.discovery.nodes.nodes
    client = await rig.client()
    for protocol, asked in (
        ("grpc", None), ("mucp", None), ("grpc", JSON), ("mucp", JSON), ("grpc", "application/json-rpc"),
    ):  # fmt: skip
        rig.discovery.set([Node(node.id, node.address, {"protocol": protocol})])
        await client.call(hello("Ada", content_type=asked))
    assert spoken == [JSON, "application/json", JSON, JSON, JSON]


@pytest.mark.anyio
async def test_a_refusal_before_dispatch_is_tried_elsewhere(rig: Rig) -> None:
    listener: Any = await rig.serve(unary(lambda call: "one"))
    await rig.serve(unary(lambda call: "two"))
    listener._served.leave_off()
    client = await rig.client()
    call = hello("Ada", content_type=JSON)
    assert (await client.call(call)).value == "two"
    assert [attempt.outcome for attempt in call.attempts] == [Outcome.NOT_PROCESSED, Outcome.OK]


@pytest.mark.anyio
async def test_a_node_that_the_call_cannot_be_made_for_is_given_back(rig: Rig) -> None:
    """It names no endpoint that gRPC could carry: nothing is sent, and the node did nothing wrong."""
    listener = await rig.serve(unary(lambda call: "one"))
    rig.discovery.set([Node("n", listener.address, {"protocol": "grpc"})])
    client = await rig.client()
    with pytest.raises(errors.BadRequest):
        await client.call(hello("Ada", endpoint="Hello"))
    assert rig.settled()
    assert not rig.discovery.reports


@pytest.mark.anyio
async def test_metadata_in_ascii(rig: Rig) -> None:
    await rig.serve(unary(lambda call: "one"))
    client = await rig.client()
    with pytest.raises(errors.BadRequest, match="x-name-bin"):
        await client.call(hello("Ada", content_type=JSON, metadata={"x-name": "Zoë"}))


def test_a_refusal_says_what_a_client_of_grpc_reads() -> None:
    refusal = GRPC.refuse(errors.ServiceUnavailable("busy"), "greeter", unprocessed=True)
    assert isinstance(refusal, Message)
    assert refusal.head["content-type"] == "application/grpc"
    assert (refusal.head["grpc-status"], refusal.head["grpc-message"]) == ("14", "busy")
    assert refusal.head["micro-unprocessed"] == "1"
