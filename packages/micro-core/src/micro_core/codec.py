"""Codecs: marshalers of values, found by content type."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeAlias

from micro_core.component import Plugin
from micro_core.message import Buffer

JSON = "application/json"
PROTOBUF = "application/protobuf"

Encode: TypeAlias = Callable[[Any], bytes]
Decode: TypeAlias = Callable[[Buffer], Any]


class Codec(Plugin, ABC):
    """Turns values into bytes and back. Built as `Codec(options)`. Compiled once per endpoint and type; thread-safe."""

    content_types: ClassVar[tuple[str, ...]]
    """The content types it answers to: lower case, without parameters, the preferred one first."""

    @abstractmethod
    def encoder(self, type_: Any) -> Encode:
        """A function from values of that type to bytes.

        `type_` is any annotation, `None` among them; `typing.Any` takes whatever the codec can carry. The function
        raises UnsupportedType for a value it cannot carry, and nothing else; whether the value is of the type is the
        type checker's business.

        Raises:
            UnsupportedType: the type cannot be carried; the text names it.
        """

    @abstractmethod
    def decoder(self, type_: Any) -> Decode:
        """A function from bytes to values of that type; `decoder(T)(encoder(T)(value)) == value`.

        The function raises DecodeError for bytes that are not what the type asks for, and nothing else, whatever the
        bytes: they are untrusted. It keeps no reference to the buffer it is given.

        Raises:
            UnsupportedType: the type cannot be carried; the text names it.
        """


class Codecs(Protocol):
    """The installed codecs, by content type. Imports a codec's module when it is first asked for."""

    @property
    def content_types(self) -> tuple[str, ...]:
        """Every content type that is installed, sorted."""
        ...

    def __call__(self, content_type: str) -> Codec:
        """The codec of a bare content type.

        Raises:
            UnsupportedContentType: none is installed for it.
            PluginError: one is, but it cannot be had.
        """
        ...


def bare(content_type: str) -> str:
    """A content type without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_protobuf(type_: Any) -> bool:
    """Whether it is a class that protoc made. Imports nothing: whoever has one has imported protobuf."""
    protobuf = sys.modules.get("google.protobuf.message")
    return protobuf is not None and isinstance(type_, type) and issubclass(type_, protobuf.Message)


def content_type_of(*types: Any) -> str:
    """What values of the types are sent as where nobody chose: protobuf where all are messages or None, else JSON."""
    bare = [type_.__origin__ if hasattr(type_, "__metadata__") else type_ for type_ in types]  # without Annotated
    messages = [type_ for type_ in bare if type_ is not None and type_ is not type(None)]
    return PROTOBUF if messages and all(map(is_protobuf, messages)) else JSON
