from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from micro_codec_json import JsonCodec
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


class TestJson(CodecConformance):
    plugin = ("codec", "json")
    values = (
        (User, ADA),
        (list[User], [ADA, ADA]),
        (User | None, None),
        (None, None),
        (Any, {"a": [1, 2.5, None, True, "x"]}),
        (int, -1),
        (bytes, b"\x00\xff"),
    )
    foreign_values = ((Any, object()), (Any, float("nan")), (Any, {(1, 2): 3}))
    foreign_types = (complex, list[object], User | JsonCodec)
    bad_bytes = ((User, b""), (User, b"{}"), (int, b'"x"'), (Any, b"[1] x"), (Any, b'"\xff"'))
    bomb = (Any, b"[" * 100_000)

    @pytest.fixture
    def make_codec(self):
        return lambda: JsonCodec(JsonCodec.Options())
