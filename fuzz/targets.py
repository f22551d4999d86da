"""Every decoder, and what it is asked to make of random bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pydantic
from everything_pb2 import Everything
from greeter_pb2 import Reply, Request
from micro_codec_bytes import BytesCodec
from micro_codec_json import JsonCodec
from micro_codec_msgpack import MsgpackCodec
from micro_codec_proto import ProtoCodec
from micro_core import Codec, DecodeError
from old_pb2 import Old


@dataclass
class User:
    """Bounded, with a bit of everything."""

    name: str
    id: int = 0
    ratio: float = 0.0
    picture: bytes | None = None
    born: datetime | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    """Nests without end."""

    value: float = 0.0
    children: list[Tree] = field(default_factory=list)


class Model(pydantic.BaseModel):
    """Pydantic's."""

    name: str
    id: int = 0
    ratio: float = 0.0
    keys: dict[int, list[bytes]] = {}


@dataclass
class Holder:
    """Both."""

    models: list[Model]


@dataclass(frozen=True)
class Target:
    """A decoder.

    Attributes:
        exact: types whose values are written again, and read again.
        loose: types whose values need not be writable: pydantic makes a NaN of a text, which no encoder takes, and in a
            message NaN is allowed, which is not equal to itself.
    """

    codec: Codec
    exact: tuple[Any, ...]
    loose: tuple[Any, ...] = ()

    def function(self) -> Callable[[bytes], None]:
        """What is given every input. The first byte chooses the type. Raises for whatever must not happen."""
        types = (*self.exact, *self.loose)
        decoders = [self.codec.decoder(type_) for type_ in types]
        encoders = [self.codec.encoder(type_) for type_ in self.exact]

        def run(data: bytes) -> None:
            which = data[0] % len(types) if data else 0
            try:
                value = decoders[which](data[1:])
            except DecodeError:
                return
            if which < len(encoders):
                again = decoders[which](encoders[which](value))
                if again != value:
                    raise AssertionError(f"{value!r} became {again!r}")

        return run


_EXACT: tuple[Any, ...] = (Any, User, list[User], Tree, dict[int, str], dict[str, Any], User | int | None, None)
_LOOSE: tuple[Any, ...] = (Model, list[Model], Holder)

TARGETS = {
    "json": Target(JsonCodec(), _EXACT, (*_LOOSE, Everything)),
    "msgpack": Target(MsgpackCodec(), _EXACT, _LOOSE),
    "proto": Target(ProtoCodec(), (Request, Reply, Old, None), (Everything,)),
    "bytes": Target(BytesCodec(BytesCodec.Options()), (bytes, bytearray, Any)),
}
