"""Go Micro's envelopes: what the payload is wrapped in under json-rpc and proto-rpc (WIRE §5.2).

                 request                                           reply
    json-rpc     {"method":"Say.Hello","params":[…],"id":"7"}      {"id":"7","result":…,"error":null}
    proto-rpc    length {1: method, 2: id} length payload          length {1: method, 2: id, 3: error} length payload

The lengths are four bytes, big-endian; the parts in braces are protobuf, with the id a fixed64. An error leaves the
payload out: `null`, or of no length. The same text is in `micro-error`, so whoever reads that need not look in here.

What is written is what v1.18 writes, so every field of proto-rpc is there, empty ones too, which later releases leave
out; all of them read both. What is read may be in any order and hold other fields. The id that comes back is the
request's, a number as its digits; proto-rpc has no other than numbers, and takes 0 for one that is none.

Nothing here knows what a payload holds: that is the codec's. Bytes that are no envelope are a DecodeError.
"""

from __future__ import annotations

import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from micro_core import Buffer, DecodeError

from micro_rpc.protobuf import sized

if TYPE_CHECKING:
    from msgspec.json import Decoder


class Request(NamedTuple):
    """What a request's envelope holds. An empty payload stands for no value."""

    method: str
    id: str
    payload: bytes


class Reply(NamedTuple):
    """What a reply's envelope holds: an error's text, or None and the payload."""

    id: str
    error: str | None
    payload: bytes


class Envelope(ABC):
    """One form of wrapping. Stateless."""

    @abstractmethod
    def write_request(self, method: str, id: str, payload: bytes) -> bytes:
        """The body of a request, or of a stream's message."""

    @abstractmethod
    def read_request(self, body: Buffer) -> Request:
        """What such a body holds. Raises DecodeError, whatever the bytes."""

    @abstractmethod
    def write_reply(self, method: str, id: str, payload: bytes) -> bytes:
        """The body of a reply."""

    @abstractmethod
    def write_error(self, method: str, id: str, error: str) -> bytes:
        """The body of a reply that is an error, and of the end of a stream from either side."""

    @abstractmethod
    def read_reply(self, body: Buffer) -> Reply:
        """What such a body holds. Raises DecodeError, whatever the bytes."""


class JsonRpc(Envelope):
    """`application/json-rpc`; payloads are JSON."""

    def write_request(self, method: str, id: str, payload: bytes) -> bytes:  # noqa: D102
        return b'{"method":%b,"params":[%b],"id":%b}\n' % (_quoted(method), payload, _quoted(id))

    def read_request(self, body: Buffer) -> Request:  # noqa: D102
        request, _ = _decoders()
        found = _read(request, body)
        if len(found.params or ()) > 1:
            raise DecodeError(f"params holds {len(found.params)} values, a call takes one")
        return Request(found.method, _id(found.id), bytes(found.params[0]) if found.params else b"")

    def write_reply(self, method: str, id: str, payload: bytes) -> bytes:  # noqa: D102
        return b'{"id":%b,"result":%b,"error":null}\n' % (_quoted(id), payload)

    def write_error(self, method: str, id: str, error: str) -> bytes:  # noqa: D102
        return b'{"id":%b,"result":null,"error":%b}\n' % (_quoted(id), _quoted(error))

    def read_reply(self, body: Buffer) -> Reply:  # noqa: D102
        _, reply = _decoders()
        found = _read(reply, body)
        if found.error is not None:
            return Reply(_id(found.id), found.error or "an error without a word", b"")
        if not found.result:
            raise DecodeError("this is no json-rpc reply: it has neither result nor error")
        return Reply(_id(found.id), None, bytes(found.result))


def _quoted(text: str) -> bytes:
    return json.dumps(text).encode()


@cache
def _decoders() -> tuple[Decoder[Any], Decoder[Any]]:
    import msgspec

    id = ("id", str | int | None, None)
    request = msgspec.defstruct("Request", [id, ("method", str, ""), ("params", list[msgspec.Raw] | None, None)])
    reply = msgspec.defstruct("Reply", [id, ("result", msgspec.Raw, msgspec.Raw(b"")), ("error", str | None, None)])
    return msgspec.json.Decoder(request), msgspec.json.Decoder(reply)


