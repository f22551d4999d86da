from typing import Any

import pytest
from everything_pb2 import COLOR_DARK, Everything
from greeter_pb2 import Reply, Request
from micro_codec_proto import ProtoCodec
from micro_conformance import CodecConformance
from old_pb2 import LARGE, Old

NESTED = Everything(
    an_int64=-(2**63),
    a_double=0.5,
    a_string="∑",
    some_bytes=b"\x00\xff",
    color=COLOR_DARK,
    numbers=[1, 2**62],
    children=[Everything(a_text="x"), Everything()],
    counts={"a": 1},
)


class TestProto(CodecConformance):
    plugin = ("codec", "proto")
    values = (
        (Request, Request(name="Ada ∑", count_to=2**53 + 1, tags=["a", ""])),
        (Reply, Reply()),
        (Everything, NESTED),
        (Old, Old(name="Ada", size=LARGE, labels={"a": "b"}, children=[Old(name="")])),
        (None, None),
    )
    foreign_values = ((Any, object()), (Any, "text"), (Request, Reply(msg="x")), (None, Request()))
    foreign_types = (str, dict, list[Request], Request | None)
    bad_bytes = ((Request, b"\n\x05Ada"), (Request, b"\n\x01\xff"), (Old, b""), (None, b"\xff"))
    bomb = (Everything, b"\x0b" * 100_000)

    @pytest.fixture
    def make_codec(self):
        return lambda: ProtoCodec(ProtoCodec.Options())
