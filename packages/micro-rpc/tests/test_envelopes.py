"""Envelopes against what Go Micro wrote, and against whatever bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from captured import CASES, messages
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_core import DecodeError, Message
from micro_rpc.envelopes import JSON_RPC, PROTO_RPC, Envelope, Reply, Request

ENVELOPES = {"application/json-rpc": JSON_RPC, "application/proto-rpc": PROTO_RPC}
WRAPPED = [case for case in CASES if "-rpc-" in case]
BOTH = pytest.mark.parametrize("envelope", [JSON_RPC, PROTO_RPC], ids=["json-rpc", "proto-rpc"])
METHODS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
IDS = st.integers(0, 2**64 - 1).map(str)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def envelope_of(message: Message) -> Envelope:
    return ENVELOPES[message.head["content-type"]]


def ending(message: Message) -> str:
    return message.head.get("micro-error", "")


def same_fields(ours: bytes, go: bytes) -> bool:
    """Whether they differ in nothing but the order of names, and the empty fields that v4.11 leaves out."""
    if ours.startswith(b"{"):
        return bool(json.loads(ours) == json.loads(go))
    return PROTO_RPC.read_reply(ours) == PROTO_RPC.read_reply(go)


@pytest.mark.parametrize("case", WRAPPED)
def test_requests_of_go_are_read_and_ours_are_the_same(case: str) -> None:
    for message in messages(case, "client"):
        envelope = envelope_of(message)
        if not message.body:
            assert ending(message) == "EOS", "v1.1.0 and v4.11.0 send no body with it"
            continue
        if ending(message):
            found = envelope.read_reply(message.body)
            assert found.error == ending(message)
            ours = envelope.write_error(message.head["micro-endpoint"], found.id, "EOS")
        else:
            request = envelope.read_request(message.body)
            assert request.method == message.head["micro-endpoint"]
            given = message.head.get("micro-id", "" if envelope is JSON_RPC else "0")
            assert request.id == given
            ours = envelope.write_request(request.method, given, request.payload)
        assert same_fields(ours, message.body)
        if not case.startswith("v4"):
            assert ours == message.body


@pytest.mark.parametrize("case", WRAPPED)
def test_replies_of_go_are_read_and_ours_are_the_same(case: str) -> None:
    streams = "-stream-" in case
    for message in messages(case, "server"):
        envelope = envelope_of(message)
        found = envelope.read_reply(message.body)
        assert found.error == (ending(message) or None)
        if found.error is None:
            method = message.head["micro-endpoint"] if streams else ""
            ours = envelope.write_reply(method, found.id, found.payload)
        else:
            ours = envelope.write_error("", found.id, found.error)
        assert same_fields(ours, message.body)
        if not case.startswith("v4"):
            assert ours == message.body


@pytest.mark.parametrize("case", [case for case in CASES if "-raw-" in case and not case.endswith("headers-json")])
def test_hand_written_requests_that_go_took(case: str) -> None:
    (message,) = messages(case, "client")
    method = "" if "no-method" in case else "Say.Hello"
    assert JSON_RPC.read_request(message.body) == Request(method, "7", b'{"name":"John"}')


@settings(deadline=None)
@given(METHODS, IDS, JSON)
def test_json_rpc_reads_what_it_wrote(method: str, id: str, value: Any) -> None:
    payload = json.dumps(value).encode()
    assert JSON_RPC.read_request(JSON_RPC.write_request(method, id, payload)) == (method, id, payload)
    assert JSON_RPC.read_reply(JSON_RPC.write_reply(method, id, payload)) == (id, None, payload)
    assert json.loads(JSON_RPC.write_request(method, id, payload)) == {"method": method, "params": [value], "id": id}


@settings(deadline=None)
@given(METHODS, IDS, st.binary())
def test_proto_rpc_reads_what_it_wrote(method: str, id: str, payload: bytes) -> None:
    id = str(int(id))
    assert PROTO_RPC.read_request(PROTO_RPC.write_request(method, id, payload)) == (method, id, payload)
    assert PROTO_RPC.read_reply(PROTO_RPC.write_reply(method, id, payload)) == (id, None, payload)


@BOTH
@settings(deadline=None)
@given(method=METHODS, id=IDS, error=METHODS.filter(bool))
def test_errors_are_read_as_written(envelope: Envelope, method: str, id: str, error: str) -> None:
    assert envelope.read_reply(envelope.write_error(method, id, error)) == (id, error, b"")


@BOTH
@settings(deadline=None)
@given(body=st.binary() | st.text().map(str.encode) | JSON.map(json.dumps).map(str.encode))
def test_whatever_the_bytes_it_is_an_envelope_or_a_decode_error(envelope: Envelope, body: bytes) -> None:
    for read in (envelope.read_request, envelope.read_reply):
        try:
            found = read(body)
        except DecodeError:
            continue
        assert isinstance(found, Request | Reply)


@BOTH
@settings(deadline=None)
@given(data=st.data(), method=METHODS, payload=JSON.map(json.dumps).map(str.encode))
def test_an_envelope_that_is_cut_or_goes_on_is_none(
    envelope: Envelope, data: st.DataObject, method: str, payload: bytes
) -> None:
    whole = envelope.write_request(method, "7", payload)
    cut = data.draw(st.integers(0, len(whole) - 2))  # without its line feed JSON is whole still
    for body in (whole[:cut], whole + b"x"):
        with pytest.raises(DecodeError):
            envelope.read_request(body)


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_proto_rpc_takes_no_header_that_is_no_protobuf(header: bytes, payload: bytes) -> None:
    body = len(header).to_bytes(4, "big") + header + len(payload).to_bytes(4, "big") + payload
    try:
        found = PROTO_RPC.read_request(body)
    except DecodeError:
        return
    assert found.payload == payload


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ("", "0")),
        ("0a01410a0142", ("B", "0")),
        ("110700000000000000", ("", "7")),
        ("11ffffffffffffffff", ("", str(2**64 - 1))),
        ("1007", ("", "0")),  # a varint where a fixed64 is due is a field unknown
        ("20052d010203043a01780a0141", ("A", "0")),
        ("f8ffffff0f01", ("", "0")),
    ],
)
def test_headers_of_proto_rpc(header: str, expected: tuple[str, str]) -> None:
    data = bytes.fromhex(header)
    request = PROTO_RPC.read_request(len(data).to_bytes(4, "big") + data + b"\x00\x00\x00\x01!")
    assert (request.method, request.id, request.payload) == (*expected, b"!")


@pytest.mark.parametrize(
    "header",
    [
        "0a", "0a02", "0a0241", "11", "1107", "0b", "0c", "0f", "00", "0200", "80", "ffffffffffffffffffffff01",
        "0a0180", "0aff01", "0affffffffffffffffff7f41", "2dffff", "08", "08ffffffffffffffffffff",
    ],
)  # fmt: skip
def test_headers_of_proto_rpc_that_are_none(header: str) -> None:
    data = bytes.fromhex(header)
    with pytest.raises(DecodeError):
        PROTO_RPC.read_request(len(data).to_bytes(4, "big") + data + b"\x00\x00\x00\x00")


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00" * 7, b"\x00" * 9])
def test_parts_of_proto_rpc_that_are_none(body: bytes) -> None:
    with pytest.raises(DecodeError):
        PROTO_RPC.read_request(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"method":"A.B","params":[{"a":[1]}],"id":"7"}', ("A.B", "7", b'{"a":[1]}')),
        (' {"id" : 7 , "params" : [ 1 ] , "jsonrpc":"2.0", "method":"A.B"} ', ("A.B", "7", b"1")),
        ('{"id":-7}', ("", "-7", b"")),
        ('{"id":null,"params":null}', ("", "", b"")),
        ('{"params":[]}', ("", "", b"")),
        ('{"params":[null]}', ("", "", b"null")),
        ('{"method":"\\u00e4","id":"\\u00e4"}', ("ä", "ä", b"")),
    ],
)
def test_requests_of_json_rpc(body: str, expected: tuple[str, str, bytes]) -> None:
    assert JSON_RPC.read_request(body.encode()) == expected


@pytest.mark.parametrize(
    "body",
    [
        "", "null", "[]", "1", '"x"', "{", '{"method":1}', '{"method":null}', '{"params":{"name":"John"}}',
        '{"params":1}', '{"params":[1,2]}', '{"id":{}}', '{"id":[]}', '{"id":true}', '{"id":7.5}', '{"id":NaN}',
        '{"id":"\\ud800"}', '{"id":1}{"id":1}',
        '{"params":[' + "[" * 10_000, '{"id":' + "[" * 10_000, '{"x":' + "[" * 10_000 + "]" * 10_000 + "}",
    ],
)  # fmt: skip
def test_requests_of_json_rpc_that_are_none(body: str) -> None:
    with pytest.raises(DecodeError):
        JSON_RPC.read_request(body.encode())


def test_ids_that_are_no_utf8_are_none() -> None:
    with pytest.raises(DecodeError):
        JSON_RPC.read_request(b'{"id":"\xff"}')


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"id":"7","result":{"msg":"x"},"error":null}', ("7", None, b'{"msg":"x"}')),
        ('{"id":7,"result":null}', ("7", None, b"null")),
        ('{"result":1,"error":"no"}', ("", "no", b"")),
        ('{"error":""}', ("", "an error without a word", b"")),
    ],
)
def test_replies_of_json_rpc(body: str, expected: tuple[str, str | None, bytes]) -> None:
    assert JSON_RPC.read_reply(body.encode()) == expected


@pytest.mark.parametrize("body", ["{}", "[]", '{"id":"7"}', '{"result":1,"error":{"code":1}}', '{"id":{},"result":1}'])
def test_replies_of_json_rpc_that_are_none(body: str) -> None:
    with pytest.raises(DecodeError):
        JSON_RPC.read_reply(body.encode())


@pytest.mark.parametrize("id", ["", "x", "-1", "1.5", str(2**64), "9" * 30, "٣"])
def test_an_id_that_is_no_number_is_0_in_proto_rpc(id: str) -> None:
    assert PROTO_RPC.read_request(PROTO_RPC.write_request("A.B", id, b"")).id == "0"