def _read(decoder: Decoder[Any], body: Buffer) -> Any:
    try:
        return decoder.decode(bytes(body))
    except RecursionError:
        raise DecodeError("this is no json-rpc envelope: nested too deep") from None
    except Exception as error:
        raise DecodeError(f"this is no json-rpc envelope: {error}") from None


def _id(id: str | int | None) -> str:
    return "" if id is None else str(id)


class ProtoRpc(Envelope):
    """`application/proto-rpc`; payloads are protobuf, or bytes as they are."""

    def write_request(self, method: str, id: str, payload: bytes) -> bytes:  # noqa: D102
        return _parts(_method_and_id(method, id), payload)

    def read_request(self, body: Buffer) -> Request:  # noqa: D102
        method, id, _, payload = _read_parts(body)
        return Request(method, id, payload)

    def write_reply(self, method: str, id: str, payload: bytes) -> bytes:  # noqa: D102
        return _parts(_method_and_id(method, id) + b"\x1a\x00", payload)

    def write_error(self, method: str, id: str, error: str) -> bytes:  # noqa: D102
        return _parts(_method_and_id(method, id) + b"\x1a" + sized(error.encode()), b"")

    def read_reply(self, body: Buffer) -> Reply:  # noqa: D102
        _, id, error, payload = _read_parts(body)
        return Reply(id, error or None, payload)


_LENGTH = struct.Struct(">I")
_SEQUENCE = struct.Struct("<Q")
_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def _parts(header: bytes, payload: bytes) -> bytes:
    return b"".join((_LENGTH.pack(len(header)), header, _LENGTH.pack(len(payload)), payload))


def _method_and_id(method: str, id: str) -> bytes:
    return b"\x0a%b\x11%b" % (sized(method.encode()), _SEQUENCE.pack(_sequence(id)))


def _sequence(id: str) -> int:
    number = int(id) if id.isascii() and id.isdigit() and len(id) <= 20 else 0
    return number if number < 1 << 64 else 0


def _read_parts(body: Buffer) -> tuple[str, str, str, bytes]:
    body = bytes(body)
    header, at = _part(body, 0)
    payload, end = _part(body, at)
    if end != len(body):
        raise DecodeError(f"{len(body) - end} bytes follow the proto-rpc envelope")
    texts, sequence = {1: b"", 3: b""}, b"\x00" * 8
    for number, kind, value in _fields(header):
        if kind == _SIZED and number in texts:
            texts[number] = value
        elif kind == _FIXED64 and number == 2:
            sequence = value
    try:
        method, error = texts[1].decode(), texts[3].decode()
    except UnicodeDecodeError as reason:
        raise DecodeError(f"a text of the proto-rpc envelope is no UTF-8: {reason.reason}") from None
    return method, str(_SEQUENCE.unpack(sequence)[0]), error, payload


def _part(body: bytes, at: int) -> tuple[bytes, int]:
    start = at + _LENGTH.size
    if len(body) < start:
        raise DecodeError("the proto-rpc envelope is cut short")
    end = start + _LENGTH.unpack_from(body, at)[0]
    if len(body) < end:
        raise DecodeError(f"the proto-rpc envelope says {end - start} bytes, there are {len(body) - start}")
    return body[start:end], end


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, wire type and bytes of each field."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        start = at
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _SIZED:
            size, start = _varint(data, at)
            at = start + size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise DecodeError(f"the proto-rpc envelope has a field of wire type {kind}")
        if number == 0 or at > len(data):
            raise DecodeError("the proto-rpc envelope's header is no protobuf")
        yield number, kind, data[start:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(data[at : at + _LONGEST_VARINT]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    raise DecodeError("the proto-rpc envelope's header is no protobuf")


JSON_RPC: Envelope = JsonRpc()
PROTO_RPC: Envelope = ProtoRpc()
