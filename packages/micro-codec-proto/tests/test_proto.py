import subprocess
import sys
from contextlib import suppress
from typing import Annotated, Any

import pytest
from everything_pb2 import Everything
from google.protobuf.empty_pb2 import Empty
from google.protobuf.internal import api_implementation
from google.protobuf.struct_pb2 import Struct
from greeter_pb2 import Reply, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_codec_proto import ProtoCodec
from micro_core import DecodeError, UnsupportedType
from old_pb2 import Old, Relaxed, nickname


@pytest.fixture
def codec():
    return ProtoCodec()


def varint(number):
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def nested(depth, field=17):
    body = b""
    for _ in range(depth):
        body = varint(field << 3 | 2) + varint(len(body)) + body
    return body


def test_the_fast_implementation_runs_here():
    assert api_implementation.Type() == "upb"


@pytest.mark.parametrize(
    ("type_", "value", "body"),
    [
        (Request, Request(name="John"), b"\n\x04John"),
        (Reply, Reply(), b""),
        (Annotated[Request, "documented"], Request(count_to=-1), b"\x10" + b"\xff" * 9 + b"\x01"),
        (Any, Request(name="John"), b"\n\x04John"),
        (Any, None, b""),
        (None, None, b""),
        (type(None), None, b""),
    ],
)
def test_bytes_are_those_of_protobuf(codec, type_, value, body):
    assert codec.encoder(type_)(value) == body
    if type_ is not Any:
        assert codec.decoder(type_)(body) == value


def test_whatever_a_newer_peer_sends_instead_of_nothing_is_none(codec):
    assert codec.decoder(None)(Request(name="x").SerializeToString()) is None


def test_unknown_fields_go_out_as_they_came_in(codec):
    body = Request(name="x", tags=["t"]).SerializeToString()
    reply = codec.decoder(Reply)(body)
    assert reply.msg == "x"
    assert Request.FromString(codec.encoder(Reply)(reply)) == Request(name="x", tags=["t"])


BAD = {
    "cut in a length": (Request, b"\n"),
    "cut in a text": (Request, b"\n\x04Joh"),
    "cut in a number": (Request, b"\x10\xff"),
    "a forged length of 2 GiB": (Request, b"\n\xff\xff\xff\xff\x07x"),
    "a forged length of 2^63": (Request, b"\n" + b"\xff" * 8 + b"\x7fx"),
    "a packed length": (Everything, b"\x92\x01\xff\xff\xff\xff\x07\x01"),
    "eleven bytes of a number": (Request, b"\x10" + b"\xff" * 10 + b"\x01"),
    "a byte behind the end": (Request, b"\n\x04John\x00"),
    "an end of no group": (Request, b"\n\x04John\x0c"),
    "an end of an unknown group": (Request, b"\n\x04John\x7c"),
    "a group without an end": (Request, b"\x7b"),
    "field number 0": (Request, b"\x02\x00"),
    "wire type 6": (Request, b"\x0e"),
    "no UTF-8": (Request, b"\n\x01\xff"),
    "an unpaired surrogate": (Request, b"\n\x03\xed\xa0\x80"),
    "no UTF-8 in a repeated field": (Request, b"\x2a\x01\xff"),
    "no UTF-8 in a key": (Everything, b"\xaa\x01\x03\n\x01\xff"),
    "no UTF-8 in a wrapper": (Everything, b"\xfa\x02\x03\n\x01\xff"),
    "101 levels": (Everything, nested(101)),
    "100,000 levels": (Everything, nested(100_000)[:1_000_000]),
    "groups without end": (Old, b"\x0a\x01a" + b"\x2b" * 300_000),
    "unknown groups without end": (Request, b"\x7b" * 300_000),
    "something else than nothing": (None, b"\x0a\x05a"),
}


@pytest.mark.parametrize(("type_", "body"), BAD.values(), ids=BAD)
def test_bad_bytes_are_a_decode_error_that_names_the_type(codec, type_, body):
    with pytest.raises(DecodeError, match=f"not the protobuf of {'Empty' if type_ is None else type_.__name__}: "):
        codec.decoder(type_)(body)


