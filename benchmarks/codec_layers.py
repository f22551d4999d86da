"""What our layer adds to the library under each codec: CPU µs to write and to read one typed value, in one process.

    python benchmarks/codec_layers.py [--rounds 400]

Bare is the quickest way that the library itself has from the same value to bytes and back to an equal one: msgspec's
compiled encoder and decoder for JSON; for models of pydantic a TypeAdapter with aliases, and errors for values that
are not of the type, as the codec has it; the msgpack package with msgspec from and to plain values for msgpack, which
knows no types; a message's own methods for protobuf. Batches of both are taken in turn, and the least of each counts,
since whatever else the machine does only ever adds. At the end, bombs: milliseconds for each MiB that is refused.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pydantic
from micro_codec_bytes import BytesCodec
from micro_codec_json import JsonCodec
from micro_codec_msgpack import MsgpackCodec
from micro_codec_proto import ProtoCodec
from micro_core import Codec, Decode, DecodeError, Encode

sys.path.append(str(Path(__file__).parents[1] / "tests" / "messages"))

from everything_pb2 import Everything
from old_pb2 import Old

BATCH = 0.001
"""Seconds of one batch, at least."""
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NATIVE = (bytes, bytearray, datetime)
TAGS = ["red", "large"]


@dataclass
class Line:
    """100 bytes of texts and integers."""

    sku: str
    count: int
    note: str
    tags: list[str]


@dataclass
class Order:
    """10 KB of them."""

    id: int
    lines: list[Line]


@dataclass
class Reading:
    """100 bytes with fractions, a date and what is not there."""

    sensor: str
    value: float
    error: float | None
    at: datetime
    unit: str


@dataclass
class Series:
    """10 KB of them."""

    id: int
    readings: list[Reading]


class LineModel(pydantic.BaseModel):
    """As Line."""

    sku: str
    count: int
    note: str
    tags: list[str]


class OrderModel(pydantic.BaseModel):
    """As Order."""

    id: int
    lines: list[LineModel]


def line(number: int) -> dict[str, Any]:
    """The fields of a line."""
    return {"sku": f"sku-{number:05}", "count": number, "note": "by the door; ring twice, please", "tags": TAGS}


def reading(number: int) -> dict[str, Any]:
    """The fields of a reading."""
    error = None if number % 3 else number / 7
    return {"sensor": f"roof-{number:04}", "value": number * 1.25, "error": error, "at": NOON, "unit": "°C"}


@dataclass
class Case:
    """One row.

    Attributes:
        name: of codec and value.
        codec, type_, value: what is measured.
        encode, decode: the bare library's.
    """

    name: str
    codec: Codec
    type_: Any
    value: Any
    encode: Encode
    decode: Decode


def json_case(name: str, type_: Any, value: Any) -> Case:
    """By msgspec."""
    return Case(name, JsonCodec(), type_, value, msgspec.json.Encoder().encode, msgspec.json.Decoder(type_).decode)


def model_case(name: str, type_: Any, value: Any) -> Case:
    """By pydantic."""
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(type_)

    def encode(value: Any) -> bytes:
        return adapter.dump_json(value, by_alias=True, warnings="error")

    return Case(name, JsonCodec(), type_, value, encode, adapter.validate_json)  # type: ignore[arg-type]


def msgpack_case(name: str, type_: Any, value: Any) -> Case:
    """By msgpack, with msgspec from and to plain values."""

    def encode(value: Any) -> bytes:
        packed: bytes = msgpack.packb(msgspec.to_builtins(value, builtin_types=NATIVE), datetime=True)
        return packed

    def decode(body: Any) -> Any:
        return msgspec.convert(msgpack.unpackb(body, timestamp=3), type_, builtin_types=NATIVE)

    return Case(name, MsgpackCodec(), type_, value, encode, decode)


def packed_model_case(name: str, type_: Any, value: Any) -> Case:
    """By msgpack, with pydantic from and to plain values."""
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(type_)

    def encode(value: Any) -> bytes:
        packed: bytes = msgpack.packb(adapter.dump_python(value, by_alias=True, warnings="error"))
        return packed

    return Case(
        name,
        MsgpackCodec(),
        type_,
        value,
        encode,
        lambda body: adapter.validate_python(msgpack.unpackb(body)),
    )


def proto_case(name: str, value: Any) -> Case:
    """By protobuf."""
    return Case(name, ProtoCodec(), type(value), value, type(value).SerializeToString, type(value).FromString)


def message(number: int) -> Everything:
    """A message of 100 bytes."""
    note = "by the door; ring twice, please"
    return Everything(
        a_string=f"sku-{number:05} {note}", an_int64=number, a_double=number * 1.25, some_bytes=note.encode()
    )


def old(number: int) -> Old:
    """One of proto2, with a required field, and strings that the library does not check."""
    return Old(name=f"sku-{number:05}", words=["by the door; ring twice, please"], labels={"red": "large", "roof": "7"})


def cases() -> list[Case]:
    """Every row of the table."""
    small, large = Line(**line(7)), Order(1, [Line(**line(number)) for number in range(104)])
    point, series = Reading(**reading(6)), Series(1, [Reading(**reading(number)) for number in range(105)])
    model = LineModel(**line(7))
    models = OrderModel(id=1, lines=[LineModel(**line(number)) for number in range(104)])
    return [
        json_case("json, texts and integers", Line, small),
        json_case("json, texts and integers", Order, large),
        json_case("json, fractions and dates", Reading, point),
        json_case("json, fractions and dates", Series, series),
        model_case("json, pydantic", LineModel, model),
        model_case("json, pydantic", OrderModel, models),
        msgpack_case("msgpack, texts and integers", Line, small),
        msgpack_case("msgpack, texts and integers", Order, large),
        msgpack_case("msgpack, fractions and dates", Reading, point),
        msgpack_case("msgpack, fractions and dates", Series, series),
        packed_model_case("msgpack, pydantic", LineModel, model),
        packed_model_case("msgpack, pydantic", OrderModel, models),
        proto_case("proto", message(7)),
        proto_case("proto", Everything(children=[message(number) for number in range(96)])),
        proto_case("proto, of proto2", old(7)),
        proto_case("proto, of proto2", Old(name="x", children=[old(number) for number in range(120)])),
        Case("bytes", BytesCodec(), bytes, b"x" * 100, bytes, bytes),
        Case("bytes", BytesCodec(), bytes, b"x" * 10_000, bytes, bytes),
    ]


def repeated(function: Callable[[Any], Any], argument: Any) -> tuple[Callable[[], float], int]:
    """A batch, which gives its CPU seconds a call, and how many calls it has."""
    calls = 1
    while True:
        batch = _batch(function, argument, calls)
        if batch() * calls >= BATCH:
            return batch, calls
        calls *= 2


def _batch(function: Callable[[Any], Any], argument: Any, calls: int) -> Callable[[], float]:
    def batch() -> float:
        began = time.process_time()
        for _ in range(calls):
            function(argument)
        return (time.process_time() - began) / calls

    return batch


def measure(case: Case, rounds: int) -> tuple[int, list[float]]:
    """Bytes of the value, and seconds: bare encode and decode, ours."""
    encode, decode = case.codec.encoder(case.type_), case.codec.decoder(case.type_)
    theirs, ours = case.encode(case.value), encode(case.value)
    assert case.decode(theirs) == decode(ours) == case.value
    parts = [(case.encode, case.value), (case.decode, theirs), (encode, case.value), (decode, ours)]
    batches = [repeated(function, argument)[0] for function, argument in parts]
    least = [float("inf")] * 4
    for _ in range(rounds):
        least = [min(best, batch()) for best, batch in zip(least, batches, strict=True)]
    return len(ours), least


MIB = 2**20
FORGED = b"\xdd\x00\x10\x00\x00"
BOMBS: list[tuple[str, Codec, bytes]] = [
    ("json, arrays", JsonCodec(), b"[" * MIB),
    ("json, objects", JsonCodec(), b'{"a":' * (MIB // 5)),
    ("json, deep behind texts", JsonCodec(), b"[" + b'"ab",' * (MIB // 5) + b"[" * 70 + b"]" * 71),
    ("json, deep behind arrays", JsonCodec(), b"[" + b"[]," * (MIB // 3) + b"[" * 70 + b"]" * 71),
    ("json, digits", JsonCodec(), b"1" * MIB),
    ("json, an open text", JsonCodec(), b'"' + b"a" * MIB),
    ("msgpack, arrays", MsgpackCodec(), b"\x91" * MIB),
    ("msgpack, maps", MsgpackCodec(), b"\x81\xa1k" * (MIB // 3)),
    ("msgpack, a forged length", MsgpackCodec(), b"\xdd\xff\xff\xff\xff" + bytes(MIB)),
    ("msgpack, nested forged lengths", MsgpackCodec(), FORGED * 1000 + bytes(MIB)),
]


def refused(codec: Codec, body: bytes) -> float:
    """CPU milliseconds for a MiB, the least of ten."""
    decode, spent = codec.decoder(Any), []
    for _ in range(10):
        began = time.process_time()
        try:
            decode(body)
        except DecodeError:
            spent.append((time.process_time() - began) * 1000 * MIB / len(body))
        else:
            raise SystemExit("a bomb was read")
    return min(spent)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args().rounds
    print(f"{'CPU µs':<30}{'bytes':>7}{'bare':>17}{'with the codec':>17}{'both':>9}")
    for case in cases():
        size, seconds = measure(case, rounds)
        bare, ours = seconds[:2], seconds[2:]
        shown = ["{:>7.2f} + {:>7.2f}".format(*(each * 1e6 for each in pair)) for pair in (bare, ours)]
        print(f"{case.name:<30}{size:>7}{shown[0]:>17}{shown[1]:>17}{sum(ours) / sum(bare) - 1:>+9.0%}", flush=True)
    print(f"\n{'refused, ms a MiB':<37}")
    for name, codec, body in BOMBS:
        print(f"{name:<37}{refused(codec, body):>7.1f}")


if __name__ == "__main__":
    main()
