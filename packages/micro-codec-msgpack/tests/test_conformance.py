from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from micro_codec_msgpack import MsgpackCodec
from micro_conformance import CodecConformance


@dataclass
class User:
    name: str
    id: int
    ratio: float
    picture: bytes
    tags: list[str]
    born: datetime | None = None


ADA = User("Ada ∑", 2**53 + 1, 0.5, b"\x00\xff", ["a", ""], datetime(2026, 1, 2, tzinfo=UTC))


class TestMsgpack(CodecConformance):
    plugin = ("codec", "msgpack")
    values = (
        (User, ADA),
        (list[User], [ADA, ADA]),
        (User | None, None),
        (None, None),
        (Any, {"a": [1, 2.5, None, True, "x", b"\xff"], 5: datetime(2026, 1, 2, tzinfo=UTC)}),
        (int, -1),
        (bytes, b"\x00\xff"),
    )
    foreign_values = ((Any, object()), (Any, float("nan")), (Any, 2**64))
    foreign_types = (complex, list[object], User | MsgpackCodec)
    bad_bytes = (
        (User, b""),
        (User, b"\x80"),
        (int, b"\xa1x"),
        (Any, b"\x01\x01"),
        (Any, b"\xa1\xff"),
        (Any, b"\x82\xa1a\x01\xa1a\x02"),
        (Any, b"\xdd\xff\xff\xff\xff\x01"),
    )
    bomb = (Any, b"\x91" * 100_000)

    @pytest.fixture
    def make_codec(self):
        return lambda: MsgpackCodec(MsgpackCodec.Options())
