from typing import Any

import pytest
from micro_codec_bytes import BytesCodec
from micro_conformance import CodecConformance


class TestBytes(CodecConformance):
    plugin = ("codec", "bytes")
    values = ((bytes, b"\x00\xff"), (bytearray, bytearray(b"abc")), (memoryview, memoryview(b"abc")), (Any, b""))
    foreign_values = ((Any, object()), (bytes, "text"))
    foreign_types = (str, int, list[bytes])

    @pytest.fixture
    def make_codec(self):
        return lambda: BytesCodec(BytesCodec.Options())
