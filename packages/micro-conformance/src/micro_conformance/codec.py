"""The sentences of `micro_core.Codec`."""
# ruff: noqa: D102  (a test's name is its sentence)

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ClassVar, TypeAlias

import pytest
from micro_core import Codec, DecodeError, UnsupportedType

from micro_conformance.suite import Suite

MakeCodec: TypeAlias = Callable[[], Codec]


class CodecConformance(Suite):
    """Every sentence of `Codec`, one test each.

    Attributes:
        values: pairs of an annotation and a value of it, which must survive; at least one.
        foreign_values: pairs of an annotation and a value that cannot be carried under it.
        foreign_types: annotations that cannot be carried.
        bad_bytes: pairs of an annotation and bytes that are not of it; empty for a codec that takes any bytes.
        bomb: bytes that nest or expand without measure, with the annotation to read them as; None for no such thing.
    """

    values: ClassVar[Sequence[tuple[Any, Any]]] = ()
    foreign_values: ClassVar[Sequence[tuple[Any, Any]]] = ((Any, object()),)
    foreign_types: ClassVar[Sequence[Any]] = ()
    bad_bytes: ClassVar[Sequence[tuple[Any, bytes]]] = ()
    bomb: ClassVar[tuple[Any, bytes] | None] = None

    @pytest.fixture
    def make_codec(self) -> MakeCodec:
        """The factory that every plugin gives."""
        raise pytest.UsageError(f"{type(self).__name__} needs a fixture make_codec")

    def test_content_types_are_lower_case_and_without_parameters(self, make_codec: MakeCodec) -> None:
        names = make_codec().content_types
        assert names
        for name in names:
            assert re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", name), name

    def test_what_is_encoded_is_decoded_to_an_equal_value(self, make_codec: MakeCodec) -> None:
        codec = make_codec()
        assert self.values, "the suite declares no values"
        for type_, value in self.values:
            body = codec.encoder(type_)(value)
            assert type(body) is bytes
            assert codec.decoder(type_)(body) == value

    def test_none_is_an_annotation_like_any_other(self, make_codec: MakeCodec) -> None:
        codec = make_codec()
        with suppress(UnsupportedType):
            assert codec.decoder(None)(codec.encoder(None)(None)) is None

    def test_any_takes_whatever_the_codec_can_carry(self, make_codec: MakeCodec) -> None:
        encode = make_codec().encoder(Any)
        for _, value in self.values:
            assert isinstance(encode(value), bytes)

    def test_every_kind_of_buffer_is_decoded(self, make_codec: MakeCodec) -> None:
        codec = make_codec()
        for type_, value in self.values:
            body = codec.encoder(type_)(value)
            for wrap in (bytearray, memoryview):
                assert codec.decoder(type_)(wrap(body)) == value

    def test_the_decoder_keeps_no_reference_to_the_buffer(self, make_codec: MakeCodec) -> None:
        codec = make_codec()
        for type_, value in self.values:
            buffer = bytearray(codec.encoder(type_)(value))
            decoded = codec.decoder(type_)(buffer)
            buffer[:] = b"?" * len(buffer)
            assert decoded == value
            buffer += b"growing is refused while a memoryview is held"

    def test_a_value_that_cannot_be_carried_is_unsupported_and_nothing_else(self, make_codec: MakeCodec) -> None:
        codec = make_codec()
        for type_, value in self.foreign_values:
            with pytest.raises(UnsupportedType, match=r"\S"):
                codec.encoder(type_)(value)

    def test_a_type_that_cannot_be_carried_is_unsupported_when_it_is_compiled(self, make_codec: MakeCodec) -> None:
        codec = make_codec()
        for type_ in self.foreign_types:
            name = getattr(type_, "__name__", "") if isinstance(type_, type) else ""
            for make in (codec.encoder, codec.decoder):
                with pytest.raises(UnsupportedType, match=re.escape(name) or r"\S"):
                    make(type_)

    def test_bytes_that_are_not_of_the_type_are_a_decode_error(self, make_codec: MakeCodec) -> None:
        codec = make_codec()
        for type_, body in self.bad_bytes:
            with pytest.raises(DecodeError, match=r"\S"):
                codec.decoder(type_)(body)

    def test_untrusted_bytes_raise_nothing_but_decode_error(self, make_codec: MakeCodec) -> None:
        codec, chance = make_codec(), random.Random(1)  # noqa: S311
        for type_, value in self.values:
            body = codec.encoder(type_)(value)
            decode = codec.decoder(type_)
            for broken in _broken(body, chance):
                with suppress(DecodeError):
                    decode(broken)

    def test_a_bomb_is_a_decode_error(self, make_codec: MakeCodec) -> None:
        if self.bomb is None:
            pytest.skip("declared: nothing nests or expands")
        type_, body = self.bomb
        with pytest.raises(DecodeError):
            make_codec().decoder(type_)(body)

    def test_compiled_functions_are_thread_safe(self, make_codec: MakeCodec) -> None:
        codec = make_codec()
        compiled = [(codec.encoder(type_), codec.decoder(type_), value) for type_, value in self.values]

        def work(_: int) -> bool:
            return all(decode(encode(value)) == value for encode, decode, value in compiled for _ in range(50))

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(8)))


def _broken(body: bytes, chance: random.Random) -> list[bytes]:
    """Truncated, changed, doubled and random bytes."""
    broken = [b"", body + b"\xff", body + body, b"\xff\xfe\x00"]
    broken += [body[:end] for end in range(0, len(body), max(1, len(body) // 20))]
    for _ in range(50):
        changed = bytearray(body or b"x")
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        broken.append(bytes(changed))
    broken += [chance.randbytes(chance.randrange(40)) for _ in range(50)]
    return broken
