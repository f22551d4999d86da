"""Protobuf messages as JSON: what goes out is bytes, what comes in is what any release of Go Micro writes."""

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from everything_pb2 import COLOR_BLUE, COLOR_RED, Everything
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import Int64Value, StringValue
from greeter_pb2 import Reply, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_codec_json import MAX_DEPTH, JsonCodec
from micro_core import DecodeError, UnsupportedType
from old_pb2 import LARGE, Old, Relaxed, nickname


@dataclass
class Team:
    users: list[Request]
    lead: Request | None = None


@pytest.fixture
def codec():
    return JsonCodec()


def packed(message):
    anything = AnyMessage()
    anything.Pack(message)
    return anything


def with_unknown_fields():
    return Reply.FromString(Request(name="x", count_to=1, tags=["t"]).SerializeToString())


def extended():
    old = Old(name="x")
    old.Extensions[nickname] = "n"
    return old


OUT = [
    (Request(), b"{}"),
    (Request(name="Ada", count_to=2**53 + 1, tags=["a"]), b'{"name":"Ada","count_to":9007199254740993,"tags":["a"]}'),
    (Everything(a_uint64=2**64 - 1), b'{"a_uint64":18446744073709551615}'),
    (Everything(a_sfixed64=-(2**63)), b'{"a_sfixed64":-9223372036854775808}'),
    (Everything(color=COLOR_BLUE, colors=[1, -1, 99]), b'{"color":5,"colors":[1,-1,99]}'),
    (Everything(renamed=1), b'{"renamed":1}'),
    (Everything(maybe=0, a_text=""), b'{"maybe":0,"a_text":""}'),
    (Everything(some_bytes=b"\x00\xff"), b'{"some_bytes":"AP8="}'),
    (Everything(a_float=0.1, a_double=0.1), b'{"a_float":0.1,"a_double":0.1}'),
    (Everything(a_float=3.4028234663852886e38), b'{"a_float":3.4028234663852886e38}'),
    (Everything(a_float=1.00000012), b'{"a_float":1.0000001192092896}'),
    (Everything(children=[Everything(), Everything(a_bool=True)]), b'{"children":[{},{"a_bool":true}]}'),
    (Everything(counts={"a": 2**60}), b'{"counts":{"a":1152921504606846976}}'),
    (Everything(by_number={-1: Everything()}), b'{"by_number":{"-1":{}}}'),
    (Everything(by_truth={True: COLOR_RED}), b'{"by_truth":{"true":1}}'),
    (with_unknown_fields(), b'{"msg":"x","seq_no":1}'),
    (extended(), b'{"name":"x"}'),
    (Old(name="x", size=LARGE), b'{"name":"x","size":2}'),
    (Timestamp(seconds=1, nanos=500_000_000), b'"1970-01-01T00:00:01.500Z"'),
    (Duration(seconds=-1, nanos=-500_000_000), b'"-1.500s"'),
    (Int64Value(value=2**60), b"1152921504606846976"),
    (StringValue(), b'""'),
    (Everything(an_int64_value=Int64Value()), b'{"an_int64_value":0}'),
    (Everything(empty=Empty()), b'{"empty":{}}'),
    (Value(), b"null"),
    (Value(number_value=2), b"2"),
    (Value(number_value=2.5), b"2.5"),
    (ListValue(values=[Value(bool_value=True), Value(string_value="x")]), b'[true,"x"]'),
    (packed(Request(count_to=2**60)), b'{"@type":"type.googleapis.com/Request","count_to":1152921504606846976}'),
    (packed(Timestamp()), b'{"@type":"type.googleapis.com/google.protobuf.Timestamp","value":"1970-01-01T00:00:00Z"}'),
    (AnyMessage(), b"{}"),
]


@pytest.mark.parametrize(("message", "body"), OUT, ids=[body.decode()[:50] for _, body in OUT])
def test_bytes_are_those_that_every_release_of_go_micro_reads(codec, message, body):
    assert codec.encoder(type(message))(message) == body
    assert codec.encoder(Any)(message) == body


