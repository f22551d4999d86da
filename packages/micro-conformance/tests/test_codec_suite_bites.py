"""Each sentence of CodecConformance has a double that breaks it, and is caught by that sentence's test."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from micro_conformance import CodecConformance
from micro_core import Buffer, Codec, Decode, DecodeError, Encode, UnsupportedType

CARRIED = (str, int, list, dict, bytes)


class Double(Codec):
    content_types = ("application/json",)

    def encoder(self, type_: Any) -> Encode:
        self.check(type_)
        return self.encode

    def decoder(self, type_: Any) -> Decode:
        self.check(type_)
        return lambda body: self.decode(type_, body)

    def check(self, type_: Any) -> None:
        if type_ is not Any and type_ not in CARRIED:
            raise UnsupportedType(f"not {type_!r}")

    def encode(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            value = value.hex()
        try:
            return json.dumps(value).encode()
        except (TypeError, ValueError) as error:
            raise UnsupportedType(str(error)) from error

    def decode(self, type_: Any, body: Buffer) -> Any:
        try:
            value = json.loads(bytes(body))
            if type_ is bytes and isinstance(value, str):
                return bytes.fromhex(value)
        except (ValueError, RecursionError) as error:
            raise DecodeError(str(error)) from error
        if type_ is not Any and not isinstance(value, type_):
            raise DecodeError(f"{type(value).__name__} at $")
        return value


class Suite(CodecConformance):
    values = ((str, "∑"), (int, 5), (list, [1, None]), (bytes, b"\x00\xff"), (Any, {"a": [1.5]}))
    foreign_types = (complex,)
    bad_bytes = ((int, b'"x"'), (Any, b"[1"), (Any, b""))
    bomb = (Any, b"[" * 100_000)


class Parameters(Double):
    content_types = ("application/json; charset=utf-8",)


class Lossy(Double):
    def encode(self, value):
        return super().encode(abs(value) if isinstance(value, int) else value and type(value)())


class Bytearrays(Double):
    def encode(self, value):
        return bytearray(super().encode(value))


class AnyIsDict(Double):
    def encoder(self, type_):
        encode = super().encoder(type_)
        return (lambda value: encode(dict(value))) if type_ is Any else encode


class BytesAlone(Double):
    def decode(self, type_, body):
        if not isinstance(body, bytes):
            raise DecodeError("no bytes")
        return super().decode(type_, body)


class Views(Double):
    held: list[memoryview] = []  # noqa: RUF012

    def decode(self, type_, body):
        if isinstance(body, bytearray):
            self.held.append(memoryview(body))
        return super().decode(type_, body)


class NoneIsUnknown(Double):
    def check(self, type_):
        super().check({"str": str}[type_.__name__] if type_ is None else type_)


class NoneIsNothing(Double):
    def check(self, type_):
        super().check(Any if type_ is None else type_)

    def encode(self, value):
        return b"" if value is None else super().encode(value)

    def decode(self, type_, body):
        return super().decode(Any if type_ is None else type_, body)


class ForeignError(Double):
    def encode(self, value):
        return json.dumps(value.hex() if isinstance(value, bytes) else value).encode()


class TypesLater(Double):
    def check(self, type_):
        pass


class Untyped(Double):
    def decode(self, type_, body):
        value = super().decode(Any, body)
        return bytes.fromhex(value) if type_ is bytes else value


class LeaksValueErrors(Double):
    def decode(self, type_, body):
        if b"\xff" in bytes(body):
            return json.loads(bytes(body))
        return super().decode(type_, body)


class Explodes(Double):
    def decode(self, type_, body):
        if len(body) > 10_000:
            return json.loads(bytes(body))
        return super().decode(type_, body)


class SharedBuffer(Double):
    def __init__(self):
        self.buffer = b""

    def encode(self, value):
        self.buffer = super().encode(value)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.0001)
        return self.buffer


BROKEN = [
    (Parameters, "content_types_are_lower_case_and_without_parameters"),
    (Lossy, "what_is_encoded_is_decoded_to_an_equal_value"),
    (Bytearrays, "what_is_encoded_is_decoded_to_an_equal_value"),
    (AnyIsDict, "any_takes_whatever_the_codec_can_carry"),
    (NoneIsUnknown, "none_is_an_annotation_like_any_other"),
    (NoneIsNothing, "none_is_an_annotation_like_any_other"),
    (BytesAlone, "every_kind_of_buffer_is_decoded"),
    (Views, "the_decoder_keeps_no_reference_to_the_buffer"),
    (ForeignError, "a_value_that_cannot_be_carried_is_unsupported_and_nothing_else"),
    (TypesLater, "a_type_that_cannot_be_carried_is_unsupported_when_it_is_compiled"),
    (Untyped, "bytes_that_are_not_of_the_type_are_a_decode_error"),
    (LeaksValueErrors, "untrusted_bytes_raise_nothing_but_decode_error"),
    (Explodes, "a_bomb_is_a_decode_error"),
    (SharedBuffer, "compiled_functions_are_thread_safe"),
]


def fixtures(double):
    return {"make_codec": double}


def test_a_right_double_passes(run_suite):
    assert run_suite(Suite, lambda: fixtures(Double)) == {}


@pytest.mark.parametrize(("double", "sentence"), BROKEN)
def test_a_broken_double_is_caught(run_suite, double, sentence):
    assert run_suite(Suite, lambda: fixtures(double), f"test_{sentence}")


def test_every_sentence_has_a_double_that_breaks_it(sentences):
    assert {sentence for _, sentence in BROKEN} == sentences(Suite)
