from typing import Any

import pytest
from micro_codec_bytes import BytesCodec
from micro_core import UnsupportedType


@pytest.mark.parametrize("type_", [bytes, bytearray, memoryview, Any])
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_bytes_go_through_as_they_are(type_, wrap):
    codec = BytesCodec()
    body = codec.encoder(type_)(wrap(b"\x00\xff"))
    assert type(body) is bytes
    value = codec.decoder(type_)(wrap(body))
    assert value == b"\x00\xff"
    assert type(value) is (bytes if type_ is Any else type_)


@pytest.mark.parametrize("type_", [str, int, bytes | None, list[bytes], None])
def test_every_other_type_is_unsupported(type_):
    for make in (BytesCodec().encoder, BytesCodec().decoder):
        with pytest.raises(UnsupportedType, match="application/json"):
            make(type_)


@pytest.mark.parametrize("value", ["text", None, 5, [1]])
def test_every_other_value_is_unsupported(value):
    with pytest.raises(UnsupportedType, match=type(value).__name__):
        BytesCodec().encoder(Any)(value)


@pytest.mark.parametrize("type_", [bytearray, memoryview, Any])
def test_the_buffer_may_be_reused(type_):
    buffer = bytearray(b"abc")
    value = BytesCodec().decoder(type_)(buffer)
    buffer[:] = b"xyz!"
    assert value == b"abc"