IN = [
    (b'{"countTo": 1}', Request(count_to=1)),
    (b'{"count_to": "-9223372036854775808"}', Request(count_to=-(2**63))),
    (b'{"count_to": 1e3}', Request(count_to=1000)),
    (b'{"name": null, "tags": null, "unknown": {"deep": [1]}}', Request()),
    (b'{"count_to": 1, "countTo": 2}', Request(count_to=2)),
    (b'{"count_to": 2, "count_to": 1}', Request(count_to=1)),
    (
        b'{"color": "COLOR_RED", "colors": [5, "5", -1, 99, "COLOR_BLUE"]}',
        Everything(color=1, colors=[5, 5, -1, 99, 5]),
    ),
    (b'{"newName": 1}', Everything(renamed=1)),
    (b'{"renamed": 1}', Everything(renamed=1)),
    (b'{"aDouble": "1.5e3", "aFloat": 2}', Everything(a_double=1500, a_float=2)),
    (b'{"someBytes": "_-8"}', Everything(some_bytes=b"\xff\xef")),
    (b'{"some_bytes": "/+8="}', Everything(some_bytes=b"\xff\xef")),
    (b'{"byNumber": {"-1": {"aBool": true}}}', Everything(by_number={-1: Everything(a_bool=True)})),
    (b'{"byTruth": {"true": "COLOR_RED", "false": 5}}', Everything(by_truth={True: 1, False: 5})),
    (b'{"aText": "x", "aNumber": null}', Everything(a_text="x")),
    (b'{"maybe": 0}', Everything(maybe=0)),
    (b'{"at": "1970-01-01T01:00:01+01:00"}', Everything(at=Timestamp(seconds=1))),
    (b'{"at": {"seconds": 1, "nanos": 2}}', Everything(at=Timestamp(seconds=1, nanos=2))),
    (b'{"lasting": {"seconds": "1"}}', Everything(lasting=Duration(seconds=1))),
    (b'{"lasting": "1.5s"}', Everything(lasting=Duration(seconds=1, nanos=500_000_000))),
    (b'{"an_int64_value": "5"}', Everything(an_int64_value=Int64Value(value=5))),
    (b'{"an_int64_value": {"value": 5}}', Everything(an_int64_value=Int64Value(value=5))),
    (b'{"value": null}', Everything(value=Value(null_value=0))),
    (b'{"list": [null, 1, {"a": []}]}', json_format.Parse('{"list": [null, 1, {"a": []}]}', Everything())),
    (b'{"mask": "aB.c,d"}', json_format.Parse('{"mask": "aB.c,d"}', Everything())),
    (b'{"mask": {"paths": ["a_b.c"]}}', json_format.Parse('{"mask": "aB.c"}', Everything())),
    (b'{"anything": {"type_url": "type.googleapis.com/Reply"}}', Everything(anything=packed(Reply()))),
    (b'{"anything": {}}', Everything(anything=AnyMessage())),
    (b'{"@type": "type.googleapis.com/Request", "countTo": "1"}', packed(Request(count_to=1))),
    (b'{"name": "x", "inner": {"text": "y"}}', Old(name="x", inner=Old.Inner(text="y"))),
]


@pytest.mark.parametrize(("body", "message"), IN, ids=[body.decode()[:50] for body, _ in IN])
def test_more_is_read_than_is_written(codec, body, message):
    assert codec.decoder(type(message))(body) == message


@pytest.mark.parametrize("message", [message for message, _ in OUT if type(message) is not Reply], ids=repr)
def test_what_is_written_is_read(codec, message):
    back = codec.decoder(type(message))(codec.encoder(type(message))(message))
    message.ClearExtension(nickname) if isinstance(message, Old) else None
    assert back == (Value(null_value=0) if message == Value() else message)


@pytest.mark.parametrize("message", [message for message, _ in OUT], ids=repr)
def test_protobufs_own_reader_reads_it(codec, message):
    if message.DESCRIPTOR.full_name == "google.protobuf.Value":
        pytest.skip("declared: it takes a value for an object")
    back = json_format.Parse(codec.encoder(Any)(message), type(message)())
    message.DiscardUnknownFields()
    message.ClearExtension(nickname) if isinstance(message, Old) else None
    assert back == message