OLD = {
    "a field": (b"\n\x01\xff", "name"),
    "a repeated field": (b"\n\x01a\x3a\x01b\x3a\x01\xff", "words"),
    "a group": (b"\n\x01a\x2b\x32\x01\xff\x2c", "inner.text"),
    "a map's key": (b"\n\x01a\x22\x06\n\x01\xff\x12\x01a", "labels"),
    "a map's value": (b"\n\x01a\x22\x06\n\x01a\x12\x01\xff", "labels"),
    "a message inside": (b"\n\x01a\x1a\x03\n\x01\xff", "children.name"),
    "an extension": (b"\n\x01a\xa2\x06\x01\xff", "nickname"),
}


@pytest.mark.parametrize(("body", "path"), OLD.values(), ids=OLD)
def test_text_of_proto2_that_is_not_utf8_never_reaches_a_handler(codec, body, path):
    with pytest.raises(DecodeError, match=f"Old: .*UTF-8 at {path}$"):
        codec.decoder(Old)(body)


def test_text_of_proto2_arrives_as_text(codec):
    value = Old(name="∑", labels={"a": "b"}, words=["w"], children=[Old(name="c")])
    value.inner.text = "t"
    value.Extensions[nickname] = "n"
    assert codec.decoder(Old)(value.SerializeToString()) == value


def test_a_missing_required_field_is_named_in_both_directions(codec):
    with pytest.raises(DecodeError, match=r"Old: it lacks children\[0\]\.name$"):
        codec.decoder(Old)(b"\n\x01a\x1a\x00")
    with pytest.raises(UnsupportedType, match=r"Old cannot be written as protobuf: .*name"):
        codec.encoder(Old)(Old())


def test_100_levels_are_read(codec):
    assert codec.decoder(Everything)(nested(100)).ByteSize() == len(nested(100))


@pytest.mark.parametrize("type_", [str, dict, object, list[Request], Request | None, Request | Reply, "Request"])
def test_a_type_that_is_no_message_is_unsupported(codec, type_):
    for make in (codec.encoder, codec.decoder):
        with pytest.raises(UnsupportedType, match="application/json"):
            make(type_)


def test_bytes_of_any_type_cannot_be_read(codec):
    with pytest.raises(UnsupportedType, match="Any"):
        codec.decoder(Any)


@pytest.mark.parametrize(
    ("type_", "value"),
    [(Request, Reply(msg="taken for a name")), (Request, None), (Any, b"bytes"), (None, Empty()), (Request, {})],
)
def test_a_value_of_another_type_is_unsupported(codec, type_, value):
    with pytest.raises(UnsupportedType, match=type(value).__name__):
        codec.encoder(type_)(value)


TYPES = (Request, Everything, Old, Relaxed, Struct, None)


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_raise_anything_else(body):
    codec = ProtoCodec()
    for type_ in TYPES:
        with suppress(DecodeError):
            codec.decoder(type_)(body)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5), st.binary(max_size=8)), max_size=8))
def test_no_fields_raise_anything_else(fields):
    body = b"".join(varint(number << 3 | wire) + varint(len(rest)) + rest for number, wire, rest in fields)
    codec = ProtoCodec()
    for type_ in TYPES:
        with suppress(DecodeError):
            codec.decoder(type_)(body)


def test_a_forged_length_reserves_nothing():
    script = (
        "import resource, sys; from google.protobuf.struct_pb2 import ListValue; from micro_core import DecodeError;"
        "from micro_codec_proto import ProtoCodec; decode = ProtoCodec().decoder(ListValue);"
        "bodies = [b'\\n\\xff\\xff\\xff\\xff\\x07' + b'x' * 2**20, b'\\x0b' * 2**20, b'\\n\\xff\\xff\\x3f' * 2**18];"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = most()\n"
        "for body in bodies:\n"
        "    try: decode(body)\n"
        "    except DecodeError: pass\n"
        "    else: raise SystemExit('it was read')\n"
        "grown = most() - before\n"
        "assert grown < 16 * 1024, grown"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_map_in_front_of_what_is_lacking_does_not_end_the_process(codec):
    value = Old(name="x", children=[Old(name="y", labels={"a": "b"}), Old()])
    with pytest.raises(DecodeError, match=r"Old: it lacks children\[1\]\.name$"):
        codec.decoder(Old)(value.SerializePartialToString())
    with pytest.raises(UnsupportedType, match=r"it lacks children\[1\]\.name$"):
        codec.encoder(Old)(value)