BAD = [
    (Request, b"[]", r": Expected `object`, got `list`"),
    (Request, b"null", r": Expected `object`, got `null`"),
    (Request, b'{"name":1}', r": name: Expected `string`, got `int`"),
    (Request, b'{"count_to":"1_0"}', r": count_to: Expected `int64`, got `str`"),
    (Request, b'{"count_to":" 1"}', r": count_to: "),
    (Request, b'{"count_to":"' + b"1" * 5000 + b'"}', r": count_to: "),
    (Request, b'{"count_to":1.5}', r": count_to: "),
    (Request, b'{"count_to":true}', r": count_to: "),
    (Request, b'{"count_to":9223372036854775808}', r": count_to: Number out of range of `int64`"),
    (Request, b'{"count_to":1e300}', r"out of range of `int64`"),
    (Request, b'{"tags":"x"}', r": tags: Expected `array`, got `str`"),
    (Request, b'{"tags":["a",null]}', r": tags\[1\]: "),
    (Request, b'{"name":"\xff"}', "utf-8"),
    (Request, b'{"name":"\\ud800"}', ""),
    (Request, b'{"name":"a"} x', "trailing"),
    (Request, b'{"name":"a', "truncated"),
    (Request, b"", "truncated"),
    (Everything, b'{"an_int32":2147483648}', "`int32`"),
    (Everything, b'{"a_uint32":-1}', "`uint32`"),
    (Everything, b'{"a_uint64":18446744073709551616}', "`uint64`"),
    (Everything, b'{"a_bool":"true"}', "`bool`"),
    (Everything, b'{"a_double":NaN}', "malformed"),
    (Everything, b'{"a_double":"NaN"}', "`double`"),
    (Everything, b'{"a_double":"Infinity"}', "`double`"),
    (Everything, b'{"a_double":"1e999"}', "out of range of `double`"),
    (Everything, b'{"a_double":1e999}', "range"),
    (Everything, b'{"a_float":1e39}', "out of range of `float`"),
    (Everything, b'{"some_bytes":"a"}', "base64"),
    (Everything, b'{"some_bytes":"a b="}', "base64"),
    (Everything, b'{"some_bytes":"\xc3\xa4"}', "base64"),
    (Everything, b'{"color":"PINK"}', r": color: Unknown member 'PINK' of enum `micro.test.Color`"),
    (Everything, b'{"color":4294967296}', "Color"),
    (Relaxed, b'{"size":3}', "Unknown member 3 of enum `micro.test.Size`"),
    (Everything, b'{"a_text":"x","aNumber":1}', r": aNumber: Beside `a_text`, which excludes it"),
    (Everything, b'{"by_number":{"x":{}}}', r": by_number\.x: "),
    (Everything, b'{"by_truth":{"1":1}}', r": by_truth\.1: "),
    (Everything, b'{"counts":[]}', r": counts: Expected `object`, got `list`"),
    (Everything, b'{"counts":{"a":null}}', r": counts\.a: "),
    (Everything, b'{"at":"yesterday"}', r": at: "),
    (Everything, b'{"at":5}', r": at: Expected `timestamp`, got `int`"),
    (Everything, b'{"at":"9999999-01-01T00:00:00Z"}', r": at: "),
    (Everything, b'{"lasting":"1"}', r": lasting: "),
    (Everything, b'{"object":[]}', r": object: "),
    (Everything, b'{"anything":{"@type":"a/none"}}', r": anything\.@type: Unknown message type 'none'"),
    (Everything, b'{"anything":{"@type":"a/Request","name":1}}', r": anything\.name: "),
    (Everything, b'{"anything":5}', r": anything: "),
    (Old, b"{}", r": name: Object missing required field"),
    (Old, b'{"name":"x","children":[{}]}', r": children\[0\]\.name: "),
    (Old, b'{"name":"x","children":[{"name":"y","labels":{"a":"b"}},{}]}', r": children\[1\]\.name: "),
    (list[Request], b'[{},{"name":[]}]', r": \[1\]\.name: Expected `string`, got `list`"),
    (Team, b'{"users":[{},{"tags":[1]}]}', r": users\[1\]\.tags\[0\]: Expected `string`, got `int`"),
    (Team, b'{"users":[],"lead":{"name":1}}', r": lead\.name: "),
]


@pytest.mark.parametrize(("type_", "body", "text"), BAD)
def test_bad_bytes_are_a_decode_error_that_says_where(codec, type_, body, text):
    with pytest.raises(DecodeError, match=f"(?i){text}"):
        codec.decoder(type_)(body)


def test_every_problem_is_told_but_no_more_than_twenty(codec):
    with pytest.raises(DecodeError) as caught:
        codec.decoder(Everything)(b'{"a_bool":1,"children":[{"a_string":2},{"numbers":["x",1,null]}]}')
    for path in ("a_bool", "children[0].a_string", "children[1].numbers[0]", "children[1].numbers[2]"):
        assert f" {path}: " in str(caught.value)
    with pytest.raises(DecodeError) as caught:
        codec.decoder(Everything)(b'{"numbers":[' + b'"x",' * 100_000 + b"1]}")
    assert str(caught.value).count("; numbers[") == 19


@pytest.mark.parametrize(
    "bomb",
    [
        b'{"child":' * 300_000,
        b'{"child":' * (MAX_DEPTH + 1) + b"{}" + b"}" * (MAX_DEPTH + 1),
        b'{"value":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"anything":{"@type":"a/google.protobuf.Any","value":' * 40 + b"{}" + b"}}" * 40,
    ],
    ids=["messages", "one too deep", "values", "an unknown field", "anything in anything"],
)
def test_a_bomb_is_a_decode_error(codec, bomb):
    with pytest.raises(DecodeError):
        codec.decoder(Everything)(bomb)


def deep(levels):
    message = top = Everything()
    for _ in range(levels):
        message = message.child
    message.a_bool = True
    return top


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (Everything, Everything(a_double=float("nan")), "NaN"),
        (Everything, Everything(children=[Everything(a_float=float("inf"))]), "NaN"),
        (Everything, Everything(value=Value(number_value=float("nan"))), "NaN"),
        (Everything, Everything(anything=AnyMessage(type_url="a/none")), "none"),
        (Everything, Everything(anything=AnyMessage(type_url="a/Request", value=b"\xff")), "Everything"),
        (Everything, Everything(at=Timestamp(nanos=-1)), "Everything"),
        (Everything, deep(MAX_DEPTH), "64"),
        (Everything, deep(3000), "Everything"),
    ],
)
def test_a_message_that_cannot_be_carried_is_unsupported(codec, type_, value, text):
    with pytest.raises(UnsupportedType, match=text):
        codec.encoder(type_)(value)


@pytest.mark.parametrize(
    ("type_", "value", "body"),
    [
        (list[Request], [Request(name="a"), Request()], b'[{"name":"a"},{}]'),
        (dict[str, Request], {"a": Request()}, b'{"a":{}}'),
        (Request | None, None, b"null"),
        (Request | None, Request(name="a"), b'{"name":"a"}'),
        (Team, Team([Request(count_to=1)], Request()), b'{"users":[{"count_to":1}],"lead":{}}'),
    ],
)
def test_messages_stand_inside_of_other_types(codec, type_, value, body):
    assert codec.encoder(type_)(value) == body
    assert codec.decoder(type_)(body) == value


def test_two_messages_in_a_union_cannot_be_told_apart(codec):
    with pytest.raises(UnsupportedType, match="tag=True"):
        codec.decoder(Request | Reply)


def test_a_struct_carries_what_json_does(codec):
    body = b'{"a":[1,null,2.5,"x",true,{"b":{}}],"c":-1}'
    value = codec.decoder(Struct)(body)
    assert msgspec.json.decode(codec.encoder(Struct)(value)) == msgspec.json.decode(body)


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_raise_anything_else(body):
    for type_ in (Request, Everything, Old, Struct, AnyMessage):
        with suppress(DecodeError):
            JsonCodec().decoder(type_)(body)


KEYS = st.sampled_from([field.json_name for field in Everything.DESCRIPTOR.fields])
PARTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, PARTS))
def test_no_json_raises_anything_else_and_what_is_read_is_written(value):
    codec = JsonCodec()
    with suppress(DecodeError):
        message = codec.decoder(Everything)(msgspec.json.encode(value))
        with suppress(UnsupportedType):
            assert codec.decoder(Everything)(codec.encoder(Everything)(message)) == message


def test_protobuf_is_not_imported_by_who_has_no_message():
    script = (
        "import sys; from typing import Any; from micro_codec_json import JsonCodec; c = JsonCodec();"
        "c.decoder(Any)(c.encoder(Any)({'a': 1})); c.decoder(list[int]);"
        "assert not [name for name in sys.modules if name.startswith('google')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
